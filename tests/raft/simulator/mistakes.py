"""Known-bad variants of the rules and of the driver. Each must be caught, or a check is worth nothing.

A mistake patches one thing. `CAUGHT` says what the simulator must say about it: a mistake that only breaks the program
in another way is not caught.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest

from core.node.clock import ClusterClock
from core.raft import election, follower
from core.raft.leader import Leader
from core.raft.log import Log
from core.raft.machine import Raft, Ready
from core.raft.members import Members, Membership, Standing, encode
from core.raft.messages import Entry, HardState, Heartbeat, Kind, Message, Vote, VoteReply
from core.raft.quorum import majority_index
from core.raft.reads import Asked, ReadRounds
from core.raft.state import State as RaftState
from tests.raft.simulator.disk import Disk
from tests.raft.simulator.letters import Write
from tests.raft.simulator.process import TAKE, Process
from tests.raft.simulator.state import State
from tests.raft.simulator.state import encode as encode_batch

Mistake = Callable[[pytest.MonkeyPatch], None]


# Elections


def vote_not_persisted(patch: pytest.MonkeyPatch) -> None:
    """The term is saved, the vote is not."""
    commit = Disk.commit

    def bad(self: Disk, ready: Ready, state: State | None) -> None:
        commit(self, ready, state)
        self.hard_state = HardState(ready.hard_state.term, 0, ready.hard_state.commit)

    patch.setattr(Disk, "commit", bad)


def votes_twice(patch: pytest.MonkeyPatch) -> None:
    """Gives its vote to everybody whose log is good enough."""

    def bad(state: RaftState, sender: int, message: Vote) -> None:
        granted = election.is_up_to_date(state, message)
        if granted:
            state.vote = sender
        state.held.append((sender, VoteReply(state.term, granted)))

    patch.setattr(election, "on_vote", bad)


def votes_whatever_the_log(patch: pytest.MonkeyPatch) -> None:
    """Does not ask what the candidate's log has."""
    patch.setattr(election, "is_up_to_date", lambda state, message: True)


def votes_in_old_terms(patch: pytest.MonkeyPatch) -> None:
    """Ignores the term in a candidate's question, and answers as it is asked."""
    step = Raft.step

    def bad(self: Raft, sender: int, message: Message) -> None:
        if isinstance(message, Vote) and message.term < self.term:
            self.held.append((sender, VoteReply(message.term, election.is_up_to_date(self, message))))
        else:
            step(self, sender, message)

    patch.setattr(Raft, "step", bad)


def disturbs_a_good_leader(patch: pytest.MonkeyPatch) -> None:
    """No PreVote, and nobody ignores a candidate: who was removed and does not know it deposes every leader."""

    def campaign(self: Raft) -> None:
        if self.lead is None and self.may_stand:
            self._stand(transfer=False)

    patch.setattr(Raft, "campaign", campaign)
    patch.setattr(election, "hears_leader", lambda state: False)


def removed_voter_does_not_stand(patch: pytest.MonkeyPatch) -> None:
    """A voter stands only if its newest members have it, committed or not."""
    may_stand = property(lambda self: self.members.standing(self.member) is Standing.VOTER)
    patch.setattr(RaftState, "may_stand", may_stand)


# The log


def acknowledged_before_sync(patch: pytest.MonkeyPatch) -> None:
    """Sends what must wait for the disk at once."""
    ready = Raft.ready

    def bad(self: Raft, *, news: bool = True) -> Ready:
        found = ready(self, news=news)
        return Ready(found.entries, found.hard_state, found.must_save, (*found.messages, *found.held), found.snapshot)

    patch.setattr(Raft, "ready", bad)


def leader_counts_itself_at_once(patch: pytest.MonkeyPatch) -> None:
    """Counts its own entries before they are saved."""
    match = Leader._match

    def bad(self: Leader, member: int) -> int:
        return self._state.log.last_index if member == self._state.member else match(self, member)

    patch.setattr(Leader, "_match", bad)


def commits_old_terms_by_count(patch: pytest.MonkeyPatch) -> None:
    """Commits what a quorum has, whosever it is (section 3.6.2, figure 3.7)."""

    def bad(self: Leader) -> None:
        state = self._state
        state.commit = max(state.commit, majority_index(state.members.voters, self._match))

    patch.setattr(Leader, "advance_commit", bad)


def no_log_matching(patch: pytest.MonkeyPatch) -> None:
    """Appends wherever there is no gap."""
    patch.setattr(Log, "matches", lambda self, index, term: self.floor <= index <= self.last_index)


