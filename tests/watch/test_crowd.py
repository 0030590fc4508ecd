"""Many watches of one range: served in turns, and none of them notices."""

import itertools
from random import Random

import pytest
import trio

from core.kv.commands import Compact, Put, Txn
from core.watch import hub as hub_module
from core.watch import watcher as watcher_module
from tests.watch.test_keys import ALL, Reader, draw, due
from tests.watch.world import World


@pytest.mark.parametrize("seed", range(20))
async def test_every_watch_of_a_crowd_gets_exactly_what_concerns_it(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = Random(seed)
    monkeypatch.setattr(hub_module, "CROWD", random.choice([1, 2, 5]))
    monkeypatch.setattr(watcher_module, "BUFFER", random.choice([1, 5, 100]))
    monkeypatch.setattr(watcher_module, "SLICE", random.choice([2, 500]))
    world = World()
    ranges = [ALL, (b"/a", b"/b"), (b"x", None)]
    readers: list[Reader] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.hub.run)
        for step in range(200):
            world.do(*[draw(random) for _ in range(random.randrange(1, 4))], time=step + 1)
            if random.random() < 0.3:
                start = random.choice([0, 0, 1, random.randrange(1, world.keyspace.revision + 5)])
                readers.append(Reader(world, *random.choice(ranges), start, puts=True, deletes=True))
            for reader in readers:
                if random.random() < 0.2:
                    reader.take()
            if random.random() < 0.02:
                world.hub.reset()
            if random.random() < 0.6:
                await trio.lowlevel.checkpoint()
        while not world.hub.settled:
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    for reader in readers:
        reader.take_all()
        assert reader.got == due(world, *reader.ends, reader.start)


async def test_publishing_to_a_crowd_takes_no_time_and_others_are_served_between() -> None:
    world = World()
    crowd = [Reader(world, b"a", b"b", 0, puts=True, deletes=True) for _ in range(hub_module.CROWD * 4)]
    alone = Reader(world, b"aa", None, 0, puts=True, deletes=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.hub.run)
        await trio.testing.wait_all_tasks_blocked()
        world.do(Put(b"aa"))
        assert alone.calls == 1
        assert not any(reader.calls for reader in crowd)
        assert not world.hub.settled
        served = [0]
        while not world.hub.settled:
            await trio.lowlevel.checkpoint()
            served.append(sum(reader.calls for reader in crowd))
        assert served[-1] == len(crowd)
        steps = [later - before for before, later in itertools.pairwise(served)]
        assert max(steps) <= 2 * hub_module.CROWD, "between two turns of this task at most two of the other"
        nursery.cancel_scope.cancel()


async def test_whoever_leaves_or_comes_meanwhile_is_told_nothing() -> None:
    world = World()
    crowd = [Reader(world, b"a", b"b", 0, puts=True, deletes=True) for _ in range(hub_module.CROWD * 2)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.hub.run)
        await trio.testing.wait_all_tasks_blocked()
        world.do(Put(b"aa"))
        for reader in crowd[::2]:
            reader.watcher.close()
        late = Reader(world, b"a", b"b", 0, puts=True, deletes=True)
        while not world.hub.settled:
            await trio.lowlevel.checkpoint()
        assert not any(reader.calls for reader in [late, *crowd[::2]])
        assert all(reader.calls for reader in crowd[1::2])
        nursery.cancel_scope.cancel()


async def test_a_reset_in_the_middle_of_serving_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "CROWD", 20)
    world = World()
    crowd = [Reader(world, b"a", b"b", 0, puts=True, deletes=True) for _ in range(hub_module.CROWD * 2)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.hub.run)
        await trio.testing.wait_all_tasks_blocked()
        world.do(Txn(success=(Put(b"a1"), Put(b"a2"))))
        await trio.lowlevel.checkpoint()
        world.apply(Put(b"a3"))
        world.hub.reset()
        world.do(Put(b"a4"))
        while not world.hub.settled:
            await trio.lowlevel.checkpoint()
        world.do(Compact(2))
        for reader in crowd:
            reader.take_all()
            assert reader.got == due(world, b"a", b"b", 2)
        nursery.cancel_scope.cancel()


async def test_what_waits_for_a_crowd_is_bounded_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "CROWD", 20)
    world = World()
    crowd = [Reader(world, b"a", b"b", 0, puts=True, deletes=True) for _ in range(hub_module.CROWD * 2)]
    late = Reader(world, b"a", b"b", 150, puts=True, deletes=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.hub.run)
        await trio.testing.wait_all_tasks_blocked()
        crowd[0].watcher.close()
        for number in range(300):
            world.do(Put(b"aa", b"%d" % number), Put(b"ab"))
            if number % 100 == 50:
                await trio.lowlevel.checkpoint()
            assert sum(len(waiting.offers) for waiting in world.hub._crowds.values()) <= watcher_module.BUFFER
        while not world.hub.settled:
            await trio.lowlevel.checkpoint()
        for reader in [late, *crowd[1:]]:
            reader.take_all()
            assert reader.got == due(world, b"a", b"b", reader.start)
        nursery.cancel_scope.cancel()
