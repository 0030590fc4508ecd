"""A cluster in memory that does only what it is told: which message arrives, which disk saves, who crashes."""

from collections import deque
from collections.abc import Callable, Sequence
from random import Random

from core.raft.founding import found
from core.raft.machine import Raft, Ready, Role, Settings
from core.raft.members import Members, decode
from core.raft.messages import Entry, InstallSnapshot, Kind, Message
from tests.raft import words
from tests.raft.memory import MemoryLog

ENOUGH = 2000
"""Messages after which a cluster that does not fall silent never will."""


class Patient(Random):
    """A member waits for a leader ten ticks and as many as its id says."""

    def __init__(self, member: int) -> None:
        super().__init__()
        self._member = member

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        return self._member % start


class Actor:
    """One member with its disk, and the state machine as far as it was flushed."""

    def __init__(self, member: int, disk: MemoryLog) -> None:
        self.member = member
        self.disk = disk
        self.raft: Raft | None = None
        self.waiting: deque[Ready] = deque()
        """What a slow disk has not saved, oldest first."""
        self.slow = False
        self.flushed = 0
        """The state machine survives a crash up to this entry."""


class Stage:
    """All members and what travels between them. Whatever happens is told to `tell`, line by line.

    AssertionError if two members apply different entries at one index, or two lead in one term.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.settings = Settings()
        self.actors: dict[int, Actor] = {}
        self.network: list[tuple[int, int, Message]] = []
        """Sender, receiver, message; oldest first."""
        self.kept: list[tuple[int, int, Message]] = []
        """What was delayed."""
        self.cut: set[tuple[int, int]] = set()
        """Directions in which nothing arrives."""
        self._tell = tell
        self._truth: dict[int, Entry] = {}
        """What was applied first at each index."""
        self._leaders: dict[int, int] = {}
        """Who led in each term."""
        self._roles: dict[int, str] = {}

    # Members

    def found(self, voters: list[int]) -> None:
        """A fresh cluster of these."""
        entry, hard_state = found(voters)
        for member in voters:
            disk = MemoryLog(entries=[entry])
            disk.hard_state = hard_state
            self.actors[member] = Actor(member, disk)
        for member in voters:
            self.start(member)

    def join(self, member: int) -> None:
        """A member with an empty log."""
        self.actors[member] = Actor(member, MemoryLog())
        self.start(member)

    def start(self, member: int) -> None:
        """Start a member from what its disk has."""
        actor = self.actors[member]
        disk, flushed = actor.disk, actor.flushed
        members = self._members_at(flushed)
        actor.raft = Raft(member, members, disk.hard_state, flushed, disk, Patient(member), self.settings)
        self._roles.pop(member, None)
        self.turn(member)

    def crash(self, member: int) -> None:
        """End a member. What is not saved, and what is not flushed, is gone."""
        actor = self.actors[member]
        actor.raft = None
        actor.waiting.clear()

    def raft(self, member: int) -> Raft:
        raft = self.actors[member].raft
        if raft is None:
            raise LookupError(f"member {member} is down")
        return raft

    def compact(self, member: int, index: int) -> None:
        """Flush the state machine and forget the log up to `index`."""
        actor = self.actors[member]
        actor.flushed = self.raft(member).applied
        actor.disk.drop_until(min(index, actor.flushed))

    def _members_at(self, index: int) -> Members:
        for at in range(index, 0, -1):
            if self._truth[at].kind == Kind.MEMBERSHIP:
                return decode(self._truth[at].data)
        return Members()

    # Turns

    def turn(self, member: int) -> None:
        """Carry out what the rules of one member ask for."""
        actor, raft = self.actors[member], self.raft(member)
        while True:
            ready = raft.ready()
            self._send(member, ready.messages)
            if ready and (actor.slow or actor.waiting):
                actor.waiting.append(ready)
            elif ready:
                self._save(actor, ready)
            self._apply(member, raft)
            for read in raft.reads():
                outcome = f"may read {read.token} at {read.index}" if read.index else f"may not read {read.token}"
                self._tell(f"{member} {outcome}")
            if not ready:
                break
        self._tell_role(member, raft)

    def save(self, member: int) -> None:
        """A slow disk saves the oldest that waits."""
        actor = self.actors[member]
        self._save(actor, actor.waiting.popleft())
        self.turn(member)

    def _save(self, actor: Actor, ready: Ready) -> None:
        if ready.must_save:
            actor.disk.save(ready)
            if ready.snapshot is not None:
                actor.flushed = ready.snapshot.index
                self._tell(f"{actor.member} installs the snapshot of {ready.snapshot.index}")
        self.raft(actor.member).saved(ready)
        self._send(actor.member, ready.held)

    def _send(self, sender: int, messages: Sequence[tuple[int, Message]]) -> None:
        self.network += [(sender, receiver, message) for receiver, message in messages]

    def _apply(self, member: int, raft: Raft) -> None:
        told = []
        while entries := raft.committed():
            for entry in entries:
                if self._truth.setdefault(entry.index, entry) != entry:
                    raise AssertionError(f"{member} applies {entry}, another has applied {self._truth[entry.index]}")
                told.append(f"{entry.index} {words.content(entry)}")
        if told:
            self._tell(f"{member} applies " + ", ".join(told))

    def _tell_role(self, member: int, raft: Raft) -> None:
        if raft.role is Role.LEADER and self._leaders.setdefault(raft.term, member) != member:
            raise AssertionError(f"{member} and {self._leaders[raft.term]} lead in term {raft.term}")
        role = words.role(raft)
        if self._roles.get(member) != role:
            self._roles[member] = role
            self._tell(f"{member} {role}")

    # The network

    def deliver(self, sender: int, receiver: int, message: Message, *, quietly: bool = False) -> None:
        """One message arrives, or is lost on a cut line."""
        actor = self.actors.get(receiver)
        arrives = actor is not None and actor.raft is not None and (sender, receiver) not in self.cut
        if not quietly:
            self._tell(words.letter(sender, receiver, message) + ("" if arrives else "  lost"))
        if arrives:
            self.raft(receiver).step(sender, message)
            self.turn(receiver)
        if isinstance(message, InstallSnapshot):
            self.snapshot_done(sender, receiver, arrived=arrives)

    def snapshot_done(self, sender: int, receiver: int, *, arrived: bool) -> None:
        actor = self.actors.get(sender)
        if actor is not None and actor.raft is not None:
            actor.raft.snapshot_done(receiver, arrived)
            self.turn(sender)

    def deliver_all(self, *, quietly: bool = False) -> None:
        """Until nothing travels any more."""
        for _ in range(ENOUGH):
            if not self.network:
                return
            self.deliver(*self.network.pop(0), quietly=quietly)
        raise AssertionError(f"still talking after {ENOUGH} messages")
