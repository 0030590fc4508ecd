"""Where each unit is: which machines have a placement or a state of it, so that one unit is read without all others."""

import logging
from collections.abc import Sequence

import trio

from core.api.fleet.tables import AT_ONCE, SLICE, Tables
from core.client import Event, Keys, Range, RangeResult, Store, Watch, prefix
from core.client.errors import ClientError, CompactedError
from core.sched import keys
from core.sched.keys import Kind

RETRY_SECONDS = 1.0
LOOK_SECONDS = 0.05
"""How often it is looked whether the watch has come far enough, while nothing is told."""

_PLACED, _TOLD = 1, 2
_MARKS = {Kind.PLACEMENT: _PLACED, Kind.STATE: _TOLD}
_WHERE = Keys(keys.PLACEMENTS, prefix(keys.STATES).end)
"""Placements, states, and the rollouts between them."""

_log = logging.getLogger(__name__)


class Index:
    """Names only: some hundred bytes a placed unit. `run` is a task; until it has read everything, readers wait.

    It says where to look, and the store what is there: `read` is linearizable and of one revision.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._machines: dict[str, dict[str, int]] = {}
        """By unit: its machines, and what each has."""
        self._watch: Watch | None = None
        self._moved = trio.Event()

    async def run(self) -> None:
        """Follow the store; never returns."""
        while True:
            try:
                await self._follow()
            except CompactedError:
                _log.info("changes of placements are no longer kept; the index of units is made anew")
            except ClientError as error:
                _log.warning("the index of units cannot be kept", extra={"why": str(error)})
                await trio.sleep(RETRY_SECONDS)
            finally:
                self._watch = None

    async def read(self, unit: str, *others: bytes) -> Tables:
        """A unit's record, what is placed and told of it, and these other keys, as of one revision. ClientError."""
        while True:
            found = Tables()
            known = set(self._machines.get(unit, ()))
            try:
                await self._take(found, [keys.unit(unit), *others, *_rows(unit, known)])
                await self._reach(found.revision)
                await self._take(found, _rows(unit, set(self._machines.get(unit, ())) - known))
            except CompactedError:
                continue  # somebody compacts right up to the present; what is there now does as well
            return found

    async def _take(self, found: Tables, rows: Sequence[bytes]) -> None:
        """Single keys, as of the revision of the first."""
        for start in range(0, len(rows), AT_ONCE):
            part = [Range(each, revision=found.revision) for each in rows[start : start + AT_ONCE]]
            done = await self._store.txn(then=part)
            found.revision = found.revision or done.revision
            for result in done.responses:
                if isinstance(result, RangeResult) and result.first is not None:
                    found.add(result.first.key, result.first.value)

    async def _reach(self, revision: int) -> None:
        """Return when everything up to a revision is in the index."""
        while self._watch is None or self._watch.reached < revision:
            with trio.move_on_after(LOOK_SECONDS):
                await self._moved.wait()

    async def _follow(self) -> None:
        table = await self._store.range(_WHERE, keys_only=True)
        self._machines.clear()
        for number, kv in enumerate(table.kvs, 1):
            self._mark(kv.key, there=True)
            if number % SLICE == 0:
                await trio.lowlevel.checkpoint()
        async with self._store.watch(_WHERE, start=table.revision + 1) as watch:
            self._watch = watch
            self._stir()
            async for batch in watch:
                self._apply(batch.events)
                self._stir()

    def _apply(self, events: Sequence[Event]) -> None:
        """In one go: whoever asks how far it has come must not see a part."""
        for event in events:
            self._mark(event.kv.key, there=event.kind == "put")

    def _mark(self, key: bytes, *, there: bool) -> None:
        place = keys.parse(key)
        mark = 0 if place is None else _MARKS.get(place.kind, 0)
        if place is None or not mark:
            return
        machines = self._machines.setdefault(place.name, {})
        before = machines.get(place.machine, 0)
        now = before | mark if there else before & ~mark
        if now:
            machines[place.machine] = now
        else:
            machines.pop(place.machine, None)
        if not machines:
            del self._machines[place.name]

    def _stir(self) -> None:
        moved, self._moved = self._moved, trio.Event()
        moved.set()


def _rows(unit: str, machines: set[str]) -> list[bytes]:
    """The keys that say how a unit is on some machines."""
    return [key for each in sorted(machines) for key in (keys.placement(each, unit), keys.state(each, unit))]
