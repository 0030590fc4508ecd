"""The drive loop of one member: see the package docstring for the order of things."""

import logging
import time

import msgspec
import trio

from core.kv import commands
from core.kv.commands import Batch, Command
from core.kv.keyspace import Keyspace
from core.node.clock import ClusterClock
from core.node.disk import Log, State
from core.node.errors import NoLeaderError, NoSpaceError, OverloadedError, ProposalError
from core.node.headroom import Headroom
from core.node.pace import Pace
from core.node.queue import Done, Proposal, ProposalQueue, adds_data, size_of
from core.node.timing import Timing
from core.raft.machine import Raft, Ready, Role
from core.raft.messages import Entry, Kind
from core.store_lmdb.errors import DiskFullError
from core.watch.hub import Hub

FLUSH_ROWS = 700
"""Rows that wait for a flush: at random keys these take about 5 ms, two thirds of it the disk."""
FLUSH_SECONDS = 0.5
FLUSH_BYTES = 4 << 20
"""About how many bytes wait at most, where values are large."""

SLOW_SECONDS = 0.5
"""A commit that takes longer is worth a line in the log."""

_logger = logging.getLogger(__name__)


class Timings(msgspec.Struct, frozen=True):
    """Where the time goes, for metrics and for telling the cause of slowness."""

    commit: Timing
    """Durable commits of the log: the disk."""
    apply: Timing
    """Applying batches and answering their requests: the processor."""
    flush: Timing
    """Flushes of the state: both."""
    lag: Timing
    """How late the ticker woke: whatever kept the loop."""


