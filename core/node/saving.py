"""Making what raft wants saved durable: in line or in a thread, at last with the room of the reserve."""

import logging
import time

import trio

from core.node.disk import Log
from core.node.headroom import Headroom
from core.node.pace import Pace
from core.node.timing import Timing
from core.raft.machine import Ready
from core.store_lmdb.errors import DiskFullError

SLOW_SECONDS = 0.5
"""A commit that takes longer is worth a line in the log."""

_logger = logging.getLogger(__name__)


class Saver:
    """The way to the log."""

    def __init__(self, log: Log, headroom: Headroom, pace: Pace, timing: Timing) -> None:
        self._log = log
        self._headroom = headroom
        self._pace = pace
        self._timing = timing

    async def save(self, ready: Ready) -> None:
        """Make entries and hard state durable in one commit. DiskFullError, after the reserve was given up too."""
        try:
            await self._commit(ready)
        except DiskFullError as full:
            if not self._headroom.ran_out(str(full)):
                raise
            await self._commit(ready)

    async def _commit(self, ready: Ready) -> None:
        started = time.perf_counter()
        if self._pace.next_in_line():
            self._log.append(ready.entries, ready.hard_state)
            self._pace.measured(time.perf_counter() - started)
        else:
            # Not to be abandoned: whether the entries are durable decides what may be applied.
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._log.append, ready.entries, ready.hard_state)
        seconds = time.perf_counter() - started
        self._timing.add(seconds)
        if seconds > SLOW_SECONDS:
            _logger.warning("the disk is slow", extra={"cause": "disk", "what": "commit", "ms": round(seconds * 1e3)})
