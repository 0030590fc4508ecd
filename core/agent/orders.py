"""What is placed on this host, as the engine wrote it, and whether that may be believed."""

import logging
from collections.abc import Callable, Collection

import trio

from core.client import Event, KeyValue, Store, prefix
from core.client.errors import ClientError, CompactedError
from core.sched import keys
from core.sched.records import Generation, Header, Placement, RecordError, decode

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 15.0


def doubt(header: Header | None, known: Generation | None, placed: Collection[str], lost: Collection[str]) -> str:
    """Why these placements are not to be believed, as a sentence; empty if they are. Pure.

    `known` is the story that was believed last, `placed` the units it tells of now. `lost` are those it told of before
    the header vanished, if it did: a header that returns without any of them was written above a wiped registry.
    """
    if header is None:
        return "nobody vouches for the placements of this host: the engine has not written its header, or it was wiped"
    if known is None or (header == known and (not lost or any(name in placed for name in lost))):
        return ""
    if header.generation > known.generation:
        return ""
    if header.cluster != known.cluster:
        return f"the placements are of another cluster ({header.cluster}), not of {known.cluster}"
    if header.generation < known.generation:
        return f"the placements are of an older generation ({header.generation}) than {known.generation}"
    return "all placements of this host vanished together with their header and only the header came back"


class Orders:
    """The placements of one machine, followed as they change.

    Believed or not, `wanted` is what holds: the last that was believed. It is None until something was.
    """

    def __init__(
        self,
        store: Store,
        machine: str,
        known: Generation | None,
        revision: int,
        changed: Callable[[], None],
        told: Callable[[], None],
        *,
        rewound: bool = False,
    ) -> None:
        """`known`, `revision` and `rewound` are what an earlier process knew. `changed` is called after each change,
        `told` when the store is found to have gone back."""
        self._store = store
        self._prefix = keys.placements(machine)
        self._header_key = keys.header(machine)
        self._changed = changed
        self._told = told
        self._placements: dict[str, Placement] = {}
        self._header: Header | None = None
        self._doubted = False
        """Whether the header was missing since the placements were last believed."""
        self._following = trio.CancelScope()
        self.rewound = rewound
        """The store went back, and nobody has said since that its story counts."""
        self.known = known
        self.wanted: dict[str, Placement] | None = None
        self.doubt = "the store was not heard yet"
        """Why nothing may be stopped or started now; empty if `wanted` is what the engine says."""
        self._asked = self._read = 0
        """How often they were to be read anew, and how often they had been asked for that when they were read."""
        self.revision = revision
        """Everything up to and including it has been heard."""

    async def run(self) -> None:
        """Follow; never returns. When the store is away nothing changes but what is logged."""
        pause = RETRY_SECONDS
        while True:
            with trio.CancelScope() as self._following:
                try:
                    await self._follow()
                    pause = RETRY_SECONDS
                except CompactedError:
                    log.info("changes of placements are no longer kept; reading them all again")
                    pause = RETRY_SECONDS
                    continue
                except ClientError as error:
                    log.warning("placements cannot be read, units are kept as they are: %s", error)
                    await trio.sleep(pause)
                    pause = min(pause * 2, LONGEST_RETRY_SECONDS)

    def read_anew(self) -> None:
        """What was read so far is not to be relied on."""
        self._asked += 1
        self._following.cancel()

    async def are_vouched_for(self) -> bool:
        """Whether the store itself still says that they count, asked before units are taken away: of a registry that is
        emptied key by key a watch may tell the placements first, and the header long after. If the store does not
        answer, nobody vouches; there will be another word from the watch then."""
        try:
            found = (await self._store.range(self._header_key)).first
            return found is not None and decode(Header, found.value) == self._header
        except (ClientError, RecordError) as error:
            log.info("units are not taken away yet, for nobody vouches for that: %s", error)
            return False

    def heard_of(self, revision: int, reached: int) -> None:
        """The store said that it is at this revision when `reached` had been heard already. If it has been further, its
        story is another now: an older snapshot was restored, and a watch would wait in silence until it has caught
        up."""
        if revision < reached:
            self._went_back(revision)
            self._following.cancel()

    def _lost_connection(self, why: str) -> None:
        """Read again: the store may have been restored meanwhile, and a watch would not tell."""
        log.info("the connection to the store was lost: %s", why)
        self._following.cancel()

    @property
    def fresh(self) -> bool:
        """Whether they were read since `read_anew`."""
        return self._read == self._asked

    @property
    def follows(self) -> Generation | None:
        """The least generation that is followed: the engine hears of it, and begins a new one where needed."""
        if self.known is None or not self.rewound:
            return self.known
        return Generation(self.known.cluster, self.known.generation + 1)

    def _went_back(self, revision: int) -> None:
        log.warning(
            "the store went back from revision %d to %d: units are kept as they are until the engine begins"
            " another generation",
            self.revision,
            revision,
        )
        self._rewind()

    def _rewind(self) -> None:
        if not self.rewound:
            self.rewound = True
            self._told()

    async def _follow(self) -> None:
        placements: dict[str, Placement] = {}
        self._header = None
        revision, asked = 0, self._asked
        async for page in self._store.pages(prefix(self._prefix)):
            revision = revision or page.revision
            for kv in page.kvs:
                self._take(kv, placements)
        if revision < self.revision:
            self._went_back(revision)
        self._placements = placements
        self.revision = revision
        self._read = asked
        self._judge()
        async with self._store.watch(prefix(self._prefix), start=revision + 1, lost=self._lost_connection) as watch:
            async for batch in watch:
                before = self._header
                for event in batch.events:
                    self._event(event)
                self.revision = batch.revision
                if before is not None and self._header is not None and before != self._header:
                    return  # another story begins: perhaps not all of it came through this watch
                self._judge()

    def _event(self, event: Event) -> None:
        if event.kind == "put":
            self._take(event.kv, self._placements)
        elif event.kv.key == self._header_key:
            self._header = None
            self._doubted = True
        else:
            self._placements.pop(event.kv.key[len(self._prefix) :].decode(errors="replace"), None)

    def _take(self, kv: KeyValue, placements: dict[str, Placement]) -> None:
        name = kv.key[len(self._prefix) :].decode(errors="replace")
        try:
            if kv.key == self._header_key:
                self._header = decode(Header, kv.value)
            else:
                placements[name] = decode(Placement, kv.value)
        except RecordError as error:
            # What a newer engine wrote is not understood: what there was before goes on to hold.
            log.warning("%s is not understood and passed over: %s", kv.key.decode(errors="replace"), error)
            if name in self._placements:
                placements[name] = self._placements[name]

    def _judge(self) -> None:
        if self._header is None:
            self._doubted = True
        why = doubt(self._header, self.known, self._placements, (self.wanted or {}) if self._doubted else ())
        if self._header and self.known and self._header.generation < self.known.generation:
            self._rewind()
        if self.rewound and not (self._header and self.known and self._header.generation > self.known.generation):
            why = why or "the store went back to an older snapshot, and the engine has not begun another generation"
        if why != self.doubt and why:
            log.warning("units are kept as they are: %s", why)
        self.doubt = why
        if not why:
            self._doubted = self.rewound = False
            self.known = self._header
            self.wanted = dict(self._placements)
        self._changed()
