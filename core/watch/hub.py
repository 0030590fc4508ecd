"""The registry of watches and the fan-out of events to them."""

from collections import deque
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Protocol, Self

import trio

from core.kv import paths
from core.kv.errors import CompactedError, TreeError
from core.kv.records import Event, Record

BUFFER = 100
"""Events a live watcher holds before it has to read history instead."""
SLICE = 200
"""Records of history read in one round of the loop, by all watches that are behind together: some 2 ms."""


class History(Protocol):
    """What the hub reads of the keyspace."""

    @property
    def revision(self) -> int: ...

    @property
    def floor(self) -> int:
        """The oldest index that history still has."""
        ...

    def history(self, start: int) -> Iterator[Record]:
        """Every record from index `start` on; CompactedError if that is gone."""
        ...

    def record(self, position: bytes) -> Record | None: ...


class Hub:
    """All open watches of a node."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.turn = trio.Lock()
        """Held to read a slice of history. It is handed on in the next round of the loop, so however many watches are
        behind, everything else waits for one slice and not for one of each."""
        self._watchers: dict[bytes, set[Watcher]] = {}
        self._open = 0

    @property
    def open(self) -> int:
        """Number of open watches."""
        return self._open

    def watch(self, path: bytes, *, recursive: bool = False, start: int = 0) -> "Watcher":
        """Watch a clean path, or the root, from index `start` on (0: from the next change). TreeError 401 if history
        does not reach back so far."""
        if 0 < start < self.history.floor:
            raise _cleared(self.history, start)
        watcher = Watcher(self, path, recursive, start or self.history.revision + 1)
        self._watchers.setdefault(path, set()).add(watcher)
        self._open += 1
        return watcher

    def publish(self, events: Sequence[Event]) -> None:
        """Offer new events, in order, to the watchers they concern."""
        if not self._watchers:
            return
        for event in events:
            if not event.record.refresh and paths.is_clean(event.record.key):
                for watcher in self._concerned(event.record):
                    watcher.offer(event)

    def reset(self) -> None:
        """History was replaced as a whole: let every watcher go on from where it is by reading it."""
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.fall_behind()

    def forget(self, watcher: "Watcher") -> None:
        """Take a watcher out; it gets nothing any more."""
        same_path = self._watchers.get(watcher.path)
        if same_path is not None and watcher in same_path:
            same_path.remove(watcher)
            self._open -= 1
            if not same_path:
                del self._watchers[watcher.path]

    def _concerned(self, record: Record) -> list["Watcher"]:
        path = record.key
        found = list(self._watchers.get(path, ()))
        for directory in (paths.ROOT, *paths.ancestors(path)):
            for watcher in self._watchers.get(directory, ()):
                if watcher.recursive and not paths.is_hidden_below(path, directory):
                    found.append(watcher)
        if record.gone and record.directory:
            below = path + b"/"
            for watched, watchers in self._watchers.items():
                if watched.startswith(below):
                    found.extend(watchers)
        return found


def _cleared(history: History, start: int) -> TreeError:
    cause = f"the requested history has been cleared [{history.floor}/{start}]"
    return TreeError(TreeError.HISTORY_CLEARED, cause, history.revision)


class Watcher:
    """One open watch; `core.api.store.Watch`."""

    __slots__ = ("_buffer", "_hub", "_live", "_next", "_parked", "path", "recursive")

    def __init__(self, hub: Hub, path: bytes, recursive: bool, start: int) -> None:
        self.path = path
        self.recursive = recursive
        self._hub = hub
        self._next = start
        """First index not returned and not in the buffer while behind; events before it are not for this watch."""
        self._live = start > hub.history.revision
        self._buffer: deque[Event] = deque()
        self._parked = trio.lowlevel.ParkingLot()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop watching; closing twice is no error."""
        self._hub.forget(self)

    def offer(self, event: Event) -> None:
        """Take a new event that concerns this watch."""
        if not self._live or event.record.index < self._next:
            return
        if len(self._buffer) == BUFFER:
            self.fall_behind()
            return
        self._buffer.append(event)
        self._parked.unpark()

    def fall_behind(self) -> None:
        """Read history from the first event that was not returned yet."""
        if self._buffer:
            self._next = self._buffer[0].record.index
            self._buffer.clear()
        self._live = False
        self._parked.unpark()

    async def next(self, limit: int = BUFFER) -> Sequence[Event]:
        """Wait for the next events, at least one and at most `limit`, in order. TreeError 401 if they are compacted
        away."""
        while True:
            await trio.lowlevel.checkpoint()
            if not self._live:
                async with self._hub.turn:
                    found = self._read_on(limit)
                if found:
                    return found
            elif self._buffer:
                events = [self._buffer.popleft() for _ in range(min(limit, len(self._buffer)))]
                self._next = events[-1].record.index + 1
                return events
            else:
                await self._parked.park()

    def _read_on(self, limit: int) -> list[Event]:
        """Read the next slice of history up to `limit` events, and become live at its end."""
        history = self._hub.history
        found: list[Event] = []
        scanned = 0
        try:
            for record in history.history(self._next):
                if scanned == SLICE or len(found) == limit:
                    return self._with_previous(found)
                scanned += 1
                self._next = record.index + 1
                if not any(record.position[8:]) and self._wants(record):
                    found.append(Event(record, None))
        except CompactedError:
            raise _cleared(history, self._next) from None
        self._next = max(self._next, history.revision + 1)
        self._live = True
        return self._with_previous(found)

    def _with_previous(self, events: list[Event]) -> list[Event]:
        history = self._hub.history
        return [
            Event(event.record, history.record(event.record.previous)) if event.record.previous else event
            for event in events
        ]

    def _wants(self, record: Record) -> bool:
        path = record.key
        if record.refresh or not paths.is_clean(path):
            return False
        if path == self.path:
            return True
        if record.gone and record.directory and self.path.startswith(path + b"/"):
            return True
        above = b"/" if self.path == paths.ROOT else self.path + b"/"
        return self.recursive and path.startswith(above) and not paths.is_hidden_below(path, self.path)
