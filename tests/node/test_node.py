"""The drive loop: group commit, the order of save and answer, fullness, crashes, the end."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from core.kv.commands import Delete, Put, Set, Txn
from core.kv.errors import TreeError
from core.kv.outcomes import TxnDone
from core.kv.records import Event
from core.node import backlog, saving
from core.node import queue as queue_module
from core.node.errors import NoLeaderError, NoSpaceError, OverloadedError
from core.node.keeper import RETRY_SECONDS, Keeper
from tests.node.disk import Disk, Machine


@asynccontextmanager
async def running(machine: Machine) -> AsyncIterator[None]:
    """Start and run a node; stop it in order at the end."""
    await machine.node.start()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(machine.node.run)
        yield
        machine.node.stop()


def slow_down(machine: Machine) -> None:
    """Let the disk seem so slow that commits go to a thread."""
    for _ in range(9):
        machine.node.pace.measured(1.0)


async def ask(machine: Machine, command: object) -> object:
    """Propose and wait for the outcome."""
    outcomes: list[object] = []
    answered = trio.Event()

    def done(outcome: object) -> None:
        outcomes.append(outcome)
        answered.set()

    machine.node.propose(command, done)  # type: ignore[arg-type]
    await answered.wait()
    return outcomes[0]


async def test_what_waits_is_one_commit() -> None:
    disk = Disk()
    machine = Machine(disk)
    outcomes: list[object] = []
    async with running(machine):
        before = disk.commits
        for number in range(200):
            machine.node.propose(Set(b"/%d" % number), outcomes.append)
        await ask(machine, Set(b"/last"))
        assert disk.commits == before + 1
    assert [outcome.record.index for outcome in outcomes if isinstance(outcome, Event)] == list(range(2, 202))


async def test_a_refused_command_is_answered_and_costs_no_index() -> None:
    machine = Machine(Disk())
    async with running(machine):
        refusal = await ask(machine, Delete(b"/nothing"))
        assert isinstance(refusal, TreeError)
        assert refusal.code == 100
        assert machine.node.revision == 1


@pytest.mark.parametrize("in_thread", [False, True])
async def test_nothing_is_answered_or_shown_before_it_is_saved(in_thread: bool) -> None:
    disk = Disk()
    machine = Machine(disk)
    answered: list[object] = []
    seen: list[tuple[int, int]] = []

    async with running(machine):
        if in_thread:
            slow_down(machine)
        disk.before_commit = lambda: seen.append((len(answered), machine.node.revision))
        machine.node.propose(Set(b"/a"), answered.append)
        machine.node.propose(Set(b"/b"), answered.append)
        await ask(machine, Set(b"/c"))
    assert seen == [(0, 1)]
    assert len(answered) == 2


async def test_a_full_queue_says_so_and_proposes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "QUEUE_COMMANDS", 3)
    machine = Machine(Disk())
    outcomes: list[object] = []
    async with running(machine):
        for number in range(3):
            machine.node.propose(Set(b"/%d" % number), outcomes.append)
        with pytest.raises(OverloadedError):
            machine.node.propose(Set(b"/3"), outcomes.append)
    assert len(outcomes) == 3
    assert machine.node.revision == 4


async def test_large_commands_are_bounded_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "BATCH_BYTES", 10_000)
    disk = Disk()
    machine = Machine(disk)
    outcomes: list[object] = []
    async with running(machine):
        before = disk.commits
        for number in range(10):
            machine.node.propose(Set(b"/%d" % number, b"v" * 3000), outcomes.append)
    assert len(outcomes) == 10
    assert disk.commits == before + 4


async def test_transactions_are_bounded_by_what_they_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty of them at once were one batch, and held the loop for 60 ms."""
    monkeypatch.setattr(queue_module, "BATCH_OPERATIONS", 10)
    disk = Disk()
    machine = Machine(disk)
    outcomes: list[object] = []
    async with running(machine):
        before = disk.commits
        for number in range(6):
            machine.node.propose(Txn((), tuple([Put(b"%d-%d" % (number, each)) for each in range(4)])), outcomes.append)
        machine.node.propose(Txn((), tuple([Put(b"large-%d" % each) for each in range(20)])), outcomes.append)
    assert [outcome.revision for outcome in outcomes if isinstance(outcome, TxnDone)] == [5, 9, 13, 17, 21, 25, 45]
    assert disk.commits == before + 4


