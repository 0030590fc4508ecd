"""Watches against a plain list of everything that happened: ordered, unique, complete, however slow the reader."""

from collections.abc import Sequence
from random import Random

import pytest
import trio

from core.kv import paths
from core.kv.commands import Command, Compact, Delete, Expire, Put, Set, Update
from core.kv.errors import TreeError
from core.kv.records import Event, Record
from core.watch import watcher as watcher_module
from core.watch.path import PathWatcher
from core.watch.watcher import BUFFER
from tests.watch.world import World


def concerns(record: Record, path: bytes, recursive: bool) -> bool:
    """The rules of v2's watches once more, in the plainest words."""
    if record.refresh:
        return False
    key, watched = record.key.decode().split("/")[1:], path.decode().split("/")[1:] if path != b"/" else []
    if key == watched:
        return True
    if record.gone and record.directory and watched[: len(key)] == key:
        return True
    below = key[len(watched) :]
    return recursive and key[: len(watched)] == watched and not any(name.startswith("_") for name in below)


def due(world: World, path: bytes, recursive: bool, start: int) -> list[tuple[int, bytes]]:
    return [
        (event.record.index, event.record.key)
        for event in world.happened
        if event.record.index >= start and not event.record.silent and concerns(event.record, path, recursive)
    ]


async def read_all(watcher: PathWatcher) -> list[Event]:
    """Everything the watcher has to give now."""
    found: list[Event] = []
    with trio.move_on_after(0.01):
        while True:
            found += await watcher.next()
    return found


def shown(events: Sequence[Event]) -> list[tuple[int, bytes]]:
    return [(event.record.index, event.record.key) for event in events]


PATHS = [b"/a", b"/a/b", b"/a/b/c", b"/a/_h", b"/a/_h/x", b"/d", b"/d/e", b"/_s/t"]


def draw(random: Random) -> Command:
    path = random.choice(PATHS)
    match random.randrange(6):
        case 0:
            return Delete(path, recursive=True)
        case 1:
            return Set(path, directory=True)
        case 2:
            return Update(path, refresh=True, ttl=100)
        case 3:
            return Set(path, ttl=0)
        case 4:
            return Expire(3)
        case _:
            return Set(path, b"%d" % random.randrange(100))


