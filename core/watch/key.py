"""Watches of the v3 dialect: a key or a range of keys, by revision."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import trio

from core.kv.records import Event, Record
from core.kv.reserved import is_hidden
from core.kv.transaction import Table
from core.watch.watcher import BUFFER, History, Row, Watcher

_ALL = b"\0"


class KeyWatcher(Watcher):
    """One open watch of v3. Synchronous: whoever opened it is called when there is something to take, and takes it when
    it suits."""

    __slots__ = ("_deletes", "_forget", "_previous", "_puts", "_tell", "end", "key")

    def __init__(
        self,
        history: History,
        key: bytes,
        end: bytes | None,
        start: int,
        tell: Callable[["KeyWatcher"], None],
        forget: Callable[["KeyWatcher"], None],
        *,
        puts: bool,
        deletes: bool,
        previous: bool,
    ) -> None:
        super().__init__(history, start)
        self.key = key
        self.end = end
        self._tell = tell
        self._forget = forget
        self._puts = puts
        self._deletes = deletes
        self._previous = previous

    def close(self) -> None:
        """Stop watching; closing twice is no error."""
        self._forget(self)

    def take(self) -> Sequence[Event]:
        """What comes next, whole revisions in order. None of it if history has to be read and a slice of it brought
        nothing: take again in another round of the loop while `waiting`. CompactedError if it is gone."""
        return self.take_live(BUFFER) if self.live else self.read_on(BUFFER)

    def offer(self, event: Event, weight: int) -> None:
        """Take a new event that concerns this watch, unless it is filtered out."""
        if self._deletes if event.record.gone else self._puts:
            super().offer(event, weight)

    def _wake(self) -> None:
        self._tell(self)

    def _number(self, record: Record) -> int:
        return record.revision

    def _first(self, number: int) -> bytes:
        return self._history.first_of(number)

    def _shown(self, record: Record) -> Event:
        wanted = self._previous and record.previous
        return Event(record, self._history.record(record.previous) if wanted else None)

    def _wants(self, record: Record) -> bool:
        if record.directory or not (self._deletes if record.gone else self._puts):
            return False
        key = record.key
        if self.end is None:
            return key == self.key
        inside = key >= self.key and (self.end == _ALL or key < self.end)
        return inside and not is_hidden(key, self.key)

    def _rows(self, limit: int) -> Sequence[Row]:
        if self.end is None:
            return [(Table.KEY, self.key)]
        names = self._history.names(Table.KEY, self.key, None if self.end == _ALL else self.end, limit + 1)
        return [(Table.KEY, name) for name in names]


class KeyWatch:
    """A v3 watch of a task of its own."""

    def __init__(self, open_: Callable[[Callable[[KeyWatcher], None]], KeyWatcher], turn: trio.Lock) -> None:
        self._parked = trio.lowlevel.ParkingLot()
        self._turn = turn
        self._watcher = open_(self._wake)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watcher.close()

    def _wake(self, _: KeyWatcher) -> None:
        self._parked.unpark_all()

    async def next(self) -> Sequence[Event]:
        """Wait for the next events: at least one, whole revisions. CompactedError if they are gone."""
        while True:
            await trio.lowlevel.checkpoint()
            if not self._watcher.waiting:
                await self._parked.park()
            elif self._watcher.live:
                return self._watcher.take()
            else:
                async with self._turn:
                    found = self._watcher.take()
                if found:
                    return found
