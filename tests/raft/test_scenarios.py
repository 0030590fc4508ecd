"""A quorum of one through the situations that the contract in `core.raft` speaks of."""

from collections.abc import Sequence

import pytest

from core.raft.machine import NotLeaderError, Raft, Ready, Role
from core.raft.messages import Entry, HardState, Kind
from tests.raft.memory import only_member


def leader(hard_state: HardState = HardState(), applied: int = 0, tail: tuple[Entry, ...] = ()) -> Raft:  # noqa: B008
    """A member that stood for election; nothing of its term is saved yet."""
    raft = only_member(hard_state, applied, tail)
    raft.campaign()
    return raft


def indexes(entries: Sequence[Entry]) -> list[int]:
    return [entry.index for entry in entries]


def test_an_election_is_won_at_once_and_seen_with_the_first_entry() -> None:
    raft = leader()
    ready = raft.ready()
    assert (raft.role, raft.leader, raft.term) == (Role.LEADER, 1, 1)
    assert list(ready.entries) == [Entry(1, 1, Kind.COMMANDS, b"")]
    assert ready.hard_state == HardState(term=1, vote=1, commit=0)


def test_only_the_leader_proposes() -> None:
    raft = only_member()
    with pytest.raises(NotLeaderError):
        raft.propose(b"x")


def test_nothing_is_committed_before_it_is_saved() -> None:
    raft = leader()
    assert raft.propose(b"x") == 2
    assert not raft.committed()
    ready = raft.ready()
    assert not raft.committed()
    raft.saved(ready)
    assert [entry.data for entry in raft.committed()] == [b"", b"x"]
    assert not raft.committed()
    assert raft.commit == 2


def test_each_entry_is_handed_out_once() -> None:
    raft = leader()
    first = raft.ready()
    assert first
    assert not raft.ready()
    raft.propose(b"x")
    second = raft.ready()
    assert (indexes(first.entries), indexes(second.entries)) == ([1], [2])


def test_a_batch_proposed_while_another_is_saved_waits_for_its_own() -> None:
    raft = leader()
    first = raft.ready()
    raft.propose(b"x")
    raft.saved(first)
    assert indexes(raft.committed()) == [1]
    raft.saved(raft.ready())
    assert indexes(raft.committed()) == [2]


def test_the_tail_is_committed_by_the_first_entry_of_the_new_term() -> None:
    """Entries of an old term are never committed by count alone (section 3.6.2)."""
    tail = (Entry(4, 2, Kind.COMMANDS, b"a"), Entry(5, 2, Kind.COMMANDS, b"b"))
    raft = leader(HardState(term=2, vote=1, commit=3), applied=3, tail=tail)
    assert not raft.committed()
    ready = raft.ready()
    assert ready.hard_state == HardState(term=3, vote=1, commit=3)
    raft.saved(ready)
    assert [(entry.index, entry.term, entry.data) for entry in (*raft.committed(), *raft.committed())] == [
        (4, 2, b"a"),
        (5, 2, b"b"),
        (6, 3, b""),
    ]


def test_saving_what_was_waiting_before_the_election_commits_nothing_of_old_terms() -> None:
    tail = (Entry(1, 1, Kind.COMMANDS, b"a"),)
    raft = only_member(HardState(term=1, vote=1), 0, tail)
    raft.saved(raft.ready())
    assert not raft.committed()


def test_a_log_with_a_hole_is_refused() -> None:
    for tail in ((Entry(5, 1, Kind.COMMANDS, b""),), (Entry(4, 1, 0, b""), Entry(6, 1, 0, b""))):
        with pytest.raises((ValueError, IndexError)):
            only_member(HardState(1, 1, 3), 3, tail)


class TestWithdraw:
    def test_what_could_not_be_saved_is_gone_and_its_index_is_free(self) -> None:
        raft = leader()
        raft.saved(raft.ready())
        raft.committed()
        raft.propose(b"lost")
        ready = raft.ready()
        raft.withdraw(ready)
        assert raft.propose(b"kept") == 2
        raft.saved(raft.ready())
        assert [entry.data for entry in raft.committed()] == [b"kept"]

    def test_without_its_first_entry_a_leader_is_none(self) -> None:
        raft = leader()
        raft.withdraw(raft.ready())
        assert (raft.role, raft.leader, raft.last_index) == (Role.FOLLOWER, 0, 0)
        with pytest.raises(NotLeaderError):
            raft.propose(b"x")
        raft.campaign()
        ready = raft.ready()
        assert (ready.hard_state.term, indexes(ready.entries)) == (2, [1])
        raft.saved(ready)
        assert indexes(raft.committed()) == [1]

    def test_nothing_to_withdraw_is_no_error(self) -> None:
        raft = leader()
        raft.saved(raft.ready())
        raft.withdraw(raft.ready())
        assert raft.last_index == 1

    def test_what_is_saved_stays(self) -> None:
        raft = leader()
        ready = raft.ready()
        raft.saved(ready)
        with pytest.raises(ValueError, match="withdrawn"):
            raft.withdraw(ready)

    def test_what_others_follow_stays(self) -> None:
        raft = leader()
        ready = raft.ready()
        raft.propose(b"x")
        with pytest.raises(ValueError, match="withdrawn"):
            raft.withdraw(ready)
        assert isinstance(ready, Ready)
