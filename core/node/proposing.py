"""The way of a command from whoever asks to raft's log: queue, batch, leader, and back with its outcome."""

from collections.abc import Callable, Sequence
from functools import partial

import trio

from core.kv import commands
from core.kv.commands import Batch, ChangeMember, Origin
from core.kv.keyspace import Keyspace
from core.node.changing import propose_change
from core.node.clock import ClusterClock
from core.node.errors import (
    ChangeRefusedError,
    NoLeaderError,
    NoSpaceError,
    OutcomeUnknownError,
    OverloadedError,
    ProposalError,
)
from core.node.flight import LOST, Flight
from core.node.forwarding import Forwarded, refusal_of
from core.node.gating import check_version
from core.node.headroom import Headroom
from core.node.inbox import Handed
from core.node.peers import Frame, Peers
from core.node.queue import Proposal, ProposalQueue, adds_data, operations_of, size_of
from core.raft.machine import Raft, Role

LEADERLESS_SECONDS = 3.0
"""How long commands wait for a leader to be found before they are refused."""

NO_LEADER = "no leader is known; try again later"
STOPPING = "this member is stopping; ask another one, or try again later"


class Proposer:
    """Everything that waits for an outcome. The drive loop calls `hand_on` each turn; nothing here awaits."""

    def __init__(
        self,
        raft: Raft,
        keyspace: Keyspace,
        clock: ClusterClock,
        headroom: Headroom,
        first_token: int,
        is_alive: Callable[[int], bool],
    ) -> None:
        self.queue = ProposalQueue()
        self.flight = Flight()
        self.forwarded = Forwarded(first_token)
        self.stopping = False
        self._raft = raft
        self._keyspace = keyspace
        self._clock = clock
        self._headroom = headroom
        self._is_alive = is_alive
        self._led_at = trio.current_time()
        """When a leader was last known, and could be reached."""
        self._unreachable = False
        """The leader was not reached since the last tick."""

    @property
    def is_leaderless(self) -> bool:
        """Whether there is no leader, and was none for too long to wait for one."""
        raft = self._raft
        alone = raft.members.all == (raft.member,)
        lost = not raft.leader or self._unreachable
        return lost and (alone or trio.current_time() - self._led_at >= LEADERLESS_SECONDS)

    @property
    def may_hand_on(self) -> bool:
        """Whether something waits that can go on now."""
        if not self.queue:
            return False
        if self._raft.role is Role.LEADER:
            # A new leader goes on from the cluster time of its predecessors only when it has applied what they logged.
            established = self._keyspace.applied[1] == self._raft.term
            return established and self.flight.has_room and self._raft.may_propose
        return bool(self._raft.leader) and not self._unreachable and self.forwarded.has_room

    def enqueue(self, proposal: Proposal) -> None:
        """Queue a command; OverloadedError, NoSpaceError or NoLeaderError if it was not."""
        if adds_data(proposal.command) and not self._headroom.admits(proposal.size):
            raise NoSpaceError(self._headroom.shortage)
        check_version(self._keyspace, proposal.command)
        if self.stopping:
            raise NoLeaderError(STOPPING)
        if self._raft.role is not Role.LEADER and self.is_leaderless:
            raise NoLeaderError(NO_LEADER)
        if not self.queue.put(proposal):
            raise OverloadedError("too many requests wait for the disk; nothing was written, try again later")

    def take_over(self, item: Handed, peers: Peers) -> None:
        """Queue what a follower hands over, or say that it was not."""
        for token, command in enumerate(item.commands, item.token):
            answer = partial(_answer, peers, item.sender, token)
            try:
                if self._raft.role is not Role.LEADER:
                    raise NoLeaderError("the lead was lost; nothing was written, try again later")
                self.enqueue(Proposal(command, answer, size_of(command), operations_of(command), item.sender, token))
            except ProposalError as error:
                answer(error)

    def hand_on(self, peers: Peers) -> None:
        """Propose the next batch, or give it to the leader."""
        if not self.may_hand_on:
            return
        batch = self.queue.take()
        if self._raft.role is Role.LEADER:
            self._propose(batch)
        else:
            self._forward(batch, peers)

    def tick(self) -> None:
        """Refuse what waited in vain for a leader, give up what waited too long for its outcome."""
        now = trio.current_time()
        if self.is_leaderless:
            self.refuse_queued(NoLeaderError(NO_LEADER))
        elif self._raft.leader and not self._unreachable:
            self._led_at = now
        self._unreachable = False
        self.forwarded.give_up_overdue(now)

    def settle(self) -> None:
        """After each turn: what another leader should have carried out has an unknown outcome."""
        if self.flight and self._raft.role is not Role.LEADER:
            self.flight.fail_all(OutcomeUnknownError(LOST))
        if self.forwarded and self._raft.leader != self.forwarded.leader:
            self.forwarded.give_up()

    def refuse_queued(self, error: ProposalError) -> None:
        """Tell all that wait in the queue why nothing was proposed."""
        for proposal in self.queue.take_all():
            proposal.done(error)

    def end(self, error: ProposalError) -> None:
        """Nothing that waits will be carried out here, or answered from this state."""
        self.refuse_queued(error)
        self.flight.fail_all(OutcomeUnknownError(LOST))
        self.forwarded.give_up()

    def _propose(self, batch: list[Proposal]) -> None:
        plain = [proposal for proposal in batch if type(proposal.command) is not ChangeMember]
        if plain:
            told = tuple([proposal.command for proposal in plain])
            index = self._raft.propose(commands.encode(Batch(self._clock.now(), told, _origins(plain))))
            self._note(index, plain)
        if len(plain) == len(batch):
            return
        for proposal in batch:
            if isinstance(proposal.command, ChangeMember):
                self._change(proposal, proposal.command)

    def _change(self, proposal: Proposal, command: ChangeMember) -> None:
        try:
            index = propose_change(self._raft, self._keyspace, command, proposal.member, proposal.token, self._is_alive)
        except ChangeRefusedError as error:
            proposal.done(error)
        else:
            self._note(index, [proposal])

    def _note(self, index: int, batch: list[Proposal]) -> None:
        size = sum([proposal.size for proposal in batch])
        self.flight.add(index, self._raft.term, [proposal.done for proposal in batch], size)

    def _forward(self, batch: list[Proposal], peers: Peers) -> None:
        leader = self._raft.leader
        if leader != self.forwarded.leader:
            self.forwarded.give_up()
        token = self.forwarded.add(batch, leader, trio.current_time())
        encoded = commands.encode(Batch(0, tuple([proposal.command for proposal in batch])))
        if not peers.send(leader, Frame.FORWARD, [token, encoded]):
            self._unreachable = True
            for number in range(token, token + len(batch)):
                self.forwarded.take(number)
            self.queue.put_back(batch)


def _answer(peers: Peers, member: int, token: int, outcome: object) -> None:
    """Tell a follower that its command was not proposed; what was, it sees applied."""
    refusal = refusal_of(outcome) if isinstance(outcome, ProposalError) else None
    if refusal is not None:
        peers.send(member, Frame.REFUSE, [token, *map(int, refusal), str(outcome)])


def _origins(batch: Sequence[Proposal]) -> tuple[Origin, ...]:
    """Who handed over which run of a batch."""
    runs: list[Origin] = []
    for place, proposal in enumerate(batch):
        if not proposal.member:
            continue
        last = runs[-1] if runs else None
        if (
            last is not None
            and last.member == proposal.member
            and last.first + last.count == place
            and last.token + last.count == proposal.token
        ):
            runs[-1] = Origin(last.first, last.count + 1, last.member, last.token)
        else:
            runs.append(Origin(place, 1, proposal.member, proposal.token))
    return tuple(runs)
