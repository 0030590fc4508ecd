"""The drive loop of one member: see the package docstring for the order of things."""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any

import msgspec
import trio

from core.kv.commands import Command
from core.kv.keyspace import Keyspace
from core.kv.membership import Member
from core.node import inbox
from core.node.applying import Applier
from core.node.backlog import Backlog
from core.node.clock import ClusterClock
from core.node.comparing import Comparing
from core.node.confirming import Confirmations, Confirmed
from core.node.damage import Damage
from core.node.disk import Log, Snapshots, State
from core.node.errors import (
    ChangeRefusedError,
    FencedError,
    NoLeaderError,
    NoSpaceError,
    Obstacle,
    OverloadedError,
    ProposalError,
)
from core.node.fence import Fence
from core.node.flushing import Flusher
from core.node.headroom import Headroom
from core.node.hearing import Hearing
from core.node.inbox import FromRaft, Handed, Hashed, Inbox, Refused
from core.node.lead import Lead
from core.node.offer import Offer
from core.node.pace import Pace
from core.node.peers import Frame, NoPeers, Peers, post
from core.node.proposing import NO_LEADER, STOPPING, Proposer
from core.node.queue import Done, Proposal, operations_of, size_of
from core.node.retention import Retention
from core.node.saving import Saver
from core.node.shipping import ship
from core.node.timing import Counts, Timing, Timings
from core.raft.machine import Raft, Ready, Role
from core.raft.members import Standing
from core.raft.messages import InstallSnapshot, Message, MessageError
from core.store_lmdb.errors import DiskFullError
from core.watch.hub import Hub

STEPS_AT_ONCE = 256
"""Messages taken in one turn."""
STOP_SECONDS = 3.0
"""How long a member that stops waits for what is under way, and for another to take the lead."""
REPLAY_BYTES = 4 << 20
FULL_SECONDS = 1.0
"""How often a member that could not save looks whether there is room."""

_logger = logging.getLogger(__name__)


