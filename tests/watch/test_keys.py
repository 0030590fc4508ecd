"""v3 watches against the plain list of everything that happened: whole revisions, in order, once, none left out."""

import itertools
from collections.abc import Iterator, Sequence
from random import Random

import pytest
import trio

from core.kv.commands import (
    Command,
    Compact,
    Create,
    Delete,
    DeleteRange,
    Expire,
    LeaseGrant,
    LeaseRevoke,
    Put,
    Set,
    Txn,
    Update,
    UserCreate,
)
from core.kv.errors import CompactedError
from core.kv.records import Event
from core.kv.transaction import Table
from core.watch import hub as hub_module
from core.watch import watcher as watcher_module
from core.watch.key import KeyWatcher
from core.watch.watcher import BUFFER
from tests.watch.test_index import holds
from tests.watch.world import World

Told = tuple[int, bytes, bytes | None, bytes | None]
"""Revision, key, value or None for a deletion, value before or None."""

ALL = (b"\0", b"\0")
KEYS = [b"/a", b"/a/b", b"/a/b/c", b"/a/_h", b"/d", b"/d/e", b"x", b"x//y", b"\xff"]
RANGES = [(b"/a", None), (b"/a/b", None), (b"/a/", b"/a0"), (b"/", b"0"), ALL, (b"x", b"\0"), (b"/a/b", b"/d/e")]


def told(event: Event) -> Told:
    record, previous = event.record, event.previous
    return record.revision, record.key, None if record.gone else record.value, previous.value if previous else None


def changes(world: World) -> Iterator[Event]:
    """Every change of a key that v3 can see."""
    for event in world.happened:
        if not event.record.directory and not event.record.key.startswith(b"\0corenode/"):
            yield event


def due(
    world: World, key: bytes, end: bytes | None, start: int, *, puts: bool = True, deletes: bool = True
) -> list[Told]:
    """What a watch must give; within a revision sorted, since only revisions are in order."""
    return sorted(
        told(event)
        for event in changes(world)
        if event.record.revision >= start
        and holds(key, end, event.record.key)
        and (deletes if event.record.gone else puts)
    )


class Reader:
    """Takes what a watch gives and checks that revisions come whole and in order."""

    def __init__(self, world: World, key: bytes, end: bytes | None, start: int, *, puts: bool, deletes: bool) -> None:
        self.calls = 0
        self.got: list[Told] = []
        self.ends = key, end
        self.start = start or world.keyspace.revision + 1
        self.puts, self.deletes = puts, deletes
        self.watcher = world.hub.watch_keys(
            key, end, self._told, start=start, puts=puts, deletes=deletes, previous=True
        )

    def _told(self, watcher: KeyWatcher) -> None:
        self.calls += 1

    def take(self) -> None:
        events = self.watcher.take()
        revisions = [event.record.revision for event in events]
        assert revisions == sorted(revisions)
        if events and self.got:
            assert revisions[0] > self.got[-1][0], "a revision was torn, or told twice"
        self.got += sorted(map(told, events))

    def take_all(self) -> None:
        while self.watcher.waiting:
            self.take()


def draw(random: Random) -> Command:
    key = random.choice(KEYS)
    path = random.choice([key for key in KEYS if key.startswith(b"/")])
    match random.randrange(12):
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
        case 5:
            return DeleteRange(*random.choice(RANGES))
        case 6:
            return Txn(success=tuple(Put(key, b"%d" % random.randrange(100)) for key in random.sample(KEYS, 4)))
        case 7:
            return Put(key, b"leased", lease=random.randrange(1, 4))
        case 8:
            lease = random.randrange(1, 4)
            return LeaseGrant(lease, 5) if random.random() < 0.5 else LeaseRevoke(lease)
        case 9:
            return UserCreate(f"u{random.random()}") if random.random() < 0.5 else Create(path, b"new")
        case _:
            return Put(key, b"%d" % random.randrange(100))


