"""Comparing the states of the members: each hashes its own at one place of the log, the leader collects the hashes.

The place is an entry (`CompareStates`), which the leader proposes every COMPARE_SECONDS: so all mean the same state,
and a member that is behind hashes it when it comes there. What is compared is what compaction leaves: each member first
brings its sweep to the floor as of that entry, and no further before it has hashed. Compactions come every few seconds
under load, and a scan at each would cost more than it tells. A hash is made in slices, in at most half of the time.

A hash that is lost (a restart, a snapshot, a compaction that overtook it, damage met) is not made again: that member is
compared the next time. The leader asks for what is missing for ASK_SECONDS. A new leader asks anew.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable

import msgspec
import trio

from core.kv.commands import Accuse
from core.kv.errors import CompactedError, DamagedError
from core.kv.keyspace import Keyspace
from core.kv.outcomes import Marked
from core.node.damage import Damage
from core.node.errors import ProposalError
from core.node.peers import Frame, Peers
from core.node.queue import Done
from core.raft.machine import Raft, Role

COMPARE_SECONDS = 600.0
FIRST_SECONDS = 60.0
"""From the start of a member to the first comparison that it proposes."""
COST = 100
"""A comparison follows when this many times as long as the last one took has passed."""
LOOK_SECONDS = 0.5
ASK_SECONDS = 120.0

_logger = logging.getLogger(__name__)


class _Result(msgspec.Struct, gc=False):
    """What is known of one comparison."""

    index: int
    digests: dict[int, bytes]
    """By member; at least the own one."""
    ask_until: float


class Comparing:
    """The part of one member."""

    def __init__(
        self, raft: Raft, keyspace: Keyspace, peers: Peers, damage: Damage, propose: Callable[[Accuse, Done], None]
    ) -> None:
        self._raft = raft
        self._keyspace = keyspace
        self._peers = peers
        self._damage = damage
        self._propose = propose
        self._result: _Result | None = None
        self._accusing = False
        self._next = trio.current_time() + FIRST_SECONDS
        self.made = 0
        """Hashes made since the start."""

    @property
    def is_due(self) -> bool:
        """Whether the leader should propose a comparison."""
        return len(self._raft.members.all) > 1 and trio.current_time() >= self._next

    async def run(self) -> None:
        """Hash what is marked, ask, and judge, until cancelled."""
        while True:
            await trio.sleep(LOOK_SECONDS)
            marked = self._keyspace.marked
            if marked is not None:
                await self._hash(marked)
            if self._result is not None and self._raft.role is Role.LEADER:
                self._ask(self._result)
                self._judge(self._result)

    def heard(self, sender: int, index: int, digest: bytes) -> None:
        """A member tells its hash, or (empty) asks for this one's."""
        result = self._result
        if result is None or result.index != index:
            return
        if digest:
            result.digests.setdefault(sender, digest)
        else:
            self._peers.send(sender, Frame.HASH, [index, result.digests[self._raft.member]])

    async def _hash(self, marked: Marked) -> None:
        began = time.perf_counter()
        self._next = trio.current_time() + COMPARE_SECONDS
        try:
            hashing = self._keyspace.hashing(marked.revision, marked.floor)
            more = True
            while more and self._keyspace.marked is marked:
                sliced = time.perf_counter()
                more = hashing.step()
                await trio.sleep(time.perf_counter() - sliced)
        except CompactedError:
            _logger.info("a compaction overtook the comparison of states", extra={"index": marked.index})
        except DamagedError as error:
            self._damage.met(error)
        else:
            if self._keyspace.marked is marked:
                took = time.perf_counter() - began
                self._next = trio.current_time() + max(COMPARE_SECONDS, COST * took)
                self._result = _Result(
                    marked.index, {self._raft.member: hashing.digest}, trio.current_time() + ASK_SECONDS
                )
                self.made += 1
        if self._keyspace.marked is marked:
            self._keyspace.unmark()

    def _ask(self, result: _Result) -> None:
        if trio.current_time() < result.ask_until:
            for member in self._raft.members.all:
                if member not in result.digests:
                    self._peers.send(member, Frame.HASH, [result.index, b""])

    def _judge(self, result: _Result) -> None:
        """Accuse those that differ: when most voters agree on another state, or when no more answers will come."""
        members = self._raft.members
        digests = {member: digest for member, digest in result.digests.items() if member in members.all}
        if len(set(digests.values())) < 2 or self._accusing:
            return
        votes = Counter(digest for member, digest in digests.items() if member in members.voters)
        digest, count = votes.most_common(1)[0]
        judged = count * 2 > len(members.voters)
        if not judged and len(digests) < len(members.all) and trio.current_time() < result.ask_until:
            return
        guilty = [member for member, other in digests.items() if not judged or other != digest]
        known = {each.member: each.judged for each in self._keyspace.suspicions()}
        new = tuple(member for member in sorted(guilty) if known.get(member, False) < judged or member not in known)
        if new:
            self._accuse(Accuse(new, result.index, judged))

    def _accuse(self, accusation: Accuse) -> None:
        def done(_: object) -> None:
            self._accusing = False

        self._accusing = True
        try:
            self._propose(accusation, done)
        except ProposalError:
            self._accusing = False  # the next look tries again
