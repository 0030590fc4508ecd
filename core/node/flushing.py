"""When the applied state goes to its disk: behind the log, often enough that a replay is short."""

import time
from collections.abc import Callable

import trio

from core.kv.keyspace import Keyspace
from core.node.disk import Log, State
from core.node.headroom import Headroom
from core.node.retention import Retention
from core.node.timing import Timing
from core.store_lmdb.errors import DiskFullError

FLUSH_ROWS = 700
"""Rows that wait for a flush: at random keys these take about 5 ms, two thirds of it the disk."""
FOLLOWER_FACTOR = 4
"""How many times as many a follower lets wait: nobody waits for a single one, and four times the rows take less than
twice the time (at random keys of 10,000, 5 ms and 8 ms), since more of them share pages and syncs."""
FLUSH_SECONDS = 0.5
FLUSH_BYTES = 4 << 20
"""About how many bytes wait at most, where values are large."""


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
        leads: Callable[[], bool],
    ) -> None:
        self._state = state
        self._log = log
        self._keyspace = keyspace
        self._headroom = headroom
        self._retention = retention
        self._timing = timing
        self._is_alone = is_alone
        self._leads = leads
        self._flushed_at = trio.current_time()

    def follow(self, state: State) -> None:
        """Another state took the place of the old one."""
        self._state = state

    def flush(self) -> None:
        """Bring the applied state to the disk; without room it waits in memory."""
        started = time.perf_counter()
        try:
            self._state.flush()
        except DiskFullError as full:
            self._headroom.ran_out(str(full))
            return
        self._log.drop_until(self._retention.floor(self._keyspace.applied[0], alone=self._is_alone()))
        self._flushed_at = trio.current_time()
        self._timing.add(time.perf_counter() - started)

    def flush_if_due(self) -> None:
        """Flush what is much, or has waited for long."""
        rows = self._state.dirty_rows
        bound = FLUSH_ROWS if self._leads() else FOLLOWER_FACTOR * FLUSH_ROWS
        much = rows >= bound or self._state.dirty_bytes >= FLUSH_BYTES
        if much or (rows and trio.current_time() - self._flushed_at >= FLUSH_SECONDS):
            self.flush()
