"""A row that names a record which is not there is damage, and said: never a key quietly left out of an answer or a
deletion, which would let members differ."""

from collections.abc import Callable

import pytest

from core.kv import commands as c
from core.kv.keyspace import Keyspace
from core.kv.memory import MemoryStore
from core.kv.transaction import Table

READS: dict[str, Callable[[Keyspace], object]] = {
    "node": lambda keyspace: keyspace.node(b"/d/a"),
    "children": lambda keyspace: keyspace.children(b"/d"),
    "range": lambda keyspace: keyspace.range(c.Range(b"/", b"0")),
}
WRITES: dict[str, c.Command] = {
    "set": c.Set(b"/d/a", b"2"),
    "put": c.Put(b"/d/a", b"2"),
    "delete": c.Delete(b"/d", recursive=True),
    "delete range": c.DeleteRange(b"/", b"0"),
    "compare": c.Txn((c.Compare(b"/", "mod", ">", 0, b"0"),)),
}


@pytest.fixture
def damaged() -> Keyspace:
    store = MemoryStore()
    keyspace = Keyspace(store)
    keyspace.apply(1, 1, c.Batch(0, (c.Set(b"/d/a", b"1"), c.Set(b"/d/b", b"1"))))
    store.delete(Table.REVISION, keyspace.node(b"/d/a").position)
    return keyspace


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_no_read_leaves_it_out(damaged: Keyspace, read: Callable[[Keyspace], object]) -> None:
    with pytest.raises(LookupError, match=r"no record 2\.0"):
        read(damaged)


@pytest.mark.parametrize("command", WRITES.values(), ids=WRITES)
def test_no_write_passes_over_it(damaged: Keyspace, command: c.Command) -> None:
    with pytest.raises(LookupError, match=r"no record 2\.0"):
        damaged.apply(2, 1, c.Batch(0, (command,)))
