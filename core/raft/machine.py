"""One raft member: its face, and the rules of every role (Ongaro, "Consensus: Bridging Theory and Practice")."""

from collections.abc import Sequence
from random import Random

import msgspec

from core.raft import election, follower
from core.raft.leader import Leader, TransferError
from core.raft.log import Storage
from core.raft.members import ChangeRefusedError, Members, Standing
from core.raft.messages import (
    Answer,
    Append,
    AppendReply,
    Entry,
    HardState,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Kind,
    Message,
    MessageError,
    PreVote,
    PreVoteReply,
    ReadReply,
    ReadRequest,
    Snapshot,
    TimeoutNow,
    Vote,
    VoteReply,
    check,
)
from core.raft.reads import Read
from core.raft.state import NotLeaderError, Role, Settings, State

__all__ = ["ChangeRefusedError", "NotLeaderError", "Raft", "Ready", "Role", "Settings", "TransferError"]

DEFAULTS = Settings()
MISSED_TICKS = 2
"""A leader whose connection broke has one tick to so many to be heard again: drawn by chance, as all waiting is."""


class Ready(msgspec.Struct, frozen=True, gc=False):
    """What one turn came to. The fields in order: send, install, save, send."""

    entries: Sequence[Entry]
    """Save these, replacing what the log has at their indexes and behind."""
    hard_state: HardState
    """Save with the entries. Its commit is never ahead of the log that has them."""
    must_save: bool = True
    """Whether anything here is worth a commit."""
    messages: Sequence[tuple[int, Message]] = ()
    """Receiver and message; may leave before the save."""
    snapshot: Snapshot | None = None
    """Make its state, which came with the message, the member's own, and its place the log's floor, before entries."""
    held: Sequence[tuple[int, Message]] = ()
    """Must leave only after the save of this and of every earlier Ready."""

    def __bool__(self) -> bool:
        return self.must_save or bool(self.messages or self.held)


