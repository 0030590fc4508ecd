"""What time brings: expiry, compaction, flushes, a look at the disk. The leader proposes, nobody acts by himself."""

from typing import Any

import trio

from core.kv.commands import Advance, Command, Compact, CompareStates, Expire
from core.kv.errors import DamagedError
from core.kv.outcomes import Expired
from core.node.errors import ProposalError
from core.node.node import Node

TICK_SECONDS = 0.1
EXPIRE_AT_ONCE = 500
"""What one entry removes at most; the next follows at once."""
CLOCK_SECONDS = 10
"""While something waits to expire, cluster time is logged at least so often: a crash extends a TTL by no more."""
COMPACT_SECONDS = 5
"""How often to see whether history may be shortened."""
RETRY_SECONDS = 1
SWEEP_CHANGES = 200
"""Changes swept between two checkpoints: about a millisecond."""
KEPT_WHEN_SHORT = 10_000
"""Revisions of history that stay when room gets short; while it stays short, a tenth of that at each further second."""


class Keeper:
    """Housekeeping of one node, in a task of its own."""

    def __init__(self, node: Node, *, retention: float, revisions: int) -> None:
        """`retention` in seconds of history (0: not by age), `revisions` of history kept at most."""
        self._node = node
        self._retention = int(retention * 1e9)
        self._revisions = revisions
        self._expiring = False
        self._compacting = False
        self._comparing = False
        self._damaged = False
        """History was found damaged."""
        self._kept = revisions
        self._advanced = 0
        """The revision that this keeper's last `Advance` made: it replaced nothing."""

    async def run(self) -> None:
        """Tick until cancelled."""
        node = self._node
        tick = 0
        due = trio.current_time()
        while True:
            due = max(due + TICK_SECONDS, trio.current_time())
            await trio.sleep_until(due)
            node.timings.lag.add(trio.current_time() - due)
            tick += 1
            if tick % round(RETRY_SECONDS / TICK_SECONDS) == 0:
                node.clock.follow_wall()
                node.headroom.look()
                node.stand()
            if node.leads:
                self._expire_if_due()
                if tick % round(COMPACT_SECONDS / TICK_SECONDS) == 0 or (
                    node.headroom.nearly_gone and tick % round(RETRY_SECONDS / TICK_SECONDS) == 0
                ):
                    self._compact_if_due()
                if tick % round(RETRY_SECONDS / TICK_SECONDS) == 0:
                    self._compare_if_due()
            while not node.is_behind and self._sweep():
                node.flush_if_due()
                await trio.lowlevel.checkpoint()
                if trio.current_time() >= due + TICK_SECONDS:
                    break  # the rest follows in the next ticks: what falls due meanwhile does not wait for it
            node.flush_if_due()

    def _sweep(self) -> bool:
        """Sweep a slice; whether there is more. History that is damaged stays as it is: nothing may rest on it, and
        nothing needs it."""
        if self._damaged:
            return False
        try:
            return bool(self._node.keyspace.sweep(SWEEP_CHANGES))
        except DamagedError as error:
            self._damaged = True
            self._node.damage.met(error)
            return False

    def _expire_if_due(self) -> None:
        node = self._node
        due = node.keyspace.next_deadline()
        if due is None or self._expiring:
            return
        now = node.clock.now()
        if due <= now or now - node.keyspace.time >= CLOCK_SECONDS * 10**9:
            self._expiring = self._propose(Expire(EXPIRE_AT_ONCE), self._expired)

    def _expired(self, outcome: object) -> None:
        self._expiring = False
        if isinstance(outcome, Expired) and outcome.count:
            self._expire_if_due()

    def _compact_if_due(self) -> None:
        node = self._node
        keyspace = node.keyspace
        if node.headroom.nearly_gone:
            self._kept = min(self._kept // 10, KEPT_WHEN_SHORT)
        else:
            self._kept = self._revisions
        target = keyspace.revision - self._kept
        if self._retention:
            target = max(target, keyspace.revision_at(node.clock.now() - self._retention))
        if self._compacting:
            return
        if target > keyspace.floor:
            self._compacting = self._propose(Compact(target), self._compacted)
        elif node.headroom.shortage and keyspace.floor == keyspace.revision != self._advanced:
            # What the last change replaced is still told to whoever asks for it, and may be what fills the disk.
            self._compacting = self._propose(Advance(), self._did_advance)

    def _compare_if_due(self) -> None:
        if self._node.comparing.is_due and not self._comparing:
            self._comparing = self._propose(CompareStates(), self._compared)

    def _compared(self, _: object) -> None:
        self._comparing = False

    def _compacted(self, _: object) -> None:
        self._compacting = False

    def _did_advance(self, _: object) -> None:
        self._compacting = False
        self._advanced = self._node.keyspace.revision

    def _propose(self, command: Command, done: Any) -> bool:
        try:
            self._node.propose(command, done)
        except ProposalError:
            return False  # the next tick tries again
        return True