def commits_what_it_does_not_have(patch: pytest.MonkeyPatch) -> None:
    """Takes the leader's commit index for its own whole log, whether or not that agrees with the leader's."""
    on_append = follower.on_append

    def bad(state: RaftState, sender: int, message: Any) -> None:
        on_append(state, sender, message)
        state.commit_to(message.commit)

    patch.setattr(follower, "on_append", bad)


def heartbeat_commits_too_much(patch: pytest.MonkeyPatch) -> None:
    """Tells followers of commits beyond what they are known to have."""

    def bad(self: Leader) -> None:
        state = self._state
        self._heartbeat_elapsed = 0
        for member in self.progress:
            state.outbox.append((member, Heartbeat(state.term, state.commit, self.reads.current)))

    patch.setattr(Leader, "_heartbeat", bad)


def counts_saves_before_they_end(patch: pytest.MonkeyPatch) -> None:
    """Takes all that was handed out for durable when the first save ends."""

    def bad(self: Log) -> None:
        self._saving.popleft()
        self.saved_index = self._handed

    patch.setattr(Log, "saved", bad)


def held_list_shared(patch: pytest.MonkeyPatch) -> None:
    """A Ready without messages shares its list with the member: later promises leave with an earlier save."""
    ready = Raft.ready

    def bad(self: Raft, *, news: bool = True) -> Ready:
        held = self.held
        found = ready(self, news=news)
        if not held:
            self.held = held
            return Ready(found.entries, found.hard_state, found.must_save, found.messages, found.snapshot, held)
        return found

    patch.setattr(Raft, "ready", bad)


# The state


def applies_before_saved(patch: pytest.MonkeyPatch) -> None:
    """Applies, and flushes, what is committed, whether or not it is in the own durable log."""

    def bad(self: Raft) -> Sequence[Entry]:
        if self.commit <= self.applied:
            return ()
        entries = self.log.read(self.applied + 1, self.commit, self.settings.apply_bytes)
        self.applied = entries[-1].index
        self.membership.forget(self.applied)
        return entries

    patch.setattr(Raft, "committed", bad)


def applies_twice_after_restart(patch: pytest.MonkeyPatch) -> None:
    """Flushes the data and leaves the applied index behind."""

    def bad(self: Disk, state: State) -> None:
        self.state = self.state._replace(digest=state.digest, writes=state.writes)

    patch.setattr(Disk, "flush", bad)
    patch.setattr(Disk, "drop_until", lambda self, index: None)


def members_apart_from_applied_index(patch: pytest.MonkeyPatch) -> None:
    """Flushes the newest members with the state, whatever is applied."""
    flush = Process.flush

    def bad(self: Process) -> None:
        flush(self)
        self.disk.state = self.state._replace(members=self.raft.members)

    patch.setattr(Process, "flush", bad)


def snapshot_without_members(patch: pytest.MonkeyPatch) -> None:
    """Installs a snapshot and keeps the members it knew."""

    def bad(self: Membership, index: int, members: Members) -> None:
        self._history = [(index, self.current)]

    patch.setattr(Membership, "restore", bad)


def snapshot_state_saved_later(patch: pytest.MonkeyPatch) -> None:
    """The log begins anew behind a snapshot before its state is durable."""
    patch.setattr(Disk, "commit", lambda self, ready, state: self.save(ready))


def snapshot_of_another_time(patch: pytest.MonkeyPatch) -> None:
    """Takes a snapshot for one of the last flush."""
    carry = Process._send_snapshot

    def bad(self: Process, asked: Any) -> None:
        state, self.state = (
            self.state,
            self.state._replace(members=self.disk.state.members, digest=self.disk.state.digest),
        )
        carry(self, asked)
        self.state = state

    patch.setattr(Process, "_send_snapshot", bad)


# Members


def learners_count(patch: pytest.MonkeyPatch) -> None:
    """Commits with a majority of all members."""

    def bad(self: Leader) -> None:
        index = majority_index(self._state.members.all, self._match)
        if index > self._state.commit and index >= self.term_start:
            self._state.commit = index

    patch.setattr(Leader, "advance_commit", bad)


def two_changes_at_once(patch: pytest.MonkeyPatch) -> None:
    """Changes the members while another change is not committed."""

    def bad(self: Leader, member: int, standing: Standing, context: bytes) -> int:
        members = self._state.members.changed(member, standing)
        index = self.propose(encode(members, context), Kind.MEMBERSHIP)
        self._follow_members()
        return index

    patch.setattr(Leader, "change", bad)


# Reads


def reads_without_quorum(patch: pytest.MonkeyPatch) -> None:
    """Answers reads without asking whether it still leads."""

    def bad(self: Leader) -> bool:
        index, answered = self.reads.finish()
        for asked in answered:
            self._answer(asked, index)
        return True

    patch.setattr(Leader, "_finish_reads", bad)


