"""Watches and the keys of the system: only a watch that begins in their world hears of them."""

import pytest

from core.kv import commands as c
from core.kv.access import prefix_end
from core.kv.ledger import SYSTEM_PREFIX
from core.kv.reserved import FLEET_PREFIX, UPDATE_PREFIX
from tests.watch.world import World

UNIT = FLEET_PREFIX + b"units/a.service"
GROUP = UPDATE_PREFIX + b"groups/default"
FLEET_END, UPDATE_END = map(prefix_end, (FLEET_PREFIX, UPDATE_PREFIX))


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize(
    ("key", "end", "expected"),
    [
        (b"\0", b"\0", [b"\0a", b"/a"]),
        (SYSTEM_PREFIX, b"\0", [b"/a"]),
        (FLEET_PREFIX[:-1], FLEET_END, []),
        (FLEET_PREFIX, FLEET_END, [UNIT, UNIT]),
        (FLEET_PREFIX, b"\0", [UNIT, UNIT]),
        (FLEET_PREFIX, b"zz", [UNIT, UNIT]),
        (FLEET_PREFIX, UPDATE_END, [UNIT, UNIT]),
        (UNIT, None, [UNIT, UNIT]),
        (UPDATE_PREFIX, UPDATE_END, [GROUP]),
        (UPDATE_PREFIX, b"\0", [GROUP]),
        (FLEET_END, b"\0", [b"/a"]),
    ],
)
def test_a_watch_hears_of_the_world_it_begins_in(
    live: bool, key: bytes, end: bytes | None, expected: list[bytes]
) -> None:
    world = World()
    start = world.keyspace.revision + 1
    if live:
        watch = world.hub.watch_keys(key, end, lambda _: None)
    for command in (c.Put(b"\0a"), c.Put(UNIT), c.Put(GROUP), c.Put(b"/a"), c.DeleteRange(UNIT)):
        world.do(command)
    if not live:
        watch = world.hub.watch_keys(key, end, lambda _: None, start=start)
    assert watch.live == live
    found = []
    while watch.waiting:
        found += [event.record.key for event in watch.take()]
    assert found == expected
    watch.close()
    assert world.hub.open == 0


def test_v2_hears_nothing_of_them() -> None:
    world = World()
    with world.hub.watch(b"/", recursive=True) as watch:
        world.do(c.Put(UNIT))
        world.do(c.Put(GROUP))
        assert not watch.waiting
        world.do(c.Put(b"/a"))
        assert watch.waiting


def test_watches_of_the_program_itself_are_not_counted() -> None:
    world = World()
    for key, count in ((GROUP, 0), (UNIT, 0), (b"/a", 1)):
        watch = world.hub.watch_keys(key, None, lambda _: None)
        assert world.hub.open == count
        watch.close()
        assert world.hub.open == 0
