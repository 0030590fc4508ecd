"""What simulated runs, and a second look at their failures, found in the rules: each in as few steps as it takes."""

from random import Random

from core.raft.machine import Raft
from core.raft.members import Members, Standing
from core.raft.messages import Append, AppendReply, Entry, HardState, HeartbeatReply, Kind, PreVote, Vote
from tests.raft.memory import MemoryLog, Place


def member(number: int, members: Members, entries: tuple[Entry, ...] = (), term: int = 1) -> Raft:
    """A member that has applied up to entry 5, and `entries` behind it."""
    log = MemoryLog(Place(5, 1), entries)
    return Raft(number, members, HardState(term, 0, 5), 5, log, Random(number))


def test_a_promise_leaves_with_its_own_save_and_with_no_earlier_one() -> None:
    follower = member(3, Members((1, 2, 3)))
    follower.step(1, AppendReply(2, 5))  # no member answers one that does not lead, but its term is news
    first = follower.ready()
    assert first.must_save
    follower.step(2, Vote(3, 5, 1, False))
    assert list(first.held) == []
    second = follower.ready()
    assert second.hard_state == HardState(3, 2, 5)
    assert [receiver for receiver, _ in second.held] == [2]


def test_a_voter_whose_removal_is_in_no_other_log_stands_for_election() -> None:
    """Otherwise nobody could be elected: the other has less log, and this one no vote."""
    removal = Entry(6, 1, Kind.MEMBERSHIP, b"\x92\x92\x91\x02\x90\xc4\x00")
    removed = member(1, Members((1, 2)), (removal,))
    assert removed.members == Members((2,))
    removed.campaign()
    assert [(receiver, type(message)) for receiver, message in removed.ready().held] == [(2, PreVote)]


def test_what_a_member_was_sent_before_its_removal_in_the_same_turn_is_not_withdrawn() -> None:
    """It may have saved it: another entry under the same index and term would never be noticed."""
    leader = member(1, Members((1,), (2,)))
    leader.campaign()
    leader.saved(leader.ready())
    leader.step(2, AppendReply(2, 6))
    while leader.committed():
        pass
    leader.propose(b"sent")
    leader.step(2, HeartbeatReply(2, 0))
    leader.change(2, Standing.NONE)
    ready = leader.ready()
    assert [
        entry.data for _, message in ready.messages if isinstance(message, Append) for entry in message.entries
    ] == [b"sent"]
    assert leader.members.all == (1,)
    assert not leader.may_withdraw(ready)
