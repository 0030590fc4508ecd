"""What time brings: expiry by cluster time alone, leases across an outage, compaction, the wall clock's steps."""

import pytest
import trio

from core.kv.commands import Range, Set
from core.kv.errors import CompactedError, TreeError
from core.node.clock import ClusterClock
from core.node.keeper import CLOCK_SECONDS, COMPACT_SECONDS, Keeper
from tests.node.disk import Disk, Machine
from tests.node.test_node import ask, running


async def test_a_hundred_ttls_due_together_expire_together(autojump_clock: trio.testing.MockClock) -> None:
    machine = Machine(Disk())
    async with running(machine), trio.open_nursery() as nursery:
        nursery.start_soon(Keeper(machine.node, retention=0, revisions=1000).run)
        for number in range(100):
            machine.node.propose(Set(b"/ttl/%d" % number, ttl=5), lambda _: None)
        await trio.sleep(4.9)
        assert len(machine.keyspace.children(b"/ttl").records) == 100
        await trio.sleep(0.4)
        assert machine.keyspace.children(b"/ttl").records == ()
        assert machine.keyspace.expired == 100
        nursery.cancel_scope.cancel()


async def test_an_outage_extends_a_ttl_and_little_else_does(autojump_clock: trio.testing.MockClock) -> None:
    disk = Disk()
    machine = Machine(disk)
    async with running(machine), trio.open_nursery() as nursery:
        nursery.start_soon(Keeper(machine.node, retention=0, revisions=1000).run)
        await ask(machine, Set(b"/a", ttl=100))
        await trio.sleep(50)
        nursery.cancel_scope.cancel()
    await trio.sleep(1000)
    again = Machine(disk)
    async with running(again), trio.open_nursery() as nursery:
        nursery.start_soon(Keeper(again.node, retention=0, revisions=1000).run)
        await trio.sleep(49)
        assert again.keyspace.node(b"/a").key == b"/a"
        await trio.sleep(CLOCK_SECONDS + 2)
        with pytest.raises(TreeError):
            again.keyspace.node(b"/a")
        nursery.cancel_scope.cancel()


async def test_history_is_cut_by_number(autojump_clock: trio.testing.MockClock) -> None:
    machine = Machine(Disk())
    async with running(machine), trio.open_nursery() as nursery:
        nursery.start_soon(Keeper(machine.node, retention=0, revisions=100).run)
        for _ in range(500):
            machine.node.propose(Set(b"/a"), lambda _: None)
        await trio.sleep(2 * COMPACT_SECONDS)
        assert machine.keyspace.floor == machine.node.revision - 100
        with pytest.raises(CompactedError):
            machine.keyspace.range(Range(b"/a", revision=machine.keyspace.floor - 1))
        assert len(list(machine.keyspace.history(machine.keyspace.floor))) == 101
        nursery.cancel_scope.cancel()


async def test_history_is_cut_by_age(autojump_clock: trio.testing.MockClock) -> None:
    machine = Machine(Disk())
    async with running(machine), trio.open_nursery() as nursery:
        nursery.start_soon(Keeper(machine.node, retention=600, revisions=10**9).run)
        for _ in range(10):
            await ask(machine, Set(b"/a"))
            await trio.sleep(60)
        assert machine.keyspace.floor == 1
        await trio.sleep(300)
        await ask(machine, Set(b"/a"))
        await trio.sleep(2 * COMPACT_SECONDS)
        assert 6 <= machine.keyspace.floor <= 7  # the seventh change, at 300 s, was 610 s ago
        nursery.cancel_scope.cancel()


async def test_nothing_waits_for_the_end_of_a_long_sweep(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(Disk())

    def sweep(limit: int) -> int:
        """A slice that takes a hundredth of a second, of a history that takes a minute."""
        autojump_clock.jump(0.01)
        return limit if trio.current_time() < 60 else 0

    async with running(machine), trio.open_nursery() as nursery:
        await ask(machine, Set(b"/short", ttl=5))
        monkeypatch.setattr(machine.keyspace, "sweep", sweep)
        nursery.start_soon(Keeper(machine.node, retention=0, revisions=1000).run)
        await trio.sleep(5.5)
        assert machine.keyspace.expired == 1
        nursery.cancel_scope.cancel()


def test_the_clock_follows_what_was_logged_and_never_goes_back() -> None:
    monotonic, wall = [1000], [5.0]
    clock = ClusterClock(10**12, lambda: monotonic[0], lambda: wall[0])
    assert clock.now() == 10**12
    monotonic[0] += 500
    assert clock.now() == 10**12 + 500
    clock.advance(10**12)
    assert clock.now() == 10**12 + 500
    clock.advance(10**12 + 10_000)
    assert clock.now() == 10**12 + 10_000


def test_a_step_of_the_wall_clock_moves_only_what_is_shown() -> None:
    wall = [1_000_000.0]
    clock = ClusterClock(10**12, lambda: 0, lambda: wall[0])
    assert clock.wall(clock.now() + 5 * 10**9) == pytest.approx(1_000_005.0)
    wall[0] += 3600
    before = clock.now()
    assert clock.wall(clock.now()) == pytest.approx(1_000_000.0)
    clock.follow_wall()
    assert clock.wall(clock.now()) == pytest.approx(1_003_600.0)
    assert clock.now() == before
    wall[0] += 0.05
    clock.follow_wall()
    assert clock.wall(clock.now()) == pytest.approx(1_003_600.0, abs=1e-3)


async def test_history_gives_way_while_room_is_short(autojump_clock: trio.testing.MockClock) -> None:
    machine = Machine(Disk(), quota=1000)
    async with running(machine), trio.open_nursery() as nursery:
        nursery.start_soon(Keeper(machine.node, retention=0, revisions=10**9).run)
        for _ in range(50):
            await ask(machine, Set(b"/a"))
        machine.state.used = 1000
        await trio.sleep(10)
        assert machine.keyspace.floor == machine.node.revision
        machine.state.used = 100
        await trio.sleep(2)
        for _ in range(50):
            await ask(machine, Set(b"/a"))
        await trio.sleep(10)
        assert machine.keyspace.floor == machine.node.revision - 50
        nursery.cancel_scope.cancel()