@pytest.mark.parametrize("seed", range(30))
async def test_every_watch_gets_exactly_what_concerns_it(
    seed: int, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = Random(seed)
    monkeypatch.setattr(watcher_module, "BUFFER", random.choice([1, 3, 100]))
    monkeypatch.setattr(watcher_module, "SLICE", random.choice([1, 2, 500]))
    monkeypatch.setattr(watcher_module, "ROWS", random.choice([0, 5, 64]))
    world = World()
    watches: list[tuple[PathWatcher, bytes, bool, int]] = []
    got: list[list[Event]] = []
    for step in range(300):
        world.do(*[draw(random) for _ in range(random.randrange(1, 4))], time=step + 1)
        if random.random() < 0.1:
            path, recursive = random.choice([*PATHS, b"/"]), random.random() < 0.5
            start = random.choice([0, 1, random.randrange(1, world.keyspace.revision + 20)])
            watches.append(
                (
                    world.hub.watch(path, recursive=recursive, start=start),
                    path,
                    recursive,
                    start or world.keyspace.revision + 1,
                )
            )
            got.append([])
        for number, (watcher, *_) in enumerate(watches):
            if random.random() < 0.05:
                with trio.move_on_after(0.001 * random.randrange(3)):
                    got[number] += await watcher.next()
    for number, (watcher, path, recursive, start) in enumerate(watches):
        got[number] += await read_all(watcher)
        assert shown(got[number]) == due(world, path, recursive, start)
    previous = {event.record.position: event.previous for event in world.happened}
    assert all(event.previous == previous[event.record.position] for events in got for event in events)


async def test_the_check_notices_a_buffer_that_drops(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drop_when_full(watcher: PathWatcher, event: Event, weight: int) -> None:
        if len(watcher._events or ()) < BUFFER:
            offer(watcher, event, weight)

    offer = PathWatcher.offer

    monkeypatch.setattr(PathWatcher, "offer", drop_when_full)
    world = World()
    with world.hub.watch(b"/a") as watcher:
        for _ in range(BUFFER + 1):
            world.do(Set(b"/a"))
        assert shown(await read_all(watcher)) != due(world, b"/a", False, 2)


async def test_a_cancelled_wait_loses_nothing() -> None:
    world = World()
    with world.hub.watch(b"/a") as watcher:
        for _ in range(3):
            world.do(Set(b"/a"))
            with trio.CancelScope() as scope:
                scope.cancel()
                await watcher.next()
        assert len(await watcher.next()) == 3


async def test_a_slow_reader_costs_a_buffer_and_misses_nothing() -> None:
    world = World()
    with world.hub.watch(b"/", recursive=True) as watcher:
        for number in range(5000):
            world.do(Set(b"/%d" % number))
        assert len(watcher._events or ()) <= BUFFER
        found: list[Event] = []
        while len(found) < 5000:
            found += await watcher.next()
    assert shown(found) == [(number + 2, b"/%d" % number) for number in range(5000)]


async def test_compacted_history_is_said_at_once_or_when_it_is_reached() -> None:
    world = World()
    for _ in range(10):
        world.do(Set(b"/a"))
    slow = world.hub.watch(b"/a", start=2)
    world.do(Compact(8))
    with pytest.raises(TreeError) as refusal:
        world.hub.watch(b"/a", start=7)
    assert (refusal.value.code, refusal.value.cause) == (401, "the requested history has been cleared [8/7]")
    with pytest.raises(TreeError) as refusal:
        await slow.next()
    assert refusal.value.code == 401
    assert len(await world.hub.watch(b"/a", start=8).next()) == 4


def test_closing_forgets() -> None:
    world = World()
    first, second = world.hub.watch(b"/a"), world.hub.watch(b"/a")
    assert world.hub.open == 2
    first.close()
    first.close()
    assert world.hub.open == 1
    second.close()
    world.do(Set(b"/a"))
    assert world.hub.open == 0
    assert not world.hub._paths


def test_keys_v2_cannot_see_wake_nobody() -> None:
    world = World()
    assert not paths.is_clean(b"/a//b")

    with world.hub.watch(b"/a", recursive=True) as watcher:
        world.do(Put(b"/a//b"), Put(b"/a/b"))
        assert shown(watcher._events or []) == [(3, b"/a/b")]


async def test_a_long_poll_takes_no_more_than_it_gives() -> None:
    world = World()
    for _ in range(1000):
        world.do(Set(b"/a"))
    with world.hub.watch(b"/a", start=2) as watcher:
        assert shown(await watcher.next(1)) == [(2, b"/a")]
        assert shown(await watcher.next(2)) == [(3, b"/a"), (4, b"/a")]
    with world.hub.watch(b"/a") as watcher:
        world.do(Set(b"/a"), Set(b"/a"))
        assert len(await watcher.next(1)) == 1
        assert len(await watcher.next()) == 1


async def test_watches_that_are_behind_hold_the_loop_for_one_slice_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher_module, "SLICE", 5)
    monkeypatch.setattr(watcher_module, "ROWS", 0)
    world = World()
    for _ in range(100):
        world.do(Set(b"/other", b"v"))
    read = 0
    read_on = PathWatcher.read_on

    def counted(watcher: PathWatcher, limit: int) -> list[Event]:
        nonlocal read
        read += 1
        return read_on(watcher, limit)

    monkeypatch.setattr(PathWatcher, "read_on", counted)
    most = 0
    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(world.hub.watch(b"/mine%d" % number, start=2).next)
        while read < 50 * 100 / 5:
            before = read
            await trio.lowlevel.checkpoint()
            most = max(most, read - before)
        nursery.cancel_scope.cancel()
    assert most <= 2, "between two turns of this task at most the slices of two rounds"
