"""A watch on the hub of the member in this process."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

import trio

from core.client import translation
from core.client.store import Watch
from core.client.values import Batch, Keys
from core.kv.errors import DamagedError, KeyspaceError
from core.kv.records import Event

PROGRESS_SECONDS = 60.0
"""A watch that has told nothing for so long tells how far it is, if it is asked to."""


class Watcher(Protocol):
    """An open watch, as the hub has it."""

    @property
    def live(self) -> bool:
        """Whether events come as they happen; else history is read."""
        ...

    @property
    def waiting(self) -> bool:
        """Whether there is something to take."""
        ...

    def take(self) -> Sequence[Event]:
        """Whole revisions, in order; none, if a slice of history brought nothing. CompactedError."""
        ...

    def close(self) -> None: ...


class Watched(Protocol):
    """What a watch asks of the member."""

    @property
    def revision(self) -> int:
        """The last revision applied."""
        ...

    @property
    def settled(self) -> bool:
        """Whether every watch was offered all that was applied; large crowds are some rounds of the loop later."""
        ...

    @property
    def turn(self) -> trio.Lock:
        """To be held while a slice of history is read."""
        ...

    def watch_keys(
        self,
        key: bytes,
        end: bytes | None,
        tell: Callable[[Any], None],
        *,
        start: int = 0,
        puts: bool = True,
        deletes: bool = True,
        previous: bool = False,
    ) -> Watcher:
        """Watch a key or range; `tell` is called when there is something to take. CompactedError."""
        ...


class InsideWatch(Watch):
    """Events wait in the hub's buffer, or in history: nothing is kept here."""

    def __init__(
        self, node: Watched, keys: bytes | Keys, start: int, *, puts: bool, deletes: bool, previous: bool
    ) -> None:
        if start < 0:
            raise ValueError(f"no watch can start at revision {start}")
        self.progress = False
        """Whether to tell how far it is when nothing happens."""
        self._node = node
        self._previous = previous
        self._parked = trio.lowlevel.ParkingLot()
        self.revision = start - 1 if start else node.revision
        key, end = (keys, None) if isinstance(keys, bytes) else (keys.start, keys.end)
        try:
            self._watcher = node.watch_keys(
                key, end, self._wake, start=start, puts=puts, deletes=deletes, previous=previous
            )
        except (KeyspaceError, DamagedError) as error:
            raise translation.refusal(error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watcher.close()

    async def __anext__(self) -> Batch:
        while True:
            await trio.lowlevel.checkpoint()
            if self._is_idle():
                with trio.move_on_after(PROGRESS_SECONDS):
                    await self._parked.park()
                if self.reached > self.revision:
                    self.revision = self.reached
                    if self.progress:
                        return Batch(self.revision, ())
                continue
            found = await self._take()
            if found:
                self.revision = found[-1].record.revision
                return Batch(self.revision, tuple(translation.event(each, previous=self._previous) for each in found))

    @property
    def reached(self) -> int:
        return self._node.revision if self._is_idle() and self._node.settled else self.revision

    def _is_idle(self) -> bool:
        return not self._watcher.waiting

    async def _take(self) -> Sequence[Event]:
        try:
            if self._watcher.live:
                return self._watcher.take()
            async with self._node.turn:
                return self._watcher.take()
        except (KeyspaceError, DamagedError) as error:
            raise translation.refusal(error) from None

    def _wake(self, _: Watcher) -> None:
        self._parked.unpark_all()
