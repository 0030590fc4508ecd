"""What must hold after each step, whatever went wrong.

Nothing is looked at twice: each new entry, commit, term, vote and state is held once to what was seen before it.

election safety      a term has one leader (`_leads`), and no member votes for two in a term, crashes or not (`_votes`)
log matching         an entry is named by its index and term, and so is the one before it (`saved`)
leader completeness  who begins to lead has all that was committed in earlier terms (`_begins_to_lead`)
commit               never falls, is the same everywhere, durable at a quorum when the leader says so (`_commit_moved`)
state machine safety the same entries, state, members and time at each applied index (`applied`, `installed`, `started`)
order                nothing is applied before it is durable, nothing told before it is (`applying`, `sends`)
linearizability      a write that was acknowledged is applied once, and seen by each read that began later
"""

from collections.abc import Sequence
from typing import Protocol

from core.raft.machine import Raft, Ready, Role
from core.raft.messages import (
    AppendReply,
    Entry,
    HardState,
    Kind,
    Message,
    PreVote,
    PreVoteReply,
    Vote,
    VoteReply,
)
from tests.raft.simulator.disk import Disk
from tests.raft.simulator.state import State, write_of
from tests.raft.simulator.totals import Totals


class Violation(AssertionError):  # noqa: N818 - what it is
    """Something that must never be."""


class Observed(Protocol):
    """What is looked at of a running member."""

    member: int
    raft: Raft
    disk: Disk
    state: State
    checked_commit: int
    checked_term: int
    led: int
    """The last term in which it was seen to lead."""