async def test_many_answers_leave_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between them others have their turn, and a node that is told to stop gives those it owes."""
    monkeypatch.setattr(backlog, "YIELD_SECONDS", 0.0)
    machine = Machine(Disk())
    answered: list[object] = []
    seen: list[int] = []
    async with running(machine):
        for number in range(5 * backlog.ANSWERS):
            machine.node.propose(Set(b"/%d" % number), answered.append)
        machine.node.stop()
        while len(answered) < 5 * backlog.ANSWERS:
            await trio.lowlevel.checkpoint()
            seen.append(len(answered))
    # The loop may take two turns while this task has one.
    assert max(after - before for before, after in itertools.pairwise([0, *seen])) <= 2 * backlog.ANSWERS


async def test_without_room_the_command_is_refused_and_later_ones_go_on() -> None:
    disk = Disk()
    machine = Machine(disk)
    async with running(machine):
        await ask(machine, Set(b"/kept", b"1"))
        disk.room, disk.reserve = 0, False
        assert isinstance(await ask(machine, Set(b"/lost", b"1")), NoSpaceError)
        with pytest.raises(NoSpaceError):
            machine.node.propose(Set(b"/more"), lambda _: None)
        disk.room = 10
        assert isinstance(await ask(machine, Delete(b"/kept")), Event)
    again = Machine(disk)
    async with running(again):
        assert [child.key for child in again.keyspace.children(b"/").records] == []
        assert again.node.revision == 3


async def test_the_reserve_lets_a_delete_through() -> None:
    disk = Disk()
    machine = Machine(disk)
    async with running(machine):
        await ask(machine, Set(b"/a"))
        disk.room = 0
        assert isinstance(await ask(machine, Delete(b"/a")), Event)
        assert not disk.reserve
        assert machine.node.headroom.shortage


async def test_room_comes_back_by_itself(autojump_clock: trio.testing.MockClock) -> None:
    disk = Disk()
    machine = Machine(disk)
    async with running(machine), trio.open_nursery() as nursery:
        nursery.start_soon(Keeper(machine.node, retention=0, revisions=1000).run)
        disk.low = True
        await trio.sleep(2 * RETRY_SECONDS)
        with pytest.raises(NoSpaceError):
            machine.node.propose(Set(b"/a"), lambda _: None)
        assert isinstance(await ask(machine, Delete(b"/b")), TreeError)
        disk.low = False
        await trio.sleep(2 * RETRY_SECONDS)
        assert isinstance(await ask(machine, Set(b"/a")), Event)
        nursery.cancel_scope.cancel()


async def test_a_node_that_starts_without_room_serves_reads_and_leads_later(
    autojump_clock: trio.testing.MockClock,
) -> None:
    disk = Disk()
    machine = Machine(disk)
    async with running(machine):
        await ask(machine, Set(b"/a", b"1"))
    disk.room, disk.reserve = 0, False
    again = Machine(disk)
    async with running(again), trio.open_nursery() as nursery:
        assert again.keyspace.node(b"/a").value == b"1"
        errors: list[object] = []
        again.node.confirm(errors.append)
        assert isinstance(errors[0], NoLeaderError)
        with pytest.raises(NoLeaderError):
            again.node.propose(Delete(b"/a"), errors.append)
        nursery.start_soon(Keeper(again.node, retention=0, revisions=1000).run)
        disk.room = 100
        await trio.sleep(2 * RETRY_SECONDS)
        assert isinstance(await ask(again, Delete(b"/a")), Event)
        nursery.cancel_scope.cancel()


async def test_above_the_quota_only_data_is_refused() -> None:
    machine = Machine(Disk(), quota=1000)
    async with running(machine):
        await ask(machine, Set(b"/a"))
        machine.state.used = 1000
        machine.node.headroom.look()
        with pytest.raises(NoSpaceError, match="quota"):
            machine.node.propose(Set(b"/b"), lambda _: None)
        assert isinstance(await ask(machine, Delete(b"/a")), Event)


async def test_a_state_that_cannot_be_flushed_waits() -> None:
    disk = Disk()
    machine = Machine(disk)
    async with running(machine):
        await ask(machine, Set(b"/a"))
        machine.state.full = True
        machine.node.flush()
        assert machine.log.dropped == 0
        machine.state.full = False
        machine.node.flush()
        assert machine.log.dropped == machine.node.raft_index


async def test_stopping_carries_out_what_is_queued() -> None:
    disk = Disk()
    machine = Machine(disk)
    outcomes: list[object] = []
    async with running(machine):
        machine.node.propose(Set(b"/a"), outcomes.append)
        machine.node.stop()
        with pytest.raises(NoLeaderError, match="stopping"):
            machine.node.propose(Set(b"/b"), outcomes.append)
    assert len(outcomes) == 1
    assert Machine(disk).keyspace.node(b"/a").key == b"/a"  # flushed: not even a replay is needed


async def test_cancelled_while_a_thread_commits_the_entry_is_whole() -> None:
    disk = Disk()
    machine = Machine(disk)
    await machine.node.start()
    slow_down(machine)
    outcomes: list[object] = []
    with trio.CancelScope() as scope:
        disk.before_commit = lambda: trio.from_thread.run_sync(scope.cancel)
        machine.node.propose(Set(b"/a"), outcomes.append)
        await machine.node.run()
    assert scope.cancelled_caught
    disk.before_commit = lambda: None
    again = Machine(disk)
    async with running(again):
        assert again.keyspace.node(b"/a").key == b"/a"


async def test_a_slow_commit_names_the_disk(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(saving, "SLOW_SECONDS", 0.0)
    machine = Machine(Disk())
    async with running(machine):
        await ask(machine, Set(b"/a"))
    assert "the disk is slow" in caplog.text


async def test_the_quota_is_looked_at_as_often_as_data_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once a second: a fast writer would be far beyond it by then."""
    machine = Machine(Disk(), quota=10_000_000)
    refused = 0
    async with running(machine):
        for number in range(100):
            try:
                await ask(machine, Set(b"/%d" % number, b"v" * 1_000_000))
            except NoSpaceError:
                refused += 1
            else:
                machine.state.used += 1_000_000
    assert refused >= 86
    assert machine.state.used <= 14_000_000


async def test_commands_that_wait_in_vain_are_noticed(autojump_clock: trio.testing.MockClock) -> None:
    machine = Machine(Disk())
    await machine.node.start()
    assert not machine.node.is_stuck(20)
    machine.node.propose(Set(b"/a"), lambda _: None)
    await trio.sleep(10)
    assert not machine.node.is_stuck(20)
    await trio.sleep(11)
    assert machine.node.is_stuck(20)