def reads_before_own_term(patch: pytest.MonkeyPatch) -> None:
    """Answers reads before it knows what is committed."""
    patch.setattr(Leader, "established", True)


def late_rounds_count(patch: pytest.MonkeyPatch) -> None:
    """Takes the answer to any round of heartbeats for one to the round under way."""
    acknowledge = ReadRounds.acknowledge
    patch.setattr(ReadRounds, "acknowledge", lambda self, member, round_: acknowledge(self, member, self.round))


def reads_join_a_round(patch: pytest.MonkeyPatch) -> None:
    """Lets a read join a round that has begun: who acknowledged it may follow another leader by now."""

    def bad(self: ReadRounds, member: int, token: int) -> None:
        waiting = self._under_way if self._under_way else self._waiting
        waiting.append(Asked(member, token))

    patch.setattr(ReadRounds, "ask", bad)


# Time


def clock_from_the_wall(patch: pytest.MonkeyPatch) -> None:
    """Stamps batches with the wall clock."""
    patch.setattr(ClusterClock, "now", lambda self: int(self._wall() * 1e9))


def clock_begins_anew(patch: pytest.MonkeyPatch) -> None:
    """A new leader continues from its own clock, not from the time that is in the log."""
    patch.setattr(ClusterClock, "advance", lambda self, logged: None)


def clock_before_its_log_is_applied(patch: pytest.MonkeyPatch) -> None:
    """A new leader stamps batches before it has applied those of earlier leaders, that is: before it knows the time."""

    def bad(self: Process, sender: int, write: Write) -> None:
        if self.raft.lead is not None and not self.raft.lead.transferee:
            index = self.raft.propose(encode_batch(self.clock.now(), write.number))
            self.writes[index] = (self.raft.term, write.number)

    patch.setitem(TAKE, Write, bad)


class Caught(NamedTuple):
    """How a mistake is caught."""

    says: str
    """A regular expression for what the simulator says."""
    first: int = 1
    """The seed to begin with: rare ones are looked for near where they were found."""


APPLIED_IS_NOT_IN_LOG = r"entry \d+ is applied, the log has"
LEADS_WITHOUT = r"leads in term \d+ without entry"
NOT_DURABLE = r"tells of term|says that it has entry|commits entry \d+ in term \d+, durable at|applies .* not durable"
OTHER_STATE = r"has State.*, others have"
STALE_READ = r"answers a read at entry \d+; when it began"
TWO_VOTES = r"votes in term|has two leaders|two leaders in term|forgets HardState"
TIME_BACK = r"the cluster's clock goes back"

CAUGHT: dict[Mistake, Caught] = {
    vote_not_persisted: Caught(TWO_VOTES),
    votes_twice: Caught(TWO_VOTES),
    votes_whatever_the_log: Caught(LEADS_WITHOUT),
    votes_in_old_terms: Caught(TWO_VOTES),
    disturbs_a_good_leader: Caught(r"healed, and yet"),
    removed_voter_does_not_stand: Caught(r"healed, and yet no progress"),
    acknowledged_before_sync: Caught(NOT_DURABLE),
    leader_counts_itself_at_once: Caught(NOT_DURABLE),
    commits_old_terms_by_count: Caught(r"commits \d+ of an older term"),
    no_log_matching: Caught(r"commits entry \d+ of term|has term \d+ before Entry|" + OTHER_STATE),
    commits_what_it_does_not_have: Caught(r"commits entry \d+ of term"),
    heartbeat_commits_too_much: Caught(r"commits entry \d+ of term|told its leader"),
    counts_saves_before_they_end: Caught(NOT_DURABLE),
    held_list_shared: Caught(NOT_DURABLE),
    applies_before_saved: Caught(r"applies .* not durable"),
    applies_twice_after_restart: Caught(OTHER_STATE),
    members_apart_from_applied_index: Caught(OTHER_STATE),
    snapshot_without_members: Caught(r"raft has Members"),
    snapshot_state_saved_later: Caught(APPLIED_IS_NOT_IN_LOG),
    snapshot_of_another_time: Caught(OTHER_STATE),
    learners_count: Caught(NOT_DURABLE),
    two_changes_at_once: Caught(LEADS_WITHOUT + r"|has two leaders|two leaders in term|commits entry", first=160),
    reads_without_quorum: Caught(STALE_READ),
    reads_before_own_term: Caught(STALE_READ),
    late_rounds_count: Caught(STALE_READ, first=350),
    reads_join_a_round: Caught(STALE_READ, first=260),
    clock_from_the_wall: Caught(TIME_BACK),
    clock_begins_anew: Caught(TIME_BACK),
    clock_before_its_log_is_applied: Caught(TIME_BACK),
}