@pytest.mark.parametrize("seed", range(40))
def test_every_watch_gets_exactly_what_concerns_it(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = Random(seed)
    monkeypatch.setattr(watcher_module, "BUFFER", random.choice([1, 3, 100]))
    monkeypatch.setattr(watcher_module, "SLICE", random.choice([1, 2, 500]))
    monkeypatch.setattr(watcher_module, "ROWS", random.choice([0, 3, 64]))
    monkeypatch.setattr(hub_module, "_OFFERS", random.choice([1, 4]))
    world = World()
    readers: list[Reader] = []

    def opened() -> Reader:
        start = random.choice([0, 1, random.randrange(1, world.keyspace.revision + 20)])
        kinds = random.choice([(True, True), (True, True), (True, False), (False, True)])
        return Reader(world, *random.choice(RANGES), start, puts=kinds[0], deletes=kinds[1])

    def between() -> bool:
        if random.random() < 0.05:
            readers.append(opened())
        for reader in readers:
            if random.random() < 0.1:
                reader.take()
        return random.random() > 0.01

    world.between = between if seed % 2 else None
    for step in range(300):
        world.do(*[draw(random) for _ in range(random.randrange(1, 4))], time=step + 1)
        if random.random() < 0.1:
            readers.append(opened())
        for reader in readers:
            if random.random() < 0.1:
                reader.take()
        if random.random() < 0.01:
            world.hub.reset()
    for reader in readers:
        reader.take_all()
        key, end = reader.ends
        assert reader.got == due(world, key, end, reader.start, puts=reader.puts, deletes=reader.deletes)


def test_the_check_notices_a_revision_told_in_two_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KeyWatcher, "_number", lambda _, record: record.index)
    world = World()
    world.do(Txn(success=tuple(Put(b"%d" % number) for number in range(BUFFER * 2))))
    reader = Reader(world, *ALL, 1, puts=True, deletes=True)
    with pytest.raises(AssertionError, match="torn"):
        reader.take_all()


def test_files_that_end_with_their_directory_are_seen() -> None:
    world = World()
    world.do(Set(b"/a/b", b"1"), Set(b"/a/c/d", b"2"), Set(b"/f", b"3"))
    live, late = (Reader(world, *ALL, start, puts=True, deletes=True) for start in (0, 5))
    world.do(Delete(b"/a", recursive=True), Set(b"/f", directory=True), Update(b"/f", refresh=True, ttl=1))
    for reader in (live, late):
        reader.take_all()
        assert reader.got == [(5, b"/a/b", None, b"1"), (5, b"/a/c/d", None, b"2"), (6, b"/f", None, b"3")]


def test_a_start_in_the_middle_of_a_transaction_gives_the_whole_of_it() -> None:
    world = World()
    world.do(Put(b"x"), Txn(success=(Put(b"a"), Put(b"b"), Put(b"c"))), Put(b"y"))
    for start, first in ((1, 2), (2, 2), (3, 5), (4, 5), (5, 5), (6, 6)):
        reader = Reader(world, *ALL, start, puts=True, deletes=True)
        reader.take_all()
        assert reader.got == due(world, *ALL, start)
        assert reader.got[0][0] == first


def test_whoever_is_told_is_told_once_until_it_takes() -> None:
    world = World()
    reader = Reader(world, b"a", None, 0, puts=True, deletes=True)
    world.do(Put(b"a"))
    world.do(Put(b"a"), Put(b"b"))
    assert reader.calls == 1
    reader.take()
    assert not reader.watcher.waiting
    world.do(Put(b"a"))
    assert reader.calls == 2


def test_a_reader_that_takes_nothing_costs_a_buffer() -> None:
    world = World()
    reader = Reader(world, *ALL, 0, puts=True, deletes=True)
    for number in range(1000):
        world.do(Put(b"%d" % number))
        assert len(reader.watcher._events or ()) <= BUFFER
    big = Reader(world, *ALL, 0, puts=True, deletes=True)
    for _ in range(10):
        world.do(Put(b"big", bytes(100_000)))
    assert sum(len(event.record.value) for event in big.watcher._events or ()) <= BUFFER << 12
    for each in (reader, big):
        each.take_all()
        assert each.got == due(world, *ALL, each.start)


def test_compacted_history_is_said_at_once_or_when_it_is_reached() -> None:
    world = World()
    for _ in range(10):
        world.do(Put(b"a"))
    slow = Reader(world, b"a", None, 2, puts=True, deletes=True)
    world.do(Compact(8))
    with pytest.raises(CompactedError) as refusal:
        Reader(world, b"a", None, 7, puts=True, deletes=True)
    assert refusal.value.floor == 8
    with pytest.raises(CompactedError):
        slow.take()
    at_floor = Reader(world, b"a", None, 8, puts=True, deletes=True)
    while world.keyspace.sweep():
        pass
    at_floor.take_all()
    assert [revision for revision, *_ in at_floor.got] == [8, 9, 10, 11]


