"""The contract with the driver: what it may rely on, and what is refused at the door."""

from random import Random

import pytest

from core.raft.log import ENTRY_BYTES
from core.raft.machine import NotLeaderError, Raft, Role, Settings
from core.raft.members import Members, Standing
from core.raft.messages import Append, AppendReply, Entry, HardState, Heartbeat, Message, PreVoteReply, Vote, VoteReply
from tests.raft.memory import MemoryLog, Place, only_member

THREE = Members((1, 2, 3))
ROW = [Entry(1, 1, 0, b"a"), Entry(2, 1, 0, b"b"), Entry(3, 2, 0, b"c")]


def member(hard_state: HardState, entries: list[Entry], applied: int = 0, settings: Settings = Settings()) -> Raft:  # noqa: B008
    return Raft(1, THREE, hard_state, applied, MemoryLog(entries=entries), Random(1), settings)


def leader_of_three(settings: Settings = Settings()) -> Raft:  # noqa: B008
    raft = member(HardState(), [], settings=settings)
    raft.campaign()
    replies: list[Message] = [PreVoteReply(1, True), VoteReply(1, True)]
    for reply in replies:
        raft.saved(raft.ready())
        raft.step(2, reply)
    assert raft.role is Role.LEADER
    return raft


class TestStart:
    def test_a_log_that_ends_before_its_commit_is_refused(self) -> None:
        with pytest.raises(ValueError, match="entry 4 is committed, the log ends at 3"):
            member(HardState(2, 0, 4), ROW)

    def test_a_hard_state_that_is_older_than_the_log_is_refused(self) -> None:
        """It has forgotten a vote."""
        with pytest.raises(ValueError, match="entries of term 2, the hard state is of 1"):
            member(HardState(1, 0, 0), ROW)

    def test_an_applied_index_outside_of_the_log_is_refused(self) -> None:
        for applied in (4, 9):
            with pytest.raises(ValueError, match="is applied"):
                member(HardState(2, 0, 0), ROW, applied)
        log = MemoryLog(Place(2, 1), ROW[2:])
        with pytest.raises(ValueError, match="is applied"):
            Raft(1, THREE, HardState(2, 0, 2), 1, log, Random(1))

    def test_the_applied_index_may_be_ahead_of_the_commit_that_was_saved(self) -> None:
        raft = member(HardState(2, 0, 1), ROW, applied=2)
        assert raft.commit == 2
        assert not raft.committed()


class TestUncommittedBytes:
    def test_they_grow_with_each_proposal_and_go_when_it_is_applied(self) -> None:
        raft = only_member()
        assert raft.uncommitted_bytes == 0
        raft.campaign()
        raft.propose(b"x" * 50)
        assert raft.uncommitted_bytes == 50 + 2 * ENTRY_BYTES
        raft.saved(raft.ready())
        while raft.committed():
            pass
        assert raft.uncommitted_bytes == 0

    def test_they_stay_without_a_quorum(self) -> None:
        raft = leader_of_three()
        for _ in range(10):
            raft.propose(b"x" * 100)
            raft.saved(raft.ready())
            assert not raft.committed()
        assert raft.uncommitted_bytes == 10 * 100 + 11 * ENTRY_BYTES
        raft.step(2, AppendReply(raft.term, raft.last_index))
        while raft.committed():
            pass
        assert raft.uncommitted_bytes == 0

    def test_withdrawn_entries_do_not_count(self) -> None:
        raft = only_member()
        raft.campaign()
        raft.saved(raft.ready())
        while raft.committed():
            pass
        raft.propose(b"x" * 50)
        raft.withdraw(raft.ready())
        assert raft.uncommitted_bytes == 0

    def test_entries_of_an_older_term_are_not_the_leaders_own(self) -> None:
        raft = only_member(HardState(2, 1, 0), 0, ROW)
        raft.campaign()
        raft.saved(raft.ready())
        while raft.committed():
            pass
        assert (raft.applied, raft.uncommitted_bytes) == (4, 0)

    def test_who_does_not_lead_has_none(self) -> None:
        raft = leader_of_three()
        raft.propose(b"x")
        raft.resign()
        assert raft.uncommitted_bytes == 0


