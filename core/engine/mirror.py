"""All records of the cluster's units as the store has them, kept up to date, and the revisions they have there."""

import logging
from collections.abc import Callable

import trio

from core.client import KeyValue, Store, Watch, prefix
from core.client.errors import CompactedError
from core.sched import keys
from core.sched.keys import Kind
from core.sched.records import Generation, Header, RecordError, decode
from core.sched.view import View

log = logging.getLogger(__name__)

SLICE = 20_000
"""Bytes of records applied before others have a turn: two milliseconds, if they are texts."""
COST = 100
"""Bytes that a record counts for besides its value."""
PAGE_KEYS = 4000
"""Read at a time. A store counts for each page all that is left: many small ones would take the square of the whole."""

COMPARED = 4_096
"""Revisions of records compared in between two rounds of the loop."""

MOST_STATES = 10_000
"""Units one host may tell of; what it says beyond is passed over, so that none of them fills the engine's memory."""


class Mirror:
    """`view` for the planner, and what it does not keep: revisions, headers, the generation."""

    def __init__(self, store: Store, changed: Callable[[], None]) -> None:
        self._store = store
        self._changed = changed
        self._ahead: dict[bytes, int] = {}
        """Own writes the watch has not come to yet, by their revision."""
        self._moved = trio.Event()
        self._told: dict[str, int] = {}
        """How many units each host tells of."""
        self.view = View()
        self.mods: dict[bytes, int] = {}
        """The mod revision of every record."""
        self.headers: dict[str, Header] = {}
        self.generation: Generation | None = None
        self.revision = 0
        self._watch: Watch | None = None
        """Open, with all that it has told applied."""

    async def read(self) -> None:
        """Read everything at one revision. ClientError."""
        while True:
            try:
                await self._read()
            except CompactedError:
                log.info("the records were compacted away while they were read; reading them again")
                self._forget()
                continue
            return

    async def _read(self) -> None:
        revision = taken = 0
        async for page in self._store.pages(prefix(keys.PREFIX), size=PAGE_KEYS):
            revision = revision or page.revision
            for kv in page.kvs:
                self._apply(kv.key, kv)
                taken = await _paused(taken, kv)
        self.revision = revision

    async def tells_otherwise(self, mods: dict[bytes, int], revision: int) -> bool:
        """Whether this is another story than one that was known up to a revision, with these revisions of its records:
        one of no later revision is here that was not known. A store that went back and was written to since is told by
        this, whatever revision it has reached. States come and go with the leases of hosts, and count for nothing."""
        for number, (key, mod) in enumerate(list(self.mods.items()), 1):
            if mod <= revision and mods.get(key) != mod and not key.startswith(keys.STATES):
                return True
            if number % COMPARED == 0:
                await trio.lowlevel.checkpoint()
        return False

    async def follow(self, lost: Callable[[str], None]) -> None:
        """Apply changes as they come, from where `read` ended; never returns. CompactedError: read anew. `lost` is told
        when the connection was lost; meanwhile the store may have been restored, of which a watch tells nothing."""
        async with self._store.watch(prefix(keys.PREFIX), start=self.revision + 1, lost=lost) as watch:
            taken = 0
            self._watch = watch
            async for batch in watch:
                self._watch = None
                for event in batch.events:
                    self._apply(event.kv.key, event.kv if event.kind == "put" else None, event.kv.mod_revision)
                    taken = await _paused(taken, event.kv)
                self.revision = batch.revision
                self._watch = watch
                self._stir()

    @property
    def complete(self) -> int:
        """The revision up to which all there is has been applied, also where nothing of it was a record; 0 before
        everything was read."""
        return max(self.revision, self._watch.reached) if self._watch is not None else self.revision

    async def reached(self, revision: int) -> None:
        """Wait until everything up to a revision has been applied. Only for one at which some record changed, or else
        the watch may never come to it."""
        while self.revision < revision:
            await self._moved.wait()

    async def stirred(self) -> None:
        """Wait for the next change."""
        await self._moved.wait()

    def touched(self) -> None:
        """The view changed by what became of a task."""
        self._changed()

    def wrote(self, key: bytes, revision: int, *, deleted: bool) -> None:
        """A write of our own has succeeded, whether the watch has told of it or not."""
        if revision <= self.revision:
            return
        self._ahead[key] = revision
        if deleted:
            self.mods.pop(key, None)
        else:
            self.mods[key] = revision

    def _stir(self) -> None:
        moved, self._moved = self._moved, trio.Event()
        moved.set()
        self._changed()

    def _forget(self) -> None:
        self.view = View()
        self._told.clear()
        self.mods.clear()
        self.headers.clear()
        self.generation = None

    def _apply(self, key: bytes, kv: KeyValue | None, revision: int = 0) -> None:
        place = keys.parse(key)
        if place is None:
            return
        revision = kv.mod_revision if kv else revision
        ahead = self._ahead.get(key, 0)
        if revision < ahead:
            return
        if ahead:
            del self._ahead[key]
        if place.kind is Kind.STATE and not self._counts(place.machine, key, kv):
            return
        if kv is None:
            self.mods.pop(key, None)
        else:
            self.mods[key] = revision
        match place.kind:
            case Kind.HEADER:
                header = None if kv is None else _story(kv)
                if header is None:
                    self.headers.pop(place.machine, None)
                else:
                    self.headers[place.machine] = header
            case Kind.GENERATION:
                self.generation = None if kv is None else _story(kv)
            case _:
                self.view.apply(key, None if kv is None else kv.value, revision)

    def _counts(self, machine: str, key: bytes, kv: KeyValue | None) -> bool:
        """Whether the state of a unit is one of those that are kept."""
        told, known = self._told.get(machine, 0), key in self.mods
        if kv is None:
            self._told[machine] = told - known
        elif not known and told >= MOST_STATES:
            return False
        else:
            self._told[machine] = told + (not known)
        if not self._told[machine]:
            del self._told[machine]
        return True


async def _paused(taken: int, kv: KeyValue) -> int:
    """What has been applied since the last pause, this record included, after a pause if it is due."""
    taken += COST + len(kv.value)
    if taken < SLICE:
        return taken
    await trio.lowlevel.checkpoint()
    return 0


def _story(kv: KeyValue) -> Generation | None:
    try:
        return decode(Generation, kv.value)
    except RecordError as error:
        log.warning("%s is not understood: %s", kv.key.decode(errors="replace"), error)
        return None