class Node:
    """One member. Its owner awaits `start`, then runs `run` until `stop`; everything else is synchronous."""

    def __init__(
        self, raft: Raft, log: Log, state: State, keyspace: Keyspace, hub: Hub, clock: ClusterClock, headroom: Headroom
    ) -> None:
        self.raft = raft
        self.keyspace = keyspace
        self.hub = hub
        self.clock = clock
        self.headroom = headroom
        self.timings = Timings(Timing(), Timing(), Timing(), Timing())
        self.pace = Pace()
        self._log = log
        self._state = state
        self._queue = ProposalQueue()
        self._wake = trio.Event()
        self._stopping = False
        self._in_flight: dict[int, list[Proposal]] = {}
        """Who waits for the outcome of which entry."""
        self._flushed_at = trio.current_time()
        self._turned_at = trio.current_time()

    # For services

    @property
    def revision(self) -> int:
        """The last index applied."""
        return self.keyspace.revision

    @property
    def raft_index(self) -> int:
        """The last log entry applied."""
        return self.keyspace.applied[0]

    @property
    def raft_term(self) -> int:
        return self.raft.term

    @property
    def leads(self) -> bool:
        """Whether this member leads and has applied an entry of its own term."""
        return self.raft.role is Role.LEADER and self.keyspace.applied[1] == self.raft.term

    @property
    def waiting(self) -> int:
        """Commands in the queue."""
        return len(self._queue)

    def is_stuck(self, seconds: float) -> bool:
        """Whether commands wait and none was carried out for so long: the disk hangs."""
        return bool(self._queue or self._in_flight) and trio.current_time() - self._turned_at > seconds

    def propose(self, command: Command, done: Done) -> None:
        """Queue a command; `done` is called exactly once with its outcome, which may be a KeyspaceError or a
        ProposalError. Raises OverloadedError, NoSpaceError or NoLeaderError if it was not queued."""
        size = size_of(command)
        if adds_data(command) and not self.headroom.admits(size):
            raise NoSpaceError(self.headroom.shortage)
        if self._stopping:
            raise NoLeaderError("this member is stopping; ask another one, or try again later")
        if self.raft.role is not Role.LEADER:
            raise NoLeaderError("no leader is known; try again later")
        if not self._queue.put(command, done, size):
            raise OverloadedError("too many requests wait for the disk; nothing was written, try again later")
        self._wake.set()

    def confirm(self, done: Done) -> None:
        """Call `done(None)` when a read made then is linearizable, or with the ProposalError that prevents it.

        A quorum of one has applied everything that it ever acknowledged once it has applied an entry of its term.
        """
        done(None if self.leads else NoLeaderError("no leader is known; try again later"))

    # The loop

    async def start(self) -> bool:
        """Take the lead and apply what the log holds behind the state. False without room for the first entry of the
        term: reads are served all the same, and it may be tried again."""
        self.raft.campaign()
        return await self._carry_out()

    async def run(self) -> None:
        """Take turns until stopped; then carry out what is queued, flush, return."""
        while True:
            if self._queue:
                await self._turn(self._queue.take())
                if self._queue:
                    await trio.lowlevel.checkpoint()
            elif self._stopping:
                break
            else:
                await self._wake.wait()
                self._wake = trio.Event()
                self._turned_at = trio.current_time()
                if len(self._queue) > 1:
                    await trio.lowlevel.checkpoint()  # where two come, more are coming: let them join the batch
        self.flush()

    def stop(self) -> None:
        """Accept no more; `run` returns when what is queued is done."""
        self._stopping = True
        self._wake.set()

    def flush(self) -> None:
        """Bring the applied state to the disk; without room it waits in memory."""
        started = time.perf_counter()
        try:
            self._state.flush()
        except DiskFullError as full:
            self.headroom.ran_out(str(full))
            return
        self._log.drop_until(self.keyspace.applied[0])
        self._flushed_at = trio.current_time()
        self.timings.flush.add(time.perf_counter() - started)

    def flush_if_due(self) -> None:
        """Flush what is much, or has waited for long."""
        rows = self._state.dirty_rows
        much = rows >= FLUSH_ROWS or self._state.dirty_bytes >= FLUSH_BYTES
        if much or (rows and trio.current_time() - self._flushed_at >= FLUSH_SECONDS):
            self.flush()

    async def _turn(self, batch: list[Proposal]) -> None:
        if self.raft.role is not Role.LEADER:
            _refuse(batch, NoLeaderError("the lead was lost; nothing was written, try again later"))
            return
        entry = Batch(self.clock.now(), tuple([proposal.command for proposal in batch]))
        self._in_flight[self.raft.propose(commands.encode(entry))] = batch
        await self._carry_out()
        self.flush_if_due()
        self._turned_at = trio.current_time()

    async def _carry_out(self) -> bool:
        """Save what is new, count it, apply what became committed; without room, take it back and refuse it."""
        ready = self.raft.ready()
        try:
            await self._save(ready)
        except DiskFullError as full:
            self.headroom.ran_out(str(full))
            self.raft.withdraw(ready)
            for entry in ready.entries:
                _refuse(self._in_flight.pop(entry.index, []), NoSpaceError(self.headroom.shortage))
            return False
        self.raft.saved(ready)
        started = time.perf_counter()
        while entries := self.raft.committed():
            for entry in entries:
                self._apply(entry)
        self.timings.apply.add(time.perf_counter() - started)
        return True

    async def _save(self, ready: Ready) -> None:
        """Make entries and hard state durable, at last with the room of the reserve. DiskFullError."""
        try:
            await self._commit(ready)
        except DiskFullError as full:
            if not self.headroom.ran_out(str(full)):
                raise
            await self._commit(ready)

    async def _commit(self, ready: Ready) -> None:
        started = time.perf_counter()
        if self.pace.next_in_line():
            self._log.append(ready.entries, ready.hard_state)
            self.pace.measured(time.perf_counter() - started)
        else:
            # Not to be abandoned: whether the entries are durable decides what may be applied.
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._log.append, ready.entries, ready.hard_state)
        seconds = time.perf_counter() - started
        self.timings.commit.add(seconds)
        if seconds > SLOW_SECONDS:
            _logger.warning("the disk is slow", extra={"cause": "disk", "what": "commit", "ms": round(seconds * 1e3)})

    def _apply(self, entry: Entry) -> None:
        """Apply what the log says, not what was meant to be written to it: the data is decoded anew."""
        batch = commands.decode(entry.data) if entry.kind == Kind.COMMANDS and entry.data else None
        if batch is not None:
            self.clock.advance(batch.time)
        outcomes, events = self.keyspace.apply(entry.index, entry.term, batch)
        self.hub.publish(events)
        waiting = self._in_flight.pop(entry.index, None)
        if waiting is not None:
            for proposal, outcome in zip(waiting, outcomes, strict=True):
                proposal.done(outcome)


def _refuse(batch: list[Proposal], error: ProposalError) -> None:
    for proposal in batch:
        proposal.done(error)
