"""The registry of watches and the fan-out of events to them."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence

import trio
from sortedcontainers import SortedDict

from core.kv import paths
from core.kv.errors import CompactedError
from core.kv.ledger import SYSTEM_PREFIX
from core.kv.records import Event, Record
from core.kv.reserved import clipped, is_reserved
from core.kv.steps import Steps, taken
from core.watch.index import Group, RangeIndex
from core.watch.key import KeyWatch, KeyWatcher
from core.watch.path import PathWatcher, cleared
from core.watch.watcher import BUFFER, History, Watcher, weight_of

CROWD = 500
"""Watches of one range that are offered an event in the step that applies it, if `run` runs. To offer it to a larger
crowd takes rounds of the loop, so many watches in each."""
MANY = 1000
"""Events that are published at once, at most: of so many, that nobody watches, some 0.2 ms."""
_OFFERS = 256
"""Offers of one step, and events that nobody watches count as one each, too."""


class _Waiting:
    """What is still to be offered to a group: whole revisions, in order."""

    __slots__ = ("first", "missed", "offers", "weight")

    def __init__(self, first: Event) -> None:
        self.first = first
        self.offers: list[tuple[Event, int]] = []
        self.weight = 0
        self.missed = False
        """There were more than any watch would keep: all have to read history from the first on."""

    def add(self, event: Event, weight: int) -> None:
        self.weight += weight
        if self.weight > BUFFER:
            self.missed = True
            self.offers.clear()
        elif not self.missed:
            self.offers.append((event, weight))

    def join(self, later: "_Waiting") -> None:
        """Add what came later."""
        if later.missed:
            self.missed = True
            self.offers.clear()
        for event, weight in later.offers:
            self.add(event, weight)

    def serve(self, watcher: KeyWatcher) -> None:
        if self.missed:
            watcher.miss(self.first)
        for event, weight in self.offers:
            watcher.offer(event, weight)


class Hub:
    """All open watches of a node."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.turn = trio.Lock()
        """Held to read a slice of history. It is handed on in the next round of the loop, so however many watches are
        behind, everything else waits for one slice and not for one of each."""
        self._paths: SortedDict[bytes, set[PathWatcher]] = SortedDict()
        self._keys: RangeIndex[KeyWatcher] = RangeIndex()
        """Watches of users."""
        self._reserved: RangeIndex[KeyWatcher] = RangeIndex()
        """Those of `core.kv.reserved`, which are open all the time: no change of a user's key concerns them."""
        self._open = 0
        self._published = self._seen = history.revision
        """What happened up to `_seen` was offered to all live watchers."""
        self._runs = False
        self._crowds: dict[Group[KeyWatcher], _Waiting] = {}
        """What is still to be offered."""
        self._publishing = False
        """Whether many events are being published, in steps."""
        self._serving: Group[KeyWatcher] | None = None
        """The crowd that is just being served: some have what the others get in a moment."""
        self._crowd_came = trio.Event()

    @property
    def open(self) -> int:
        """Number of open watches, without those that this program's own parts keep on system records."""
        return self._open

    def watch(self, path: bytes, *, recursive: bool = False, start: int = 0) -> PathWatcher:
        """Watch a clean path, or the root, from index `start` on (0: from the next change). TreeError 401 if history
        does not reach back so far."""
        history = self.history
        if 0 < start < history.floor:
            raise cleared(history, start)
        start = start or history.revision + 1
        watcher = PathWatcher(history, path, recursive, start, self.turn, self._forget_path)
        self._paths.setdefault(path, set()).add(watcher)
        self._open += 1
        return watcher

    def watch_keys(
        self,
        key: bytes,
        end: bytes | None,
        tell: Callable[[KeyWatcher], None],
        *,
        start: int = 0,
        puts: bool = True,
        deletes: bool = True,
        previous: bool = False,
    ) -> KeyWatcher:
        """Watch a key, or key <= k < end (`\\0`: all from `key` on), from revision `start` (0: from the next change).

        `tell` is called in the middle of publishing when there is something to take; it must only take note of that.
        CompactedError if history does not reach back so far.
        """
        history = self.history
        if 0 < start < history.floor:
            raise CompactedError(history.floor)
        start = start or history.revision + 1
        if end is not None and is_reserved(key):
            end = clipped(key, None if end == b"\0" else end)
        watcher = KeyWatcher(
            history, key, end, start, tell, self._forget_key, puts=puts, deletes=deletes, previous=previous
        )
        if is_reserved(key):
            self._reserved.add(watcher, key, end)
        else:
            self._keys.add(watcher, key, end)
            self._open += 1
        if watcher.waiting:
            tell(watcher)
        return watcher

    def follow(self, key: bytes, end: bytes | None, *, start: int = 0) -> KeyWatch:
        """The same for a task that waits for nothing else."""
        return KeyWatch(lambda tell: self.watch_keys(key, end, tell, start=start), self.turn)

    def publish(self, events: Sequence[Event]) -> None:
        """Offer new events, in order, to the watchers they concern."""
        users_watch = self._paths or self._keys
        for event in events:
            if users_watch or event.record.key.startswith(SYSTEM_PREFIX):
                self._offer_path(event)
                for group in self._groups(event.record):
                    self._offer(group, event)
        self._note()

    def publish_many(self, events: deque[Event]) -> Steps[None]:
        """The same in steps, of events that are let go of on the way. Between them watches may come, go and read, but
        nothing else may be published. A watch of keys is given all that concerns it at once, at the end: so it never
        sees a part of a revision."""
        self._publishing = True
        waiting: dict[Group[KeyWatcher], _Waiting] = {}
        work = 0
        for event in taken(events):
            work += 1 + self._offer_path(event)
            for group in self._groups(event.record):
                work += 1
                if group not in waiting:
                    waiting[group] = _Waiting(event)
                waiting[group].add(event, weight_of(event))
            if work >= _OFFERS:
                work = 0
                yield
        for group, offers in waiting.items():
            if self._is_crowd(group):
                self._crowds.setdefault(group, _Waiting(offers.first)).join(offers)
                self._crowd_came.set()
                continue
            for watcher in list(group.members):
                work += 1 + len(offers.offers)
                offers.serve(watcher)
            if work >= _OFFERS:
                work = 0
                yield
        self._publishing = False
        self._note()

    def _note(self) -> None:
        """All that happened was published."""
        self._published = self.history.revision
        if self.settled:
            self._seen = self._published

    @property
    def settled(self) -> bool:
        """Whether everything that was published was offered to everybody."""
        return not self._crowds and self._serving is None and not self._publishing

    async def run(self) -> None:
        """Serve crowds, in turns. Without it they are served in the step that applies an event, however long it takes.

        A watch is given all that waits for its crowd at once, so it never sees a part of a revision. One that was
        opened or came to the end of history meanwhile leaves out what it has.
        """
        self._runs = True
        while True:
            await self._crowd_came.wait()
            group = self._serving = next(iter(self._crowds))
            waiting = self._crowds.pop(group)
            for members in _batched(list(group.members), CROWD):
                for watcher in members:
                    if watcher in group.members:
                        waiting.serve(watcher)
                await trio.lowlevel.checkpoint()
            self._serving = None
            if not self._crowds:
                self._crowd_came = trio.Event()
                self._seen = self._published

    def reset(self, history: History | None = None) -> None:
        """The keyspace was replaced by a later state of it (`history` None: in place), without the events between.
        Every watch reads on from where it was, or finds that this is compacted away."""
        self.history = history or self.history
        self._publishing = False
        for watcher in list(self._everybody()):
            watcher.reset(self.history, self._seen)
        self._note()

    def _everybody(self) -> Iterator[Watcher]:
        for watchers in self._paths.values():
            yield from watchers
        yield from self._keys.members()
        yield from self._reserved.members()

    def _offer_path(self, event: Event) -> int:
        """Offer an event to the watches of paths; to how many."""
        record = event.record
        if not self._paths or record.refresh or record.silent or not paths.is_clean(record.key):
            return 0
        weight = weight_of(event)
        concerned = self._concerned(record)
        for watcher in concerned:
            watcher.offer(event, weight)
        return len(concerned)

    def _groups(self, record: Record) -> Iterator[Group[KeyWatcher]]:
        """Those who watch a key that v3 sees."""
        key = record.key
        if record.directory:
            return
        if not key.startswith(SYSTEM_PREFIX):
            yield from self._keys.find(key)
        elif is_reserved(key):
            yield from self._reserved.find(key)

    def _is_crowd(self, group: Group[KeyWatcher]) -> bool:
        """Whether a group has to wait for its turn: it is large, or still has to be offered what came before."""
        return group in self._crowds or group is self._serving or (self._runs and len(group.members) > CROWD)

    def _offer(self, group: Group[KeyWatcher], event: Event) -> None:
        weight = weight_of(event)
        if self._is_crowd(group):
            self._crowds.setdefault(group, _Waiting(event)).add(event, weight)
            self._crowd_came.set()
        else:
            for watcher in group.members:
                watcher.offer(event, weight)

    def _forget_path(self, watcher: PathWatcher) -> None:
        """Take a watcher out; it gets nothing any more."""
        same_path = self._paths.get(watcher.path)
        if same_path is not None and watcher in same_path:
            same_path.remove(watcher)
            self._open -= 1
            if not same_path:
                del self._paths[watcher.path]

    def _forget_key(self, watcher: KeyWatcher) -> None:
        if is_reserved(watcher.key):
            self._reserved.discard(watcher, watcher.key, watcher.end)
        elif self._keys.discard(watcher, watcher.key, watcher.end):
            self._open -= 1

    def _concerned(self, record: Record) -> list[PathWatcher]:
        path = record.key
        found = list(self._paths.get(path, ()))
        for directory in (paths.ROOT, *paths.ancestors(path)):
            for watcher in self._paths.get(directory, ()):
                if watcher.recursive and not paths.is_hidden_below(path, directory):
                    found.append(watcher)
        if record.gone and record.directory:
            for below in self._paths.irange(*paths.below(path), inclusive=(True, False)):
                found.extend(self._paths[below])
        return found


def _batched(members: Sequence[KeyWatcher], size: int) -> Iterator[Sequence[KeyWatcher]]:
    """Parts of so many."""
    for start in range(0, len(members), size):
        yield members[start : start + size]
