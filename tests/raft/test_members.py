"""The set of members: how it is written, changed and begun."""

from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.raft import members
from core.raft.founding import found
from core.raft.machine import Raft, Role
from core.raft.members import ChangeRefusedError, Members, Membership, Standing
from core.raft.messages import Entry, HardState, Kind
from tests.raft.memory import MemoryLog

THREE = Members((1, 2, 3), (9,))


def founder(member: int, *voters: int) -> Raft:
    entry, hard_state = found(voters, b"names")
    return Raft(member, Members(), hard_state, 0, MemoryLog(entries=[entry]), Random(member))


def lone_leader() -> Raft:
    raft = founder(1, 1)
    raft.campaign()
    raft.saved(raft.ready())
    while raft.committed():
        pass
    return raft


class TestEntry:
    def test_it_holds_members_and_context(self) -> None:
        data = members.encode(THREE, b"context")
        assert (members.decode(data), members.context(data)) == (THREE, b"context")
        assert members.context(members.encode(THREE)) == b""

    @pytest.mark.parametrize(
        "bad",
        [Members(), Members((), (1,)), Members((0, 1)), Members((2, 1)), Members((1, 1)), Members((1, 2), (2,)),
         Members((-1, 2)), Members((1,), (3, 2)), Members((1, 2, 2))],
    )  # fmt: skip
    def test_what_is_no_set_of_members_is_refused(self, bad: Members) -> None:
        with pytest.raises(ValueError, match="no set of members"):
            members.decode(members.encode(bad))

    @pytest.mark.parametrize("data", [b"", b"\x90", b"\xff" * 9, members.encode(THREE)[:-1]])
    def test_garbage_is_refused(self, data: bytes) -> None:
        for read in (members.decode, members.context):
            with pytest.raises(msgspec.DecodeError):
                read(data)


class TestChange:
    def test_the_context_rests_in_the_entry(self) -> None:
        raft = lone_leader()
        raft.change(2, Standing.LEARNER, b"two")
        raft.saved(raft.ready())
        (entry,) = raft.committed()
        assert entry.kind == Kind.MEMBERSHIP
        assert (members.decode(entry.data), members.context(entry.data)) == (Members((1,), (2,)), b"two")

    def test_with_a_context_the_standing_may_stay(self) -> None:
        raft = lone_leader()
        raft.change(1, Standing.VOTER, b"new address")
        raft.saved(raft.ready())
        (entry,) = raft.committed()
        assert (raft.members, members.context(entry.data)) == (Members((1,)), b"new address")

    def test_without_a_context_it_must_not(self) -> None:
        with pytest.raises(ChangeRefusedError, match="voter already"):
            lone_leader().change(1, Standing.VOTER)

    def test_a_stranger_cannot_stay_one(self) -> None:
        with pytest.raises(ChangeRefusedError, match="none already"):
            lone_leader().change(7, Standing.NONE, b"x")

    def test_a_change_of_the_context_waits_for_the_one_before(self) -> None:
        raft = lone_leader()
        raft.change(1, Standing.VOTER, b"new address")
        with pytest.raises(ChangeRefusedError, match="under way"):
            raft.change(1, Standing.VOTER, b"newer address")

    @pytest.mark.parametrize("member", [0, -1, 1 << 64])
    def test_an_id_that_is_none_is_refused(self, member: int) -> None:
        raft = lone_leader()
        with pytest.raises(ChangeRefusedError, match="cannot be the id"):
            raft.change(member, Standing.LEARNER)
        assert raft.last_index == 2

    def test_the_last_voter_stays(self) -> None:
        with pytest.raises(ChangeRefusedError, match="last voter"):
            lone_leader().change(1, Standing.NONE)