class Raft(State):
    """One member. The loop that drives it is described in the package docstring."""

    def __init__(
        self,
        member: int,
        members: Members,
        hard_state: HardState,
        applied: int,
        storage: Storage,
        random: Random,
        settings: Settings = DEFAULTS,
    ) -> None:
        """`applied` is the last entry the state machine has, `members` are those it has as of that entry."""
        super().__init__(member, members, hard_state, applied, storage, random, settings)
        self._ballot: election.Ballot | None = None
        self._lead: Leader | None = None
        self._snapshot: Snapshot | None = None
        self._told = (self.term, self.vote)
        """Term and vote as the last Ready had them."""
        self._durable = self._told

    # Time and people

    def tick(self) -> None:
        """A tick passed."""
        if self._lead is not None:
            if not self._lead.tick():
                self._follow(self.term, 0)
            return
        self.elapsed += 1
        if self.elapsed >= self.patience:
            self.campaign()

    def campaign(self) -> None:
        """Ask whether this member would win, and stand for leader if so. The only voter wins at once; who is no voter,
        or leads already, does nothing."""
        if self._lead is not None or not self.may_stand:
            return
        self._forget()
        self.role = Role.PRE_CANDIDATE
        self.leader = 0
        self.wait_anew()
        self._ballot = election.ask(self)
        self._count()

    def miss(self, member: int) -> None:
        """The connection on which `member` was heard broke, as it does when its process ends. If it leads, wait for a
        word of it for a moment only, and do not protect it from who would replace it: those who hear it still do."""
        if member == self.leader and self.role is Role.FOLLOWER:
            self.elapsed = max(self.elapsed, self.settings.election_ticks)
            self.patience = self.elapsed + 1 + self.random.randrange(MISSED_TICKS)

    def resign(self) -> None:
        """Lead no longer, for example because the disk is full: others will elect one of them."""
        if self._lead is not None:
            self._follow(self.term, 0)

    def bar(self, barred: bool) -> None:
        """Whether this member must not lead: it still votes and replicates. A leader resigns."""
        self.barred = barred
        if barred and self.role is not Role.FOLLOWER:
            self._follow(self.term, 0)

    def propose(self, data: bytes) -> int:
        """Append an entry of commands and return its index; NotLeaderError if this member does not lead."""
        if self._lead is None:
            raise NotLeaderError
        return self._lead.propose(data, Kind.COMMANDS)

    def change(self, member: int, standing: Standing, context: bytes = b"") -> int:
        """Append a change of one member and return its index; NotLeaderError or ChangeRefusedError.

        `context` rests in the entry for the state machine (`members.context`). With one, the standing may stay as it
        is: then the change is of the context alone.
        """
        if self._lead is None:
            raise NotLeaderError
        return self._lead.change(member, standing, context)

    def transfer(self, member: int) -> None:
        """Hand the lead to a voter; NotLeaderError or ChangeRefusedError. Proposals are refused meanwhile."""
        if self._lead is None:
            raise NotLeaderError
        self._lead.transfer(member)

    def read(self, token: int) -> None:
        """Ask from which index on a read is linearizable; `reads` returns the answer under this token, if one comes.

        Tokens must not come again, not even after a restart. NotLeaderError if no leader is known.
        """
        if self._lead is not None:
            self._lead.read(self.member, token)
        elif self.leader:
            self.held.append((self.leader, ReadRequest(self.term, token)))
        else:
            raise NotLeaderError

    def snapshot_done(self, member: int, arrived: bool) -> None:
        """Whether the snapshot for `member` arrived whole; the driver says so for each `InstallSnapshot`."""
        if self._lead is not None:
            self._lead.snapshot_done(member, arrived)

    @property
    def uncommitted_bytes(self) -> int:
        """About what the leader's own entries take that `committed` has not returned yet; without a quorum it grows
        with each proposal, and the driver refuses more when it is enough. 0 if this member does not lead."""
        return self._lead.uncommitted_bytes if self._lead is not None else 0

    @property
    def may_propose(self) -> bool:
        """Whether this member leads, and is not handing over the lead."""
        return self._lead is not None and not self._lead.transferee

    @property
    def has_news(self) -> bool:
        """Whether this leader could tell a follower of a commit now."""
        return self._lead is not None and self._lead.has_news

    @property
    def lead(self) -> Leader | None:
        """The leader's knowledge, to look at; None if this member does not lead."""
        return self._lead

    # Messages

    def step(self, sender: int, message: Message) -> None:
        """A message came, once, twice, late or never; from whom is the driver's to verify.

        MessageError: it is none that a member sends; nothing is changed, and the driver closes the link that brought
        it. Any other ValueError: it proves that somebody forgot what it promised; no member may go on from here.
        """
        check(message)
        if sender == self.member:
            raise MessageError(f"a message from {sender:x}, which is this member")
        if isinstance(message, Answer) and sender not in self.members.all:
            return  # a removed member, perhaps with a high term
        if message.term > self.term and not self._rise(sender, message):
            return
        if message.term < self.term and not isinstance(message, PreVote | ReadReply):
            if isinstance(message, Append | Heartbeat | InstallSnapshot):
                self.held.append((sender, HeartbeatReply(self.term, 0)))  # tells a leader that its term is over
            return
        match message:
            case Append() | Heartbeat() | InstallSnapshot():
                self._obey(sender, message)
            case AppendReply() if self._lead is not None:
                self._lead.on_append_reply(sender, message)
                self._step_down_if_deposed()
            case HeartbeatReply() if self._lead is not None:
                self._lead.on_heartbeat_reply(sender, message)
            case PreVote():
                election.on_pre_vote(self, sender, message)
            case Vote():
                election.on_vote(self, sender, message)
            case PreVoteReply() | VoteReply():
                self._on_answer(sender, message)
            case TimeoutNow() if sender == self.leader and self.may_stand:
                self._stand(transfer=True)
            case ReadRequest():
                if self._lead is not None:
                    self._lead.read(sender, message.token)
                else:
                    self.held.append((sender, ReadReply(self.term, message.token, 0)))
            case ReadReply():
                self.answers.append(Read(message.token, message.index))
            case _:
                pass  # an answer to what this member no longer is

    def _rise(self, sender: int, message: Message) -> bool:
        """A higher term was heard of. Whether the message is to be looked at."""
        if isinstance(message, Vote | PreVote):
            invited = isinstance(message, Vote) and message.transfer
            if not invited and election.hears_leader(self):
                return False
        if isinstance(message, PreVote) or (isinstance(message, PreVoteReply) and message.granted):
            return True
        self._follow(message.term, 0)
        return True

    def _obey(self, sender: int, message: Append | Heartbeat | InstallSnapshot) -> None:
        if self.leader not in (0, sender):
            raise ValueError(
                f"two leaders in term {self.term}, {self.leader:x} and {sender:x}: a member voted twice, as one does"
                " that lost its disk or runs from a copy of another's"
            )
        if self.role is not Role.FOLLOWER or self.leader != sender:
            self._follow(self.term, sender)
        self.elapsed = 0
        match message:
            case Append():
                follower.on_append(self, sender, message)
            case Heartbeat():
                follower.on_heartbeat(self, sender, message)
            case InstallSnapshot():
                self._snapshot = follower.on_snapshot(self, sender, message) or self._snapshot

    def _on_answer(self, sender: int, message: PreVoteReply | VoteReply) -> None:
        """Somebody answered a candidate. What was asked for, and for which term, must be what is asked now."""
        if self._ballot is None:
            return
        if isinstance(message, VoteReply):
            asked = self.role is Role.CANDIDATE
        else:
            asked = self.role is Role.PRE_CANDIDATE and message.term == self.term + message.granted
        if asked:
            self._ballot.count(sender, message.granted)
            self._count()

    # Roles

    def _count(self) -> None:
        if self._ballot is not None and self._ballot.won:
            if self.role is Role.PRE_CANDIDATE:
                self._stand(transfer=False)
            else:
                self._take_the_lead()
        elif self._ballot is not None and self._ballot.lost:
            self._follow(self.term, 0)

    def _stand(self, *, transfer: bool) -> None:
        """Begin a term with a vote for oneself."""
        self._forget()
        self.role = Role.CANDIDATE
        self.term += 1
        self.vote = self.member
        self.leader = 0
        self.wait_anew()
        self._ballot = election.ask(self, transfer=transfer)
        self._count()

    def _take_the_lead(self) -> None:
        """The election is won. A quorum of one won by a vote that is not saved yet: nothing of the term leaves, or
        counts, before it is."""
        self._forget()
        self.role = Role.LEADER
        self.leader = self.member
        self.elapsed = 0
        self._lead = Leader(self)
        self._lead.propose(b"", Kind.COMMANDS)

    def _follow(self, term: int, leader: int) -> None:
        self._forget()
        if term > self.term:
            self.term = term
            self.vote = 0
        self.role = Role.FOLLOWER
        self.leader = leader
        self.wait_anew()

    def _forget(self) -> None:
        """Leave what belongs to a role."""
        if self._lead is not None:
            self._lead.retire()
        self._lead = self._ballot = None

    def _step_down_if_deposed(self) -> None:
        if self._lead is not None and self._lead.deposed:
            self._lead.take_leave()
            self._follow(self.term, 0)

    # The driver's turn

    def ready(self, *, news: bool = True) -> Ready:
        """What is to be done now; false if nothing. Everything is handed out once.

        Without `news`, word of a commit leaves only along with entries: whoever expects some gives it a moment to wait
        for them, and as long as `has_news` calls again soon. Followers have then one message to answer, not two.
        """
        lead = self._lead
        if lead is not None:
            lead.flush(news=news)
        entries = self.log.unsaved()
        told = (self.term, self.vote)
        save = bool(entries) or told != self._told or self._snapshot is not None
        if save:
            self.log.saving()
            self._told = told
        messages, held, snapshot = self.outbox, self.held, self._snapshot
        self.outbox, self.held = [], []  # also where they are empty: what comes later is none of this Ready's
        if told != self._durable:
            messages, held = [], messages + held
        self._snapshot = None
        return Ready(entries, HardState(self.term, self.vote, self.commit), save, messages, snapshot, held)

    def saved(self, ready: Ready) -> None:
        """What `ready` wanted saved is durable; oldest first."""
        if not ready.must_save:
            return
        self._durable = (ready.hard_state.term, ready.hard_state.vote)
        self.log.saved()
        if self._lead is not None:
            self._lead.advance_commit()
            self._step_down_if_deposed()

    def may_withdraw(self, ready: Ready) -> bool:
        """Whether nobody else can know of what the newest Ready wants saved: this is the only member, from its first
        entry on. A later one may remove a member that was sent those before it in the same turn."""
        first = ready.entries[0].index if ready.entries else self.last_index
        return self.members.all == self.membership.at(first).all == (self.member,)

    def withdraw(self, ready: Ready) -> None:
        """What `ready` wanted saved could not be, and is not in the log.

        Only the newest Ready, and only if `may_withdraw`: elsewhere it may have been sent. There the driver keeps the
        Ready, calls `resign`, and saves it when it can.
        """
        if not ready.must_save:
            return
        if not self.may_withdraw(ready):
            raise ValueError("what others may know of cannot be withdrawn")
        self._told = self._durable
        if not ready.entries:
            self.log.withdraw(self.log.last_index + 1)
            return
        first = ready.entries[0]
        if self.log.last_index != ready.entries[-1].index or first.index <= self.log.saved_index:
            raise ValueError("only the last entries, unsaved, can be withdrawn")
        self.log.withdraw(first.index)
        self.membership.truncate(first.index)
        if self._lead is not None:
            self._lead.withdraw(ready.entries)
            if first.index <= self._lead.term_start:
                self._follow(self.term, 0)

    def committed(self) -> Sequence[Entry]:
        """Entries to apply now, in order, each once: committed, and durable here. Call again until there are none."""
        last = min(self.commit, self.log.saved_index)
        if last <= self.applied:
            return ()
        entries = self.log.read(self.applied + 1, last, self.settings.apply_bytes)
        self.applied = entries[-1].index
        if self._lead is not None:
            self._lead.forget(entries)
        self.membership.forget(self.applied)
        self.log.release(self.applied, keep=len(self.members.all) > 1)
        return entries

    def reads(self) -> Sequence[Read]:
        """The reads that were decided since the last call."""
        found, self.answers = self.answers, []
        return found
