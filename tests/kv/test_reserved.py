"""The reserved keys in the state machine: worlds of their own."""

import pytest

from core.kv import commands as c
from core.kv.access import Span, prefix_end
from core.kv.errors import LeaseNotFoundError, ReservedKeyError
from core.kv.keyspace import Keyspace
from core.kv.ledger import SYSTEM_PREFIX
from core.kv.memory import MemoryStore
from core.kv.outcomes import DeleteDone, RangeDone, TxnDone
from core.kv.reading import SCANNED
from core.kv.reserved import FLEET_PREFIX, NOWHERE, UPDATE_PREFIX, WORLDS
from core.kv.transaction import Table
from core.sched import keys
from core.update import keys as update_keys

UNIT = FLEET_PREFIX + b"units/a.service"
OTHER = FLEET_PREFIX + b"units/b.service"
FLEET_END, UPDATE_END = map(prefix_end, (FLEET_PREFIX, UPDATE_PREFIX))
CHANNEL = UPDATE_PREFIX + b"channels/stable"


class World:
    def __init__(self) -> None:
        self.store = MemoryStore()
        self.keyspace = Keyspace(self.store)
        self._log = 0

    def do(self, command: c.Command, time: int = 1) -> object:
        self._log += 1
        decoded = c.decode(c.encode(c.Batch(time, (command,))))
        return self.keyspace.apply(self._log, 1, decoded)[0][0]

    def names(self, key: bytes, end: bytes | None, at: int = 0) -> list[bytes]:
        """A range as the log reads it, which must be what the pages say, both ways."""
        done = self.keyspace.range(c.Range(key, end, at))
        found = [record.key for record in done.records]
        assert done.count == len(found)
        if end is not None:
            part = Span(b"" if key == b"\0" else key, None if end == b"\0" else end)
            assert self.pages(part, at) == found
            assert self.pages(part, at, reverse=True) == found[::-1]
        return found

    def pages(self, part: Span, at: int = 0, *, reverse: bool = False) -> list[bytes]:
        found: list[bytes] = []
        rest: Span | None = part
        while rest is not None:
            page = self.keyspace.page(rest, at, 1 << 60, reverse=reverse)
            assert page.count == len(page.records)
            found += [record.key for record in page.records]
            rest = page.rest
        return found


@pytest.fixture
def world() -> World:
    world = World()
    for key in (b"\0a", UNIT, OTHER, CHANNEL, b"/a", b"z"):
        world.do(c.Put(key, b"1"))
    return world


@pytest.mark.parametrize(
    ("key", "end", "expected"),
    [
        (b"\0", b"\0", [b"\0a", b"/a", b"z"]),
        (b"\0a", b"\0", [b"\0a", b"/a", b"z"]),
        (SYSTEM_PREFIX, b"\0", [b"/a", b"z"]),
        (FLEET_PREFIX[:-1], FLEET_END, []),
        (FLEET_PREFIX, FLEET_END, [UNIT, OTHER]),
        (FLEET_PREFIX, b"\0", [UNIT, OTHER]),
        (OTHER, b"zz", [OTHER]),
        (UNIT, None, [UNIT]),
        (FLEET_END, b"\0", [b"/a", b"z"]),
        (FLEET_PREFIX, UPDATE_END, [UNIT, OTHER]),
        (FLEET_END, UPDATE_END, []),
        (UPDATE_PREFIX, UPDATE_END, [CHANNEL]),
        (UPDATE_PREFIX, b"\0", [CHANNEL]),
        (CHANNEL, None, [CHANNEL]),
        (UPDATE_END, b"\0", [b"/a", b"z"]),
    ],
)
def test_a_range_shows_the_world_it_begins_in(
    world: World, key: bytes, end: bytes | None, expected: list[bytes]
) -> None:
    assert world.names(key, end) == expected
    compare = c.Compare(key, "version", ">", 0, end)
    done = world.do(c.Txn((compare,), (c.Range(key, end),), (c.Range(key, end),)))
    assert isinstance(done, TxnDone)
    assert done.succeeded == bool(expected)
    read = done.responses[0]
    assert isinstance(read, RangeDone)
    assert ([record.key for record in read.records], read.count) == (expected, len(expected))
    deleted = world.do(c.DeleteRange(key, end))
    assert isinstance(deleted, DeleteDone)
    assert [record.key for record in deleted.deleted] == expected