class TestFounding:
    def test_all_write_the_same(self) -> None:
        assert found((3, 1, 2), b"names") == found([1, 2, 3], b"names")
        entry, hard_state = found((1, 2, 3), b"names")
        assert (entry.index, entry.term, members.context(entry.data)) == (1, 1, b"names")
        assert hard_state == HardState(term=1, vote=0, commit=1)

    @pytest.mark.parametrize("voters", [(), (0,), (1, 1)])
    def test_it_needs_voters(self, voters: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match="no set of members"):
            found(voters)

    def test_the_first_entry_is_committed_before_any_election(self) -> None:
        raft = founder(2, 1, 2, 3)
        assert raft.members == Members((1, 2, 3))
        assert [entry.index for entry in raft.committed()] == [1]
        assert not raft.committed()
        assert not raft.ready()

    def test_a_founder_stands_and_asks_the_others(self) -> None:
        raft = founder(2, 1, 2, 3)
        for _ in range(20):
            raft.tick()
        assert (raft.role, raft.term) == (Role.PRE_CANDIDATE, 1)
        assert sorted(receiver for receiver, _ in raft.ready().held) == [1, 3]

    def test_the_only_founder_wins(self) -> None:
        raft = founder(1, 1)
        for _ in range(20):
            raft.tick()
        assert (raft.role, raft.term, raft.last_index) == (Role.LEADER, 2, 2)
        raft.saved(raft.ready())
        assert [entry.index for entry in (*raft.committed(), *raft.committed())] == [1, 2]

    def test_who_joins_waits_quietly_and_is_fed(self) -> None:
        log = MemoryLog(entries=[found((1,))[0]])
        leader = Raft(1, Members(), HardState(1, 0, 1), 0, log, Random(1))
        leader.campaign()
        joiner_log = MemoryLog()
        joiner = Raft(2, Members(), HardState(), 0, joiner_log, Random(2))
        for _ in range(100):
            joiner.tick()
        assert not joiner.ready()
        for turn in range(5):
            if turn == 1:
                leader.change(2, Standing.LEARNER)
            ready = leader.ready()
            log.save(ready)
            leader.saved(ready)
            for _, message in (*ready.messages, *ready.held):
                joiner.step(1, message)
            ready = joiner.ready()
            joiner_log.save(ready)
            joiner.saved(ready)
            for _, message in ready.held:
                leader.step(2, message)
        applied: list[Entry] = []
        while entries := joiner.committed():
            applied += entries
        assert [entry.index for entry in applied] == [1, 2, 3]
        assert joiner.members == Members((1,), (2,))


STEPS = st.lists(st.tuples(st.sampled_from(["entry", "change", "truncate", "forget", "restore"]), st.integers(0, 9)))


@given(STEPS)
def test_the_history_against_a_list(steps: list[tuple[str, int]]) -> None:
    """`known[i]` are the members as of entry i; `applied` is the first that anybody asks for."""
    known, applied = [Members((1,))], 0
    membership = Membership(0, known[0])
    for step, number in steps:
        last = len(known) - 1
        if step == "entry":
            known.append(known[-1])
        elif step == "change":
            known.append(Members((1, 2 + number), (20 + last,)))
            membership.append(last + 1, known[-1])
        elif step == "truncate":
            index = max(applied, last - number) + 1
            del known[index:]
            membership.truncate(index)
        elif step == "forget":
            applied = max(applied, last - number)
            membership.forget(applied)
        else:
            applied = last + number + 1
            known += [Members((3,))] * (number + 1)
            membership.restore(applied, known[-1])
        assert membership.current == known[-1]
        assert [membership.at(index) for index in range(applied, len(known))] == known[applied:]
        changes = [index for index in range(applied + 1, len(known)) if known[index] is not known[index - 1]]
        assert membership.changed_at == changes[-1] if changes else membership.changed_at <= applied


def test_what_was_before_the_snapshot_is_forgotten() -> None:
    membership = Membership(0, THREE)
    membership.restore(5, THREE)
    with pytest.raises(IndexError, match="forgotten"):
        membership.at(4)
