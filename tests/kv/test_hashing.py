"""The hash of a state: the same for the same log however a member keeps house, another for any other state."""

from random import Random

import pytest

from core.kv import commands as c
from core.kv import records
from core.kv.errors import CompactedError, FutureRevisionError
from core.kv.hashing import Hashing
from core.kv.keyspace import Keyspace
from core.kv.memory import MemoryStore
from core.kv.records import POSITION, SPILLED
from core.kv.transaction import Table
from tests.kv.trial import Dump, dump
from tests.kv.walk import seeds, walk


def finish(hashing: Hashing) -> bytes:
    while hashing.step(50):
        pass
    return hashing.digest


def replay(log: list[bytes], random: Random, restart: int = 0) -> tuple[dict[int, bytes], list[int]]:
    """Apply a log with sweeps and restarts by chance, and a comparison at every 25th entry, made while later entries
    come; the hashes by entry, but for those that a compaction overtook, and how many records there were all the way."""
    store = MemoryStore()
    keyspace = Keyspace(store)
    found: dict[int, bytes] = {}
    sizes: list[int] = []
    hashing: Hashing | None = None
    for index, entry in enumerate(log, 1):
        batch = c.decode(entry)
        if index % 25 == 0:
            batch = c.Batch(batch.time, (*batch.commands, c.CompareStates(), c.Set(b"/behind", b"%d" % index)))
        keyspace.apply(index, 1, batch)
        marked = keyspace.marked
        if marked is not None and marked.index == index:
            hashing = keyspace.hashing(marked.revision, marked.floor)
        for _ in range(random.randrange(4)):
            keyspace.sweep(random.randrange(1, 60))
        sizes.append(len(dump(store)[Table.REVISION]))
        if hashing is not None and marked is not None:
            try:
                if hashing.step(random.randrange(20, 100)):
                    continue
                found[marked.index] = hashing.digest
            except CompactedError:
                pass
            keyspace.unmark()
            hashing = None
        elif restart and index % restart == 0:
            keyspace = Keyspace(store)
    return found, sizes


@pytest.mark.parametrize("seed", seeds(811, 4))
def test_members_that_sweep_and_restart_at_other_times_have_the_same_hashes(seed: int) -> None:
    log = walk(MemoryStore(), Random(seed), 400, hot=30, compact=1).log
    one, one_sizes = replay(log, Random(1))
    other, other_sizes = replay(log, Random(2), restart=7)
    both = one.keys() & other.keys()
    assert len(both) >= 5
    assert [one[index] for index in both] == [other[index] for index in both]
    assert len(set(one.values())) == len(one)
    assert one_sizes != other_sizes, "they should have kept house differently"


def test_where_older_versions_rest_is_not_in_the_hash() -> None:
    """A deletion that is swept takes its row along, so the key's versions move to the OLDER table later."""

    def member(*, sweeps: bool) -> tuple[bytes, Dump]:
        store = MemoryStore()
        keyspace = Keyspace(store)
        entries: list[c.Command] = [c.Put(b"k", b"%d" % number) for number in range(20)]
        entries += [c.DeleteRange(b"k"), c.Put(b"x"), c.Put(b"x"), c.Compact(24)]
        entries += [c.Put(b"k", b"%d" % number) for number in range(40)]
        for index, command in enumerate(entries, 1):
            keyspace.apply(index, 1, c.Batch(index, (command,)))
            while sweeps and keyspace.sweep():
                pass
        return finish(keyspace.hashing()), dump(store)

    one, one_rows = member(sweeps=True)
    other, other_rows = member(sweeps=False)
    assert one == other
    flags = [
        {records.decode(*row).flags & SPILLED for row in rows[Table.REVISION].items()}
        for rows in (one_rows, other_rows)
    ]
    assert SPILLED in flags[0] | flags[1]
    assert one_rows[Table.REVISION] != other_rows[Table.REVISION]


def written(seed: int = 5) -> tuple[Keyspace, MemoryStore]:
    store = MemoryStore()
    trial = walk(store, Random(seed), 200)
    return trial.keyspace, store


@pytest.mark.parametrize("table", [Table.REVISION, Table.KEY, Table.DIRECTORY])
def test_any_altered_row_is_seen(table: Table) -> None:
    keyspace, store = written()
    before = finish(keyspace.hashing())
    live = [
        (name, row)
        for name, row in store.scan(table)
        if table is Table.REVISION or keyspace._ledger.shown(row, keyspace.revision) is not None
    ]
    assert live
    for name, row in Random(6).sample(live, min(len(live), 15)):
        store.delete(table, name)
        assert finish(keyspace.hashing()) != before
        store.put(table, name, row)
        if table is Table.REVISION:
            for place in (0, 10, len(row) - 1):
                store.put(table, name, row[:place] + bytes([row[place] ^ 1]) + row[place + 1 :])
                assert finish(keyspace.hashing()) != before
            store.put(table, name, row)
    assert finish(keyspace.hashing()) == before


def test_a_revision_that_is_not_there_cannot_be_hashed() -> None:
    keyspace, _ = written()
    with pytest.raises(FutureRevisionError):
        keyspace.hashing(keyspace.revision + 1)
    keyspace.apply(keyspace.applied[0] + 1, 1, c.Batch(0, (c.Compact(keyspace.revision),)))
    with pytest.raises(CompactedError):
        keyspace.hashing(keyspace.revision - 1)


def test_a_compaction_that_overtakes_a_hash_ends_it() -> None:
    keyspace, _ = written()
    hashing = keyspace.hashing()
    assert hashing.step(3)
    index = keyspace.applied[0]
    keyspace.apply(index + 1, 1, c.Batch(0, (c.Put(b"k"), c.Put(b"k"), c.Compact(keyspace.revision + 2))))
    with pytest.raises(CompactedError):
        finish(hashing)


def test_a_hash_of_a_revision_is_that_of_the_state_when_it_was_the_last() -> None:
    keyspace, _ = written()
    revision = keyspace.revision
    before = finish(keyspace.hashing())
    index = keyspace.applied[0]
    for number in range(100):
        keyspace.apply(index + 1 + number, 1, c.Batch(0, (c.Put(b"/a/b", b"%d" % number), c.Set(b"/d/%d" % number))))
    assert finish(keyspace.hashing(revision)) == before != finish(keyspace.hashing())
    assert keyspace.record(POSITION.pack(revision + 1, 0)) is not None