class TestReady:
    def test_what_a_follower_promises_is_held(self) -> None:
        raft = member(HardState(1, 0, 0), [])
        raft.step(2, Append(1, 0, 0, 0, (ROW[0],)))
        raft.step(2, Heartbeat(1, 0, 7))
        ready = raft.ready()
        assert ready.must_save
        assert not ready.messages
        assert [receiver for receiver, _ in ready.held] == [2, 2]

    def test_a_term_is_saved_before_it_is_told(self) -> None:
        raft = member(HardState(1, 0, 0), [])
        raft.step(2, Vote(5, 0, 0, False))
        ready = raft.ready()
        assert (ready.hard_state, ready.must_save) == (HardState(5, 2, 0), True)
        assert list(ready.held) == [(2, VoteReply(5, True))]

    def test_the_commit_index_alone_is_not_worth_a_save(self) -> None:
        raft = leader_of_three()
        raft.saved(raft.ready())
        raft.step(2, AppendReply(raft.term, 1))
        assert raft.commit == 1
        ready = raft.ready()
        assert not ready.must_save
        assert ready.messages
        assert [entry.index for entry in raft.committed()] == [1]

    def test_nothing_to_do_is_false(self) -> None:
        raft = member(HardState(2, 0, 0), ROW)
        assert not raft.ready()

    def test_a_commit_is_never_saved_ahead_of_its_log(self) -> None:
        raft = member(HardState(1, 0, 0), [])
        raft.step(2, Append(1, 0, 0, 9, (ROW[0],)))
        assert raft.ready().hard_state.commit == 1


class TestWithdraw:
    def test_a_ready_of_a_term_alone_is_taken_back_too(self) -> None:
        """The count of saves under way must stay right, and the term is saved with the next."""
        raft = only_member(HardState(2, 1, 0), 0, ROW)
        raft.step(9, Vote(7, 9, 9, True))
        ready = raft.ready()
        assert ready.must_save
        assert not ready.entries
        raft.withdraw(ready)
        raft.campaign()
        again = raft.ready()
        assert again.hard_state.term == 8
        raft.saved(again)
        raft.propose(b"x")
        raft.saved(raft.ready())
        while raft.committed():
            pass
        assert raft.applied == raft.last_index == 5

    def test_a_change_is_taken_back_with_its_entry(self) -> None:
        raft = only_member()
        raft.campaign()
        raft.saved(raft.ready())
        raft.change(2, Standing.LEARNER)
        raft.saved(raft.ready())
        while raft.committed():
            pass
        raft.change(2, Standing.NONE)
        raft.withdraw(raft.ready())
        assert raft.members == Members((1,), (2,))
        assert raft.lead is not None
        assert list(raft.lead.progress) == [2]

    def test_what_others_may_know_of_stays(self) -> None:
        raft = leader_of_three()
        with pytest.raises(ValueError, match="others may know"):
            raft.withdraw(raft.ready())


class TestTicks:
    def test_patience_is_drawn_anew_from_one_to_two_election_times(self) -> None:
        raft = member(HardState(), [])
        seen = set()
        for _ in range(300):
            raft.wait_anew()
            seen.add(raft.patience)
        assert seen == set(range(10, 20))

    def test_a_leader_beats_as_often_as_it_is_told(self) -> None:
        raft = leader_of_three(Settings(heartbeat_ticks=3))
        raft.saved(raft.ready())
        beats = []
        for _ in range(9):
            raft.tick()
            beats.append(sum(isinstance(message, Heartbeat) for _, message in raft.ready().messages))
        assert beats == [0, 0, 2, 0, 0, 2, 0, 0, 2]

    def test_a_lone_voter_wins_when_its_patience_ends(self) -> None:
        raft = only_member()
        for _ in range(raft.patience):
            assert raft.role is Role.FOLLOWER
            raft.tick()
        assert raft.role is Role.LEADER


def test_a_read_needs_a_leader() -> None:
    with pytest.raises(NotLeaderError):
        member(HardState(), []).read(1)


def test_a_follower_neither_changes_members_nor_hands_over() -> None:
    raft = member(HardState(), [])
    with pytest.raises(NotLeaderError):
        raft.change(4, Standing.VOTER)
    with pytest.raises(NotLeaderError):
        raft.transfer(2)


def test_a_vote_given_is_a_reason_to_wait() -> None:
    raft = member(HardState(2, 0, 0), ROW)
    raft.step(3, Vote(5, 1, 1, False))
    raft.tick()
    raft.step(3, Vote(5, 1, 1, False))
    assert raft.elapsed == 1, "a refusal is none"
    raft.step(2, Vote(5, 3, 2, False))
    assert (raft.vote, raft.elapsed) == (2, 0)


def test_old_sets_of_members_are_forgotten() -> None:
    raft = only_member()
    raft.campaign()
    raft.saved(raft.ready())
    for number in range(20):
        raft.change(1, Standing.VOTER, b"%d" % number)
        raft.saved(raft.ready())
        while raft.committed():
            pass
    assert len(raft.membership._history) == 1
