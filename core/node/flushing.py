"""When the applied state goes to its disk: behind the log, often enough that a replay is short."""

import time
from _thread import allocate_lock, start_new_thread
from collections.abc import Callable
from typing import NamedTuple

import trio

from core.kv.keyspace import Keyspace
from core.node.disk import Log, State
from core.node.headroom import Headroom
from core.node.retention import Retention
from core.node.timing import Timing
from core.store_lmdb.errors import DiskFullError

FLUSH_ROWS = 16_384
"""Rows that wait for a flush. The more there are, the fewer pages each costs: they are neighbours more often. To replay
as many takes some 0.1 s."""
FLUSH_SECONDS = 0.5
FLUSH_BYTES = 8 << 20
"""About how many bytes wait for a flush, where values are large."""
BEHIND = 2
"""How many times as much may wait behind a flush that is under way, before what is to be applied waits for the disk."""


class _Leaving(NamedTuple):
    """A flush that is under way."""

    applied: int
    """The last entry that it contains."""
    began: float


class Flusher:
    """Flushes one member's state, and lets go of the log that only repeats it."""

    def __init__(
        self,
        state: State,
        log: Log,
        keyspace: Keyspace,
        headroom: Headroom,
        retention: Retention,
        timing: Timing,
        is_alone: Callable[[], bool],
    ) -> None:
        self._state = state
        self._log = log
        self._keyspace = keyspace
        self._headroom = headroom
        self._retention = retention
        self._timing = timing
        self._is_alone = is_alone
        self._flushed_at = trio.current_time()
        self._leaving: _Leaving | None = None
        """The flush that is under way."""

    def follow(self, state: State) -> None:
        """Another state took the place of the old one."""
        self._state = state
        self._leaving = None

    def flush(self) -> None:
        """Bring the applied state to the disk, and wait for that; without room it waits in memory."""
        started = time.perf_counter()
        self._leaving = None
        try:
            self._state.flush()
        except DiskFullError as full:
            self._headroom.ran_out(str(full))
        else:
            self._flushed(_Leaving(self._keyspace.applied[0], started))

    def flush_if_due(self) -> None:
        """Begin to flush what is much, or has waited for long."""
        if self._leaving is not None and not self._has_settled(self._leaving):
            return
        rows = self._state.dirty_rows
        if self._exceeds(1) or (rows and trio.current_time() - self._flushed_at >= FLUSH_SECONDS):
            self._leaving = _Leaving(self._keyspace.applied[0], time.perf_counter())
            self._state.begin_flush(Beside)

    @property
    def is_behind(self) -> bool:
        """Whether far more waits than one flush should take, since the disk does not keep up: apply no more before
        `flush_if_due` has found that the flush under way has ended."""
        return self._leaving is not None and self._exceeds(BEHIND)

    def _exceeds(self, times: int) -> bool:
        state = self._state
        rows, size = state.dirty_rows - state.leaving_rows, state.dirty_bytes - state.leaving_bytes
        return rows >= times * FLUSH_ROWS or size >= times * FLUSH_BYTES

    def _has_settled(self, leaving: _Leaving) -> bool:
        """Whether the flush that is under way has ended; then what follows from that is done."""
        try:
            if not self._state.settle():
                return False
        except DiskFullError as full:
            self._headroom.ran_out(str(full))
            self._flushed_at = trio.current_time()
        else:
            self._flushed(leaving)
        self._leaving = None
        return True

    def _flushed(self, leaving: _Leaving) -> None:
        self._log.drop_until(self._retention.floor(leaving.applied, alone=self._is_alone()))
        self._flushed_at = trio.current_time()
        self._timing.add(time.perf_counter() - leaving.began)


class Beside:
    """Work in a thread of no task: nobody waits for the end of a flush, each turn looks whether it has come. Nor for
    its beginning, as `threading.Thread.start` does: on busy processors that took 60 ms and more."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._running = allocate_lock()
        self._running.acquire()
        start_new_thread(self._run, ())

    def is_alive(self) -> bool:
        return self._running.locked()

    def join(self) -> None:
        """Return when it has ended."""
        with self._running:
            pass

    def _run(self) -> None:
        try:
            self._work()
        finally:
            self._running.release()
