"""Watches of the v2 dialect: a path, with all below it if asked, by index."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import trio

from core.kv import paths
from core.kv.errors import CompactedError, TreeError
from core.kv.records import POSITION, Event, Record
from core.kv.transaction import Table
from core.watch.watcher import BUFFER, History, Row, Watcher


def cleared(history: History, start: int) -> TreeError:
    """The answer to whoever asks for history that is gone."""
    cause = f"the requested history has been cleared [{history.floor}/{start}]"
    return TreeError(TreeError.HISTORY_CLEARED, cause, history.revision)


class PathWatcher(Watcher):
    """One open watch of v2; `core.api.store.Watch`."""

    __slots__ = ("_forget", "_parked", "_turn", "path", "recursive")

    def __init__(
        self,
        history: History,
        path: bytes,
        recursive: bool,
        start: int,
        turn: trio.Lock,
        forget: Callable[["PathWatcher"], None],
    ) -> None:
        super().__init__(history, start)
        self.path = path
        self.recursive = recursive
        self._turn = turn
        self._forget = forget
        self._parked: trio.lowlevel.ParkingLot | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop watching; closing twice is no error."""
        self._forget(self)

    async def next(self, limit: int = BUFFER) -> Sequence[Event]:
        """Wait for the next events, at least one and at most `limit`, in order. TreeError 401 if they are compacted
        away."""
        while True:
            await trio.lowlevel.checkpoint()
            if not self.live:
                async with self._turn:
                    found = self._read(limit)
                if found:
                    return found
            elif self.waiting:
                return self.take_live(limit)
            else:
                if self._parked is None:
                    self._parked = trio.lowlevel.ParkingLot()
                await self._parked.park()

    def _read(self, limit: int) -> list[Event]:
        start = self._next
        try:
            return self.read_on(limit)
        except CompactedError:
            raise cleared(self._history, start) from None

    def _wake(self) -> None:
        if self._parked is not None:
            self._parked.unpark_all()

    def _number(self, record: Record) -> int:
        return record.index

    def _first(self, number: int) -> bytes:
        return POSITION.pack(number, 0)

    def _shown(self, record: Record) -> Event:
        return Event(record, self._history.record(record.previous) if record.previous else None)

    def _wants(self, record: Record) -> bool:
        path = record.key
        if record.refresh or record.silent or not paths.is_clean(path):
            return False
        if path == self.path:
            return True
        if record.gone and record.directory and self.path.startswith(path + b"/"):
            return True
        above = b"/" if self.path == paths.ROOT else self.path + b"/"
        return self.recursive and path.startswith(above) and not paths.is_hidden_below(path, self.path)

    def _rows(self, limit: int) -> Sequence[Row]:
        found: list[Row] = [(Table.KEY, self.path), (Table.DIRECTORY, self.path)]
        found += [(Table.DIRECTORY, directory) for directory in paths.ancestors(self.path)]
        if self.recursive:
            start, end = paths.below(self.path)
            for table in (Table.KEY, Table.DIRECTORY):
                found += [(table, name) for name in self._history.names(table, start, end, limit + 1)]
        return found