def test_a_deletion_at_the_floor_is_not_lost() -> None:
    world = World()
    world.do(Put(b"a", b"1"), DeleteRange(b"a"), Put(b"b"))
    world.do(Compact(3))
    while world.keyspace.sweep():
        pass
    reader = Reader(world, *ALL, 3, puts=True, deletes=True)
    reader.take_all()
    assert reader.got == [(3, b"a", None, b"1"), (4, b"b", b"", None)]


def test_one_key_far_behind_reads_its_own_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    for number in range(1, 5001):
        world.do(Set(b"/mine" if number % 50 == 0 else b"/other/%d" % (number % 300), b"%d" % number))
    looked = itertools.count()
    record = world.keyspace.changes
    monkeypatch.setattr(world.keyspace, "changes", lambda position: (next(looked), record(position))[1])
    alone = Reader(world, b"/mine", None, 1, puts=True, deletes=True)
    few = Reader(world, b"/m", b"/n", 1, puts=True, deletes=True)
    for reader in (alone, few):
        reader.take_all()
        assert reader.got == due(world, *reader.ends, 1)
    assert next(looked) == 0, "all history was read for a hundred changes"
    many = Reader(world, b"/", b"0", 1, puts=True, deletes=True)
    many.take_all()
    assert many.got == due(world, b"/", b"0", 1)


def test_a_long_trail_is_walked_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each turn of a watch on one key with many versions looks at few rows, wherever it begins."""
    world = World()
    for number in range(3000):
        world.do(Put(b"hot", b"%d" % number))
        world.do(Put(b"cold%d" % (number % 2)))
    monkeypatch.setattr(watcher_module, "SLICE", 10)
    get = world.keyspace._ledger.rows.get
    looks = 0

    def counted(table: Table, key: bytes) -> bytes | None:
        nonlocal looks
        looks += table in (Table.OLDER, Table.KEY)
        return get(table, key)

    monkeypatch.setattr(world.keyspace._ledger.rows, "get", counted)
    reader = Reader(world, b"hot", None, 1, puts=True, deletes=True)
    while reader.watcher.waiting:
        looks = 0
        reader.take()
        assert looks <= 30
    assert [told[0] for told in reader.got] == [told[0] for told in due(world, b"hot", None, 1)]


def test_a_reset_goes_on_where_it_was() -> None:
    """The keyspace comes to a later state without the events between: watches read them."""
    world = World()
    world.do(Put(b"a", b"1"))
    waiting, buffered, behind, future = (
        Reader(world, b"a", None, start, puts=True, deletes=True) for start in (0, 0, 1, 100)
    )
    idle = world.hub.watch(b"/v2")
    world.do(Put(b"a", b"2"))
    waiting.take_all()
    for number in range(300):
        world.apply(Put(b"a", b"%d" % number), Set(b"/other"))
    world.hub.reset()
    world.do(Put(b"a", b"last"))
    for reader in (waiting, buffered, behind, future):
        reader.take_all()
        assert reader.got == due(world, b"a", None, reader.start)
    assert idle.waiting


async def test_an_idle_watch_outlives_a_compaction_and_a_reset() -> None:
    """What it was offered before counts as read, however long nothing concerned it."""
    world = World()
    idle = Reader(world, b"idle", None, 0, puts=True, deletes=True)
    path = world.hub.watch(b"/idle")
    for _ in range(500):
        world.do(Put(b"other"))
    world.do(Compact(400))
    world.apply(Put(b"idle", b"now"), Set(b"/idle", b"now"))
    world.hub.reset()
    idle.take_all()
    assert [key for _, key, *_ in idle.got] == [b"idle"]
    assert [event.record.key for event in await path.next()] == [b"/idle"]


async def test_a_task_waits_for_whole_revisions() -> None:
    world = World()
    world.do(Put(b"a", b"0"))
    with world.hub.follow(b"a", b"c", start=1) as watch:
        assert [event.record.key for event in await watch.next()] == [b"a"]
        async with trio.open_nursery() as nursery:
            found: list[Sequence[Event]] = []

            async def wait() -> None:
                found.append(await watch.next())

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            world.do(Txn(success=(Put(b"a"), Put(b"b"), Put(b"z"))))
        assert [event.record.key for event in found[0]] == [b"a", b"b"]
    assert world.hub.open == 0


def test_closing_forgets() -> None:
    world = World()
    readers = [Reader(world, *ends, 0, puts=True, deletes=True) for ends in RANGES * 2]
    assert world.hub.open == len(readers)
    for reader in readers:
        reader.watcher.close()
        reader.watcher.close()
    world.do(Put(b"/a"))
    assert world.hub.open == 0
    assert not world.hub._keys
    assert not world.hub._reserved
    assert not any(reader.calls for reader in readers)
