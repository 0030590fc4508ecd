"""One life of a member: the loop that drives raft, from a start to a crash."""

from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from core.node.clock import ClusterClock
from core.raft.machine import ChangeRefusedError, NotLeaderError, Raft, Ready
from core.raft.members import Standing
from core.raft.messages import Entry, InstallSnapshot, Message
from core.raft.reads import Read
from tests.raft.simulator.hardware import Hardware
from tests.raft.simulator.letters import Change, HandOver, Miss, Outcome, Parcel, Query, Write
from tests.raft.simulator.loop import Crash
from tests.raft.simulator.snapshots import parcel
from tests.raft.simulator.state import State, applied, encode
from tests.raft.simulator.world import World

INBOX = 3000
"""Letters that wait for a process that does not run; those beyond are lost."""
TELLS_AFTER = 0.001
"""How long a patient driver waits for entries that take word of a commit along."""
TURNS = 0.1
"""How often, catching up, it does not take all at once."""
RETRY = 0.3
"""Seconds between two attempts to save on a full disk."""


class Tied(Random):
    """Chance that hardly tells members apart."""

    def randrange(self, *limits: int) -> int:  # type: ignore[override]
        return super().randrange(*limits) % 2


class Process:
    """Drives one `Raft` by the contract of `core.raft`. Each `_point` is a place at which it may die."""

    def __init__(self, hardware: Hardware, world: World) -> None:
        hardware.reboot()
        disk = hardware.disk
        self.hardware = hardware
        self.world = world
        self.member = hardware.member
        self.disk = disk
        self.state = disk.state
        random = (Tied if world.plan.tied else Random)(world.random.getrandbits(32))
        members, applied_index = disk.state.members, disk.state.index
        settings = world.plan.settings
        self.raft = Raft(self.member, members, disk.hard_state, applied_index, disk, random, settings)
        self.clock = ClusterClock(self.state.time, hardware.monotonic, hardware.wall)
        self.inbox: deque[tuple[int, object]] = deque()
        self.pending: deque[Ready] = deque()
        """Not saved yet, oldest first."""
        self.dead = False
        self.asleep_until = 0.0
        self.fuse = 0
        """At how many points from now it dies; 0: at none."""
        self.writes: dict[int, tuple[int, int]] = {}
        """Who waits for the outcome of which entry: its term and the number of the write."""
        self.queries: dict[int, int] = {}
        """By token: what clients knew of when the read began."""
        self.decided: list[tuple[int, int]] = []
        """Reads that wait for an entry to be applied: its index, and what clients knew of."""
        self.checked_commit = self.state.index
        self.checked_term = 0
        self.led = 0
        self._missed_ticks = 0
        self._patient = bool(self.member % 2)
        """Whether its driver lets word of a commit wait for a turn."""
        self._tells = not self._patient
        self._incoming: dict[int, State] = {}
        """States that came with snapshots, by index."""
        self._tick_seconds = world.plan.tick
        world.network.inboxes[self.member] = self.receive
        world.checker.started(self)
        world.loop.at(world.plan.tick * world.random.random(), self._tick)
        if self.raft.members.all == (self.member,):
            self.raft.campaign()
            self._turn()

    # What comes in

    @property
    def busy(self) -> bool:
        """Whether nothing can be fed now: it sleeps, or waits for its disk."""
        return bool(self.pending and self.hardware.in_line) or self.asleep_until > self.world.loop.now

    def receive(self, sender: int, letter: object) -> None:
        """A message, or what a client or an operator wants."""
        if (self.pending and self.hardware.in_line) or self.asleep_until > self.world.loop.now:
            if len(self.inbox) < INBOX:
                self.inbox.append((sender, letter))
            return
        self._take(sender, letter)
        self._turn()

    def sleep(self, seconds: float) -> None:
        """Do nothing, and hear of everything later."""
        self.asleep_until = self.world.loop.now + seconds
        self.world.loop.at(seconds, self._wake)

    def _wake(self, _: None) -> None:
        if not self.dead and not self.busy:
            self._catch_up()
            if not self.busy:
                self._turn()

    def _catch_up(self) -> None:
        """All that came while it was busy. A late ticker ticks once, or for all the time that it missed."""
        ticks, self._missed_ticks = self._missed_ticks, 0
        if ticks > 1 and self.world.random.random() < 0.5:
            ticks = 1
        for _ in range(min(ticks, 50)):
            self.raft.tick()
        inbox = self.inbox
        while inbox:
            sender, letter = inbox.popleft()
            self._take(sender, letter)
            if inbox and self.world.random.random() < TURNS:
                self._turn()
                if self.busy:
                    return

    def _tick(self, _: None) -> None:
        if self.dead:
            return
        self.world.loop.at(self._tick_seconds * self.hardware.tick_factor, self._tick)
        if self.busy:
            self._missed_ticks += 1
            return
        self.raft.tick()
        self._turn()

    def _take(self, sender: int, letter: object) -> None:
        take = TAKE.get(letter.__class__)
        if take is None:
            self.raft.step(sender, letter)  # type: ignore[arg-type]
        else:
            take(self, sender, letter)

    def _take_write(self, sender: int, write: Write) -> None:
        """A leader that has applied all of earlier terms takes it: its clock is not behind any of them."""
        raft = self.raft
        if raft.lead is None or self.state.term != raft.term:
            if raft.leader and not write.forwarded and raft.leader != self.member:
                self.world.network.send(self.member, raft.leader, Write(write.number, True), once=True)
            return
        try:
            index = raft.propose(encode(self.clock.now(), write.number))
        except NotLeaderError:
            return
        self.writes[index] = (raft.term, write.number)

    def _take_query(self, sender: int, query: Query) -> None:
        self.queries[query.token] = self.world.checker.seen
        try:
            self.raft.read(query.token)
        except NotLeaderError:
            del self.queries[query.token]

    def _take_change(self, sender: int, change: Change) -> None:
        if change.standing is not Standing.NONE and not change.joins and change.member not in self.raft.members.all:
            return  # removed meanwhile: an id is never given twice
        self.world.checker.after(self)  # what was committed up to now was so among the old members
        try:
            self.raft.change(change.member, change.standing)
        except (ChangeRefusedError, NotLeaderError) as error:
            self.world.note(f"{self.member} refuses {change}: {error}")

    def _take_hand_over(self, sender: int, hand_over: HandOver) -> None:
        try:
            self.raft.transfer(hand_over.member)
        except (ChangeRefusedError, NotLeaderError) as error:
            self.world.note(f"{self.member} refuses {hand_over}: {error}")
        else:
            self.world.totals.transfers += 1

    def _take_parcel(self, sender: int, letter: Parcel) -> None:
        self._incoming[letter.state.index] = letter.state
        self.raft.step(sender, letter.message)

    def _take_miss(self, sender: int, miss: Miss) -> None:
        self.raft.miss(miss.member)

    def _take_outcome(self, sender: int, outcome: Outcome) -> None:
        self.raft.snapshot_done(outcome.receiver, outcome.arrived)

    # A turn, in the order of the contract

    def _turn(self) -> None:
        ready = self.raft.ready(news=self._tells)
        self.world.checker.after(self)
        if self._patient:
            self._tells = self.raft.has_news
            if self._tells:
                self.world.loop.at(TELLS_AFTER, self._tell)
        if ready.messages:
            self._send(ready.messages)
        if ready.must_save or ready.held:
            if self.pending or ready.must_save:
                self.pending.append(ready)
                if len(self.pending) == 1:
                    self._begin_to_save()
            else:
                self._send(ready.held)
        if not (self.pending and self.hardware.in_line):
            self._apply()

    def _tell(self, _: None) -> None:
        if not self.dead and not self.busy:
            self._turn()

    def _send(self, sent: Sequence[tuple[int, Message]]) -> None:
        member, world = self.member, self.world
        for receiver, message in sent:
            if self.fuse:
                self._point()
            world.checker.sends(member, receiver, message, self.disk.hard_state)
            if world.trace is not None:
                world.note(f"{member} -> {receiver} {message}")
            if message.__class__ is InstallSnapshot:
                world.loop.at(0.2 * world.random.random(), self._send_snapshot, (receiver, message))
            else:
                world.network.send(member, receiver, message)

    def _send_snapshot(self, asked: tuple[int, InstallSnapshot]) -> None:
        """A connection for it is there, and the state is whatever it is by now."""
        receiver, message = asked
        if not self.dead and self.raft.term == message.term:
            self.world.channel.carry(self.member, receiver, parcel(message, self.state))

    def _begin_to_save(self) -> None:
        hardware = self.hardware
        seconds = hardware.save_seconds * hardware.slowness * (0.5 + self.world.random.random())
        if self.pending[0].snapshot is not None:
            seconds = seconds * 5 + 0.1 * self.world.random.random()
        self.world.loop.at(seconds, self._save)

    def _save(self, _: None) -> None:
        """The disk is done, or has no room."""
        if self.dead:
            return
        if self.asleep_until > self.world.loop.now:
            self.world.loop.at(self.asleep_until - self.world.loop.now, self._save)
            return
        if self.hardware.full:
            self._find_no_room()
            return
        if self.fuse:
            self._point()
        ready = self.pending.popleft()
        self._write(ready)
        if self.fuse:
            self._point()
        self.raft.saved(ready)
        if ready.snapshot is not None and self.raft.applied == self.state.index:
            self.world.checker.knows_members(self)
        if self.fuse:
            self._point()
        self._send(ready.held)
        while self.pending and not self.pending[0].must_save:
            self._send(self.pending.popleft().held)
        if self.pending:
            self._begin_to_save()
        else:
            self._catch_up()
        if not (self.pending and self.hardware.in_line):
            self._turn()

    def _write(self, ready: Ready) -> None:
        """One durable commit."""
        before = self.disk.hard_state
        state = None
        if ready.snapshot is not None:
            state = self._incoming[ready.snapshot.index]
            self._incoming = {index: other for index, other in self._incoming.items() if index > state.index}
        self.disk.commit(ready, state)
        if state is not None:
            self._install(state)
        self.world.checker.saved(self.member, before, ready)

    def _install(self, state: State) -> None:
        """The state that came becomes the member's own."""
        if state.index <= self.state.index:
            raise ValueError(f"a snapshot at {state.index} would take back what is applied up to {self.state.index}")
        self.state = state
        self.clock.advance(state.time)
        self.writes.clear()
        self.world.totals.snapshots += 1
        self.world.note(f"{self.member} installed {state}")

    def _find_no_room(self) -> None:
        """Rule 7 of the contract."""
        self.world.totals.full_disks += 1
        while self.pending and self.raft.may_withdraw(self.pending[-1]):
            ready = self.pending.pop()
            self.raft.withdraw(ready)
            self.world.totals.withdrawn += 1
            for entry in ready.entries:
                self.writes.pop(entry.index, None)
        if self.pending:
            self.raft.resign()
            self.world.loop.at(RETRY, self._save)
        else:
            self._catch_up()  # the next turn, which will want to save again, comes with the next tick or letter

    def _apply(self) -> None:
        raft = self.raft
        while entries := raft.committed():
            self._apply_entries(entries)
            if self.fuse:
                self._point()
            if self.state.index - self.disk.state.index >= self.world.plan.flush_every:
                self.flush()
        for read in raft.reads():
            self._take_answer(read)
        if self.decided:
            self._answer_reads()

    def _apply_entries(self, entries: Sequence[Entry]) -> None:
        checker, before = self.world.checker, self.state.members
        checker.applying(self, entries)
        for entry in entries:
            state = applied(self.state, entry)
            checker.applied(self, entry, state)
            self.state = state
            self.clock.advance(state.time)
            if self.writes:
                self._answer_write(entry.index, entry.term)
        members = self.state.members
        if members is not before:
            checker.knows_members(self)
            if self.member in before.all and self.member not in members.all and not self.world.plan.removed_live_on:
                self.world.loop.at(0.0, self._leave)

    def _answer_write(self, index: int, term: int) -> None:
        waiting = self.writes.pop(index, None)
        if waiting is None:
            return
        if waiting[0] == term:
            self.world.checker.acknowledged(waiting[1], index)
        else:
            self.world.totals.unknown += 1

    def _take_answer(self, read: Read) -> None:
        floor = self.queries.pop(read.token, None)
        if floor is not None and read.index:
            self.decided.append((read.index, floor))

    def _answer_reads(self) -> None:
        waiting = []
        for index, floor in self.decided:
            if index <= self.state.index:
                self.world.checker.answered(self, floor)
            else:
                waiting.append((index, floor))
        self.decided = waiting

    def flush(self) -> None:
        """Bring the applied state to the disk; the log behind it may go then."""
        self.disk.flush(self.state)
        if self.fuse:
            self._point()
        self.disk.drop_until(min(self.state.index - self.world.plan.keep, self.disk.last.index))

    def _leave(self, _: None) -> None:
        """It is removed, and knows it."""
        if not self.dead:
            self.flush()
            self.hardware.removed = True
            self.world.note(f"{self.member} is removed and stops")
            self.stop()

    # The end

    def _point(self) -> None:
        self.fuse -= 1
        if self.fuse == 0:
            raise Crash(self.crash)

    def crash(self) -> None:
        """Die now. What was being saved is durable or not."""
        world = self.world
        while self.pending and not self.hardware.full and world.random.random() < 0.4:
            ready = self.pending.popleft()
            if ready.must_save:
                self._write(ready)
        lost = any(ready.must_save for ready in self.pending) or self.state.index > self.disk.state.index
        world.totals.crashes += 1
        world.totals.lossy_crashes += lost
        world.note(f"{self.member} dies{', something is lost' if lost else ''}")
        self.stop()

    def stop(self) -> None:
        self.dead = True
        self.world.totals.unknown += len(self.writes)
        if self.world.network.inboxes.get(self.member) == self.receive:
            del self.world.network.inboxes[self.member]
        self.world.network.break_off(self.member)


TAKE: dict[type, Callable[[Process, int, Any], None]] = {
    Write: Process._take_write, Query: Process._take_query, Change: Process._take_change,
    HandOver: Process._take_hand_over, Miss: Process._take_miss, Parcel: Process._take_parcel,
    Outcome: Process._take_outcome,
}  # fmt: skip