def test_they_have_history(world: World) -> None:
    first = world.keyspace.revision
    world.do(c.Put(UNIT, b"2"))
    world.do(c.DeleteRange(OTHER))
    assert world.names(FLEET_PREFIX, FLEET_END) == [UNIT]
    assert world.names(FLEET_PREFIX, FLEET_END, first) == [UNIT, OTHER]
    key = world.keyspace.key(UNIT, first)
    assert key is not None
    assert key.value == b"1"


def test_a_page_that_ends_among_them_does_not_go_on_there() -> None:
    world = World()
    for prefix in WORLDS:
        for number in range(SCANNED + 10):
            world.do(c.Put(prefix + b"states/%05d" % number))
    world.do(c.Put(b"/a"))
    assert world.names(b"\0", b"\0") == [b"/a"]
    for prefix in WORLDS:
        assert len(world.names(prefix, prefix_end(prefix))) == SCANNED + 10


def test_other_system_records_stay_closed(world: World) -> None:
    for key in (SYSTEM_PREFIX + b"secret", NOWHERE, FLEET_END, FLEET_PREFIX[:-1], UPDATE_END, UPDATE_PREFIX[:-1]):
        assert isinstance(world.do(c.Put(key)), ReservedKeyError)
    world.store.put(Table.KEY, SYSTEM_PREFIX + b"zero", b"no row")
    assert world.names(FLEET_PREFIX, b"\0") == [UNIT, OTHER]


@pytest.mark.parametrize("reserved", [UNIT, CHANNEL])
def test_the_lease_of_a_host_is_not_for_others(world: World, reserved: bytes) -> None:
    world.do(c.LeaseGrant(7, 10))
    world.do(c.Put(b"/ordinary", b"", 7))
    assert not isinstance(world.do(c.LeaseKeepAlive(7)), Exception)
    world.do(c.Put(reserved, b"", 7))
    assert isinstance(world.do(c.LeaseKeepAlive(7)), ReservedKeyError)
    assert isinstance(world.do(c.LeaseRevoke(7)), ReservedKeyError)
    assert not isinstance(world.do(c.LeaseKeepAlive(7, reserved=True)), Exception)
    world.do(c.LeaseGrant(8, 10))
    assert not isinstance(world.do(c.LeaseRevoke(8)), Exception)
    assert world.names(reserved, None) == [reserved]
    assert not isinstance(world.do(c.LeaseRevoke(7, reserved=True)), Exception)
    assert world.names(reserved, None) == []
    assert isinstance(world.do(c.LeaseRevoke(7)), LeaseNotFoundError)


def test_they_end_with_their_lease(world: World) -> None:
    world.do(c.LeaseGrant(7, 10))
    world.do(c.Put(UNIT, b"", 7))
    world.do(c.Expire(100), time=20 * 10**9)
    assert world.names(FLEET_PREFIX, FLEET_END) == [OTHER]


def test_they_are_those_of_the_rules() -> None:
    assert keys.PREFIX == FLEET_PREFIX
    assert update_keys.PREFIX == UPDATE_PREFIX


def test_no_world_is_in_another() -> None:
    assert sorted(WORLDS) == list(WORLDS)
    assert not any(one.startswith(other) for one in WORLDS for other in WORLDS if one is not other)


def test_v2_never_sees_them(world: World) -> None:
    names = [record.key for record in world.keyspace.children(b"/").records]
    assert names == [b"/a"]