class Checker:
    """What was seen so far, by nobody in particular."""

    def __init__(self, founded: State, totals: Totals) -> None:
        self.disks: dict[int, Disk] = {}
        """Of every member there ever was."""
        self.states = [founded]
        """The state after each applied entry; the index of the first is `base`."""
        self.base = founded.index
        self.committed = [(founded.term, 0)]
        """Term of each committed entry, and the term in which that was seen."""
        self.seen = 0
        """The last place a client knows of: by an acknowledged write, or by a read."""
        self._totals = totals
        self._entries: dict[tuple[int, int], tuple[int, Entry]] = {}
        """By index and term: the term before, and the entry."""
        self._leaders: dict[int, int] = {}
        self._votes: dict[tuple[int, int], int] = {}
        """By voter and term: for whom."""
        self._writes: set[int] = set()

    # A life

    def started(self, process: Observed) -> None:
        """What was found on the disk is something that once was true."""
        self._is_known_state(process.member, process.state)
        process.checked_term = process.raft.term
        self.after(process)

    def after(self, process: Observed) -> None:
        """After each turn."""
        raft = process.raft
        if raft.term != process.checked_term:
            if raft.term < process.checked_term:
                raise Violation(f"member {process.member} fell from term {process.checked_term} to {raft.term}")
            process.checked_term = raft.term
        if raft.role is Role.LEADER and process.led != raft.term <= process.disk.hard_state.term:
            self._begins_to_lead(process)
        if raft.commit != process.checked_commit:
            self._commit_moved(process)

    # Terms

    def _begins_to_lead(self, process: Observed) -> None:
        """It leads a term that is durable: the only voter, who needs nobody's vote, may lose one that is not."""
        raft = process.raft
        process.led = raft.term
        leader = self._leaders.setdefault(raft.term, process.member)
        if leader != process.member:
            raise Violation(f"term {raft.term} has two leaders, {leader} and {process.member}")
        self._totals.elections += 1
        index = self.base + len(self.committed) - 1
        while index > self.base and self.committed[index - self.base][1] >= raft.term:
            index -= 1
        term = self.committed[index - self.base][0]
        if index > raft.log.floor and not raft.log.matches(index, term):
            raise Violation(
                f"member {process.member} leads in term {raft.term} without entry {index} of term {term}, committed"
            )

    def sends(self, sender: int, receiver: int, message: Message, hard_state: HardState) -> None:
        """What is told is durable: the term, the vote, the entries."""
        kind = message.__class__
        if message.term > hard_state.term and not (
            kind is PreVote or (isinstance(message, PreVoteReply) and message.granted)
        ):
            raise Violation(f"member {sender} tells of term {message.term}, durable is {hard_state.term}: {message}")
        if kind is VoteReply or kind is Vote:
            self._vote(sender, receiver, message)
        elif isinstance(message, AppendReply) and not message.rejected and message.term == hard_state.term:
            last = self.disks[sender].last.index
            if message.index > last:
                raise Violation(
                    f"member {sender} says that it has entry {message.index}, durable are those up to {last}"
                )

    def _vote(self, sender: int, receiver: int, message: Message) -> None:
        if isinstance(message, VoteReply) and not message.granted:
            return
        candidate = receiver if isinstance(message, VoteReply) else sender
        first = self._votes.setdefault((sender, message.term), candidate)
        if first != candidate:
            raise Violation(f"member {sender} votes in term {message.term} for {first} and for {candidate}")

    # The log

    def saved(self, member: int, before: HardState, ready: Ready) -> None:
        """After a durable commit of the log at `member`."""
        disk = self.disks[member]
        after = disk.hard_state
        if after.term < before.term or (after.term == before.term and before.vote not in (0, after.vote)):
            raise Violation(f"member {member} forgets {before} and saves {after}")
        if not ready.entries:
            return
        previous = disk.term(ready.entries[0].index - 1)
        for entry in ready.entries:
            known = self._entries.setdefault((entry.index, entry.term), (previous, entry))
            if known[1] is not entry and known[1] != entry:
                raise Violation(f"member {member} has {entry} where there is {known[1]}")
            if known[0] != previous or previous > entry.term:
                raise Violation(f"member {member} has term {previous} before {entry}, there is {known[0]}")
            previous = entry.term

    def _commit_moved(self, process: Observed) -> None:
        raft, index = process.raft, process.raft.commit
        if index < process.checked_commit:
            raise Violation(f"member {process.member} takes its commit back from {process.checked_commit} to {index}")
        if process.led == raft.term and raft.lead is not None and raft.log.term(index) != raft.term:
            raise Violation(f"member {process.member} leads in term {raft.term} and commits {index} of an older term")
        process.checked_commit = index
        end = self.base + len(self.committed) - 1
        if index <= end:
            if index > raft.log.floor and raft.log.term(index) != self.committed[index - self.base][0]:
                raise Violation(
                    f"member {process.member} commits entry {index} of term {raft.log.term(index)}, "
                    f"committed is that of term {self.committed[index - self.base][0]}"
                )
            return
        if end > raft.log.floor and raft.log.term(end) != self.committed[-1][0]:
            raise Violation(f"member {process.member} commits another entry {end} than that of {self.committed[-1]}")
        if end < raft.log.floor:
            raise Violation(f"member {process.member} commits {index}, and has dropped what is behind {end}")
        for place in range(end + 1, index + 1):
            self.committed.append((raft.log.term(place), raft.term))
        if raft.role is Role.LEADER:
            voters, term = raft.members.voters, raft.log.term(index)
            holders = [voter for voter in voters if self.disks[voter].has(index, term)]
            if 2 * len(holders) <= len(voters):
                raise Violation(
                    f"member {process.member} commits entry {index} in term {raft.term}, durable at "
                    f"{holders} of {voters}"
                )

    # The state

    def applying(self, process: Observed, entries: Sequence[Entry]) -> None:
        """Before a member applies: it is durable here, and committed."""
        last = entries[-1]
        if not process.disk.has(last.index, last.term):
            raise Violation(f"member {process.member} applies {last}, which is not durable there")
        if last.index > process.raft.commit:
            raise Violation(f"member {process.member} applies {last}, which it does not hold for committed")

    def applied(self, process: Observed, entry: Entry, state: State) -> None:
        """One more entry is applied; `process.state` is the state before it."""
        if entry.index != process.state.index + 1:
            raise Violation(f"member {process.member} applies {entry} behind {process.state}")
        number = entry.index - self.base
        if number < len(self.states):
            self._is_known_state(process.member, state)
            return
        if number >= len(self.committed) or self.committed[number][0] != entry.term:
            raise Violation(f"member {process.member} applies {entry}, which is not the one that is committed")
        if state.time < self.states[-1].time:
            raise Violation(f"the cluster's clock goes back from {self.states[-1].time} to {state.time} with {entry}")
        write = write_of(entry)
        if write in self._writes:
            raise Violation(f"write {write} is applied a second time, with {entry}")
        if write:
            self._writes.add(write)
        if entry.kind == Kind.MEMBERSHIP:
            self._totals.changes += 1
        self.states.append(state)

    def knows_members(self, process: Observed) -> None:
        """The rules and the state agree on who the members are as of the applied entry."""
        members = process.raft.membership.at(process.state.index)
        if members != process.state.members:
            raise Violation(
                f"member {process.member}: as of entry {process.state.index} raft has {members}, "
                f"the state {process.state.members}"
            )

    def _is_known_state(self, member: int, state: State) -> None:
        number = state.index - self.base
        if number < 0:
            return  # a member that joins, before its first snapshot
        if number >= len(self.states) or self.states[number] != state:
            known = self.states[number] if number < len(self.states) else "nothing yet"
            raise Violation(f"member {member} has {state}, others have {known}")

    # Clients

    def acknowledged(self, write: int, index: int) -> None:
        if write not in self._writes or index - self.base >= len(self.states):
            raise Violation(f"write {write} is acknowledged and not applied")
        self.seen = max(self.seen, index)
        self._totals.writes += 1

    def answered(self, process: Observed, floor: int) -> None:
        """A read is answered from the member's state; it began when clients knew of `floor`."""
        if process.state.index < floor:
            raise Violation(
                f"member {process.member} answers a read at entry {process.state.index}; when it began, "
                f"entry {floor} was known"
            )
        self.seen = max(self.seen, process.state.index)
        self._totals.reads += 1