class Node:
    """One member. Its owner awaits `start`, then runs `run` until `stop`; everything else is synchronous."""

    def __init__(
        self,
        raft: Raft,
        log: Log,
        state: State,
        keyspace: Keyspace,
        hub: Hub,
        clock: ClusterClock,
        headroom: Headroom,
        *,
        peers: Peers | None = None,
        snapshots: Snapshots | None = None,
        first_token: int = 0,
        tick_seconds: float = 0.1,
    ) -> None:
        """`first_token`: requests between members are numbered from it on; the numbers must not come again after a
        restart."""
        self.raft = raft
        self.keyspace = keyspace
        self.hub = hub
        self.clock = clock
        self.headroom = headroom
        self.timings = Timings(Timing(), Timing(), Timing(), Timing())
        self.counts = Counts()
        self.pace = Pace()
        self.inbox = Inbox()
        self.damage = Damage()
        self._peers = peers or NoPeers()
        self._snapshots = snapshots
        self._tick_seconds = tick_seconds
        self._hearing = Hearing()
        self.is_alive = self._hearing.is_alive
        self._proposer = Proposer(raft, keyspace, clock, headroom, first_token, self.is_alive)
        self._confirmations = Confirmations(first_token)
        self._retention = Retention()
        self._flusher = Flusher(state, log, keyspace, headroom, self._retention, self.timings.flush, lambda: self.alone)
        self.flush = self._flusher.flush
        self.flush_if_due = self._flusher.flush_if_due
        self._saver = Saver(log, headroom, self.pace, self.timings.commit)
        proposer = self._proposer
        self._applier = Applier(raft.member, keyspace, hub, clock, proposer.flight, proposer.forwarded, self._retention)
        self._backlog = Backlog(raft, self._applier, keyspace, self._flusher, self.timings.apply)
        self.fence = Fence(raft, keyspace, hub, self.damage)
        self.comparing = Comparing(raft, keyspace, self._peers, self.damage, self.propose)
        self._orders: list[Callable[[], None]] = []
        """What other tasks want of raft, which is this loop's alone."""
        self._offers: list[Offer] = []
        """Snapshots of this turn."""
        self.lead = Lead(raft, self.counts)
        self._wake = trio.Event()
        self._tells = False
        """The next turn tells the followers of a commit, if nothing took the word along."""
        self._ticks = 0
        self._stop_by: float | None = None
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
    def alone(self) -> bool:
        """Whether this is the only member."""
        return self.raft.members.all == (self.raft.member,)

    @property
    def leads(self) -> bool:
        """Whether this member leads and has applied an entry of its own term."""
        return self.raft.role is Role.LEADER and self.keyspace.applied[1] == self.raft.term

    @property
    def waiting(self) -> int:
        """Commands in the queue."""
        return len(self._proposer.queue)

    @property
    def forwarded(self) -> int:
        """Commands sent to the leader since the start."""
        return self._proposer.forwarded.total

    @property
    def is_behind(self) -> bool:
        """Whether so much waits for the disk that no more should be added to it."""
        return self._flusher.is_behind

    def is_stuck(self, seconds: float) -> bool:
        """Whether commands wait and none was carried out for so long: the disk hangs."""
        waits = self._proposer.queue or self._proposer.flight
        return bool(waits) and trio.current_time() - self._turned_at > seconds

    def on_members(self, tell: Callable[[], None]) -> None:
        """Call `tell` whenever the members, or what is known of them, may have changed."""
        self._applier.on_members = tell

    def known_members(self) -> list[Member]:
        """The members, and those whom a change that is under way lets in."""
        return self._applier.known_members()

    def propose(self, command: Command, done: Done) -> None:
        """Queue a command; `done` is called exactly once with its outcome, which may be a KeyspaceError or a
        ProposalError. Raises OverloadedError, NoSpaceError or NoLeaderError if it was not queued."""
        self.fence.check(command)
        self._proposer.enqueue(Proposal(command, done, size_of(command), operations_of(command)))
        self._wake.set()

    def confirm(self, done: Confirmed) -> None:
        """Call `done(None)` when a read made then is linearizable, or with the ProposalError that prevents it.

        A quorum of one has applied everything that it ever acknowledged once it has applied an entry of its term.
        """
        if self.leads and self.raft.members.voters == (self.raft.member,):
            done(None)
        elif self.fence.why:
            done(FencedError(self.fence.why))
        elif self._stop_by is not None or self._proposer.is_leaderless:
            done(NoLeaderError(NO_LEADER))
        elif self._confirmations.is_full:
            done(OverloadedError("too many reads wait for the leader; nothing was read, try again later"))
        else:
            self._confirmations.add(done, trio.current_time())
            self._wake.set()

    def stand(self) -> None:
        """A member that is alone and does not lead tries again to."""
        if self.alone and self.raft.role is not Role.LEADER:
            self._order(self.raft.campaign)

    def transfer(self, member: int, done: Callable[[ProposalError | None], None]) -> None:
        """Hand the lead to a voter; `done` when that has begun, or the leader was asked, or with the reason why not."""
        self._order(partial(self._transfer, member, done))

    # For the links

    def receive(self, sender: int, kind: int, content: Any) -> None:
        """A frame from another member. ValueError if it is none of ours."""
        item = inbox.read(sender, kind, content)
        if isinstance(item, FromRaft) and isinstance(item.message, InstallSnapshot):
            raise ValueError("a snapshot without its state")
        self.inbox.put(item)
        self._wake.set()

    async def receive_snapshot(self, sender: int, content: Any, pieces: AsyncIterator[bytes]) -> None:
        """A snapshot from another member: returns when it is in its place, or is not needed. ValueError, StoreError."""
        item = inbox.read(sender, Frame.RAFT, content)
        if self._snapshots is None or not isinstance(item, FromRaft) or not isinstance(item.message, InstallSnapshot):
            raise ValueError("not a snapshot")
        offer = Offer(sender, item.message)
        if item.message.snapshot.index > self.keyspace.applied[0]:
            offer.reception = await self._snapshots.receive(item.message.snapshot, pieces)
        self._order(partial(self._take, offer))
        try:
            await offer.settled.wait()
        finally:
            if not offer.taken:  # the link broke: what nobody took is nobody's
                offer.close(self._snapshots)

    def miss(self, sender: int) -> None:
        """The connection on which another member was heard ended."""
        self._order(partial(self.raft.miss, sender))

    # The loop

    async def start(self) -> bool:
        """Apply what the log holds behind the state; a member that is alone takes the lead. False without room for the
        first entry of the term: reads are served all the same, and it is tried again."""
        applied, log = self.keyspace.applied[0], self.raft.log
        while applied < log.last_index:
            entries = log.read(applied + 1, log.last_index, REPLAY_BYTES)
            self._applier.note(entries)
            applied = entries[-1].index
        if self.alone:
            self.raft.campaign()
        carried_out = await self._carry_out()
        while self._backlog:
            self.flush_if_due()
            await self._backlog.give_way()
            self._backlog.go_on()
        self.lead.skip()
        return carried_out

    async def run(self) -> None:
        """Take turns until stopped; then carry out what is queued, flush, return."""
        async with trio.open_nursery() as beside:
            self._beside = beside
            beside.start_soon(self._tick)
            beside.start_soon(self.comparing.run)
            while not self._may_end():
                if not self._has_work():
                    await self._wake.wait()
                    self._wake = trio.Event()
                    self._turned_at = trio.current_time()
                    if self.waiting > 1:
                        await trio.lowlevel.checkpoint()  # where two come, more are coming: let them join the batch
                elif self._tells and not self._proposer.may_hand_on:
                    # Whoever was just answered may ask for more, which would take the word of the commit along.
                    await trio.lowlevel.checkpoint()
                    await trio.lowlevel.checkpoint()
                await self._turn()
                if self._backlog:
                    await self._backlog.give_way()
                elif self._proposer.may_hand_on:
                    await trio.lowlevel.checkpoint()
            beside.cancel_scope.cancel()
        self._applier.answer()
        self._proposer.end(NoLeaderError(STOPPING))
        self._confirmations.refuse_all(STOPPING)
        self.flush()

    def stop(self) -> None:
        """Accept no more; `run` returns when what is queued is done, or cannot be."""
        self._proposer.stopping = True
        self._stop_by = trio.current_time() + STOP_SECONDS
        self._wake.set()

    async def _tick(self) -> None:
        while True:
            await trio.sleep(self._tick_seconds)
            if self.alone and self.raft.role is Role.LEADER and self._stop_by is None:
                continue
            self._ticks += 1
            self._wake.set()

    def _has_work(self) -> bool:
        return bool(
            self._proposer.may_hand_on
            or self.inbox
            or self._orders
            or self._ticks
            or self._tells
            or self._backlog
            or (self._confirmations.is_new and self.raft.leader)
        )

    async def _turn(self) -> None:
        if self._ticks or self._orders or self.inbox:
            self._step()
        self._proposer.hand_on(self._peers)
        if self._confirmations.is_new and self.raft.leader:
            self.raft.read(self._confirmations.next_token(trio.current_time()))
        await self._carry_out()
        while self._offers:
            self._offers.pop().close(self._snapshots)
        self.flush_if_due()
        self.lead.look()
        self._tells = self.raft.has_news
        self._turned_at = trio.current_time()

    # What comes in

    def _step(self) -> None:
        """Feed raft with time, orders and messages."""
        while self._ticks:
            self._ticks -= 1
            self.raft.tick()
            self._proposer.tick()
            self._confirmations.tick(trio.current_time())
        orders, self._orders = self._orders, []
        for order in orders:
            order()
        for _ in range(min(len(self.inbox), STEPS_AT_ONCE)):
            item = self.inbox.take()
            self._hearing.note(item.sender)
            if isinstance(item, FromRaft):
                self._hear(item.sender, item.message)
            elif isinstance(item, Handed):
                self._proposer.take_over(item, self._peers)
            elif isinstance(item, Refused):
                self._proposer.forwarded.refuse(item.token, item.error)
            elif isinstance(item, Hashed):
                self.comparing.heard(item.sender, item.index, item.digest)
            else:
                self._transfer(item.heir, lambda _: None)

    def _hear(self, sender: int, message: Message) -> None:
        """Step a message; one that no rule sends is a fault of its sender, and changes nothing here."""
        try:
            self.raft.step(sender, message)
        except MessageError as error:
            _logger.error("a member sends what no rule sends", extra={"member": f"{sender:x}", "why": str(error)})

    def _take(self, offer: Offer) -> None:
        """Step a snapshot whose state is here. From now on that is this loop's, to the end of the turn."""
        if not offer.closed:
            offer.taken = True
            self._offers.append(offer)
            self._hearing.note(offer.sender)
            self._hear(offer.sender, offer.message)

    def _order(self, order: Callable[[], None]) -> None:
        self._orders.append(order)
        self._wake.set()

    def _transfer(self, member: int, done: Callable[[ProposalError | None], None]) -> None:
        try:
            if self.raft.role is not Role.LEADER:
                leader = self.raft.leader
                if not leader or not self._peers.send(leader, Frame.TRANSFER, member):
                    raise NoLeaderError(NO_LEADER)
            elif self.raft.members.standing(member) is not Standing.VOTER:
                raise ChangeRefusedError(Obstacle.NOT_A_MEMBER, f"member {member:x} has no vote and cannot lead")
            else:
                self.raft.transfer(member)
        except ProposalError as error:
            done(error)
        else:
            done(None)

    # What goes out

    async def _carry_out(self) -> bool:
        """Do what raft's rules ask for, in the order of their contract; False if there was no room to save it."""
        ready = self.raft.ready(news=self._tells)
        self._tells = False
        if ready.messages:
            self._send(ready.messages)
        if ready.snapshot is not None:
            self._install(ready)
        self._applier.note(ready.entries)
        if ready.must_save and not await self._save(ready):
            return False
        self.raft.saved(ready)
        if ready.held:
            self._send(ready.held)
        self._backlog.go_on()
        if self.fence.follow():
            self._proposer.end(FencedError(self.fence.why))
            self._confirmations.refuse_all(self.fence.why)
        for read in self.raft.reads():
            self._confirmations.answered(read.token, read.index)
        self._confirmations.applied(self.keyspace.applied[0])
        self._proposer.settle()
        return True

    def _send(self, messages: Sequence[tuple[int, Message]]) -> None:
        for member, message in post(self._peers, messages):
            self._ship(member, message)

    def _ship(self, member: int, message: InstallSnapshot) -> None:
        def done(arrived: bool) -> None:
            self.counts.sent += arrived
            self._order(partial(self.raft.snapshot_done, member, arrived))

        if self._snapshots is None:
            done(False)
            return
        shipment = partial(ship, self.keyspace, self._peers, self._snapshots, self._retention)
        self._beside.start_soon(shipment, member, message.term, done)

    def _install(self, ready: Ready) -> None:
        """Put the state that came with a snapshot in the place of this one."""
        place = ready.snapshot
        reception = next((offer.reception for offer in self._offers if offer.reception is not None), None)
        if self._snapshots is None or reception is None or place is None:
            raise ValueError("a snapshot is to be installed that did not come")
        hard_state = msgspec.structs.replace(ready.hard_state, commit=place.index)
        state = self._snapshots.install(reception, place, hard_state)
        self._flusher.follow(state)
        self.headroom.follow(state)
        self._backlog.drop()
        self.keyspace.reload(state)
        self.clock.advance(self.keyspace.time)
        self.hub.reset()
        self._retention.restart(place.index)
        self.counts.received += 1
        self._applier.on_members()

    async def _save(self, ready: Ready) -> bool:
        """Make entries and hard state durable. Without room a member that is alone takes them back and refuses them;
        any other leads no longer, and is silent until there is room."""
        try:
            await self._saver.save(ready)
        except DiskFullError as full:
            self.headroom.ran_out(str(full))
        else:
            return True
        if not self.raft.may_withdraw(ready):
            return await self._save_later(ready)
        self.raft.withdraw(ready)
        for entry in ready.entries:
            self._proposer.flight.fail(entry.index, NoSpaceError(self.headroom.shortage))
        return False

    async def _save_later(self, ready: Ready) -> bool:
        _logger.error("no room for what the others say; silent until there is", extra={"why": self.headroom.shortage})
        self.raft.resign()
        self._proposer.settle()
        while self._stop_by is None:
            self._proposer.refuse_queued(NoSpaceError(self.headroom.shortage))
            await trio.sleep(FULL_SECONDS)
            self._ticks, self._turned_at = 0, trio.current_time()
            self._proposer.tick()
            self._confirmations.tick(self._turned_at)
            self.inbox.clear()
            self.headroom.look()
            try:
                await self._saver.save(ready)
            except DiskFullError as full:
                self.headroom.ran_out(str(full))
            else:
                return True
        self._stop_by = trio.current_time()  # no turn more: raft would take the next save for this one
        return False

    # The end

    def _may_end(self) -> bool:
        """Whether all that was promised is done, and another leads; or the time for that is over."""
        if self._stop_by is None:
            return False
        proposer = self._proposer
        if trio.current_time() >= self._stop_by:
            return True
        if proposer.queue or proposer.flight or self._applier.owes_answers:
            return False
        if self.alone or self.raft.role is not Role.LEADER:
            return not proposer.forwarded
        heir = next((member for member in self.raft.members.voters if self.is_alive(member)), None)
        if heir is not None and self.raft.may_propose:
            self._order(partial(self.raft.transfer, heir))
        return heir is None
