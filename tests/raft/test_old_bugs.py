"""Bugs that etcd had, by the numbers of its issues: those that rules of consensus can have."""

from core.raft.machine import Raft
from core.raft.messages import HardState
from tests.raft.memory import only_member
from tests.raft.scenarios import Interpreter


def play(*commands: str) -> list[str]:
    """What the last command came to."""
    interpreter = Interpreter()
    for command in commands:
        told = interpreter.carry_out(command)
    return told


def test_14370_the_only_member_acknowledged_before_its_disk_had_it() -> None:
    raft = only_member()
    raft.campaign()
    raft.saved(raft.ready())
    while raft.committed():
        pass
    raft.propose(b"x")
    ready = raft.ready()
    assert not raft.committed()
    assert raft.commit == 1
    raft.saved(ready)
    assert [entry.data for entry in raft.committed()] == [b"x"]


def test_14370_nor_does_a_member_of_many_apply_what_its_disk_lacks() -> None:
    setting = ("members 1 2 3", "elect 1", "slow 1", "propose 1 x")
    assert "1 applies 3 x" not in play(*setting, "settle")
    assert play(*setting, "settle", "save 1") == ["1 applies 3 x"]


def test_13766_a_crash_between_applying_and_flushing_applied_something_twice() -> None:
    """The entries behind the flushed one come again, each once, the same ones, with the members as of then."""
    raft = only_member()
    raft.campaign()
    raft.propose(b"a")
    raft.propose(b"b")
    ready = raft.ready()
    raft.saved(ready)
    first = [*raft.committed()]
    for flushed in range(4):
        again = only_member(HardState(1, 1, 3), flushed, ready.entries[flushed:])
        assert [*again.committed()] == first[flushed:]
        assert not again.committed()


def test_13766_what_was_applied_is_never_replaced() -> None:
    """A member cut off after it applied entries comes back to a cluster with other uncommitted ones."""
    told = play(
        *("members 1 2 3", "elect 1", "propose 1 a", "settle", "isolate 1", "propose 1 lost", "elect 2"),
        *("propose 2 b", "settle", "crash 1", "start 1", "heal", "tick 2", "settle"),
    )
    assert "1 applies 4 -, 5 b" in told or "1 applies 3 a, 4 -, 5 b" in told


def test_15271_a_member_showed_what_it_forgot_in_a_crash() -> None:
    """What a member has applied it finds on its disk again: its revision does not go back."""
    setting = ("members 1 2 3", "elect 1", "slow 2", "propose 1 x")
    assert not [line for line in play(*setting, "settle") if line.startswith("2 applies")]
    lines = play(*setting, "settle", "fast 2", "settle", "crash 2", "crash 1", "start 2", "show 2")
    assert "log 1..3 " in lines[0]


def test_20418_a_paused_leader_answered_a_read_by_an_old_round() -> None:
    """Answers to the round of an earlier read, which come when it wakes, prove nothing for the read it gets then."""
    setting = ("members 1 2 3", "elect 1", "read 1 70", "deliver 1>*", "keep 2>1", "keep 3>1")
    others_go_on = ("isolate 1", "elect 2", "propose 2 new", "settle", "heal")
    told = play(*setting, *others_go_on, "read 1 71", "drop 1>*", "release", "deliver")
    assert "1 may read 70 at 2" in told
    assert not [line for line in told if line.startswith("1 may read 71")]


def test_20418_each_round_has_an_id_of_its_own() -> None:
    raft = only_member()
    raft.campaign()
    raft.saved(raft.ready())
    lead = raft.lead
    assert lead is not None
    rounds = []
    for token in range(3):
        raft.read(token)
        raft.ready()
        rounds.append(lead.reads.round)
    assert rounds == [1, 2, 3]
    assert isinstance(raft, Raft)
