"""One suite for everything that claims to be a `core.kv.transaction.Transaction`: the store on disk and its twin."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.kv.changed import Rows
from core.kv.memory import MemoryStore
from core.kv.staged import Staged
from core.kv.transaction import Table, Transaction
from core.store_lmdb.layout import LONG
from core.store_lmdb.state import StateStore

Flush = Callable[[], None]
Opened = tuple[Transaction, Flush]


@pytest.fixture(params=["memory", "staged", "waiting", "flushed"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    """A store, and what to call where its rows should be on the disk (which `waiting` never does)."""
    if request.param == "memory":
        yield MemoryStore(), lambda: None
        return
    if request.param == "staged":
        yield Staged(MemoryStore()), lambda: None
        return
    state = StateStore(tmp_path / "state", create=True)
    yield state, state.flush if request.param == "flushed" else lambda: None
    state.close()


def test_reads_see_every_write_before_them(opened: Opened) -> None:
    store, flush = opened
    assert store.get(Table.KEY, b"a") is None
    store.put(Table.KEY, b"a", b"1")
    assert store.get(Table.KEY, b"a") == b"1"
    flush()
    assert store.get(Table.KEY, b"a") == b"1"
    store.put(Table.KEY, b"a", b"2")
    assert store.get(Table.KEY, b"a") == b"2"
    assert list(store.scan(Table.KEY)) == [(b"a", b"2")]
    flush()
    store.delete(Table.KEY, b"a")
    assert store.get(Table.KEY, b"a") is None
    assert list(store.scan(Table.KEY)) == []
    flush()
    assert store.get(Table.KEY, b"a") is None


def test_deleting_what_is_not_there_is_no_error(opened: Opened) -> None:
    store, flush = opened
    store.delete(Table.KEY, b"nothing")
    store.delete(Table.KEY, b"n" * 5000)
    flush()
    assert list(store.scan(Table.KEY)) == []


def test_tables_are_apart(opened: Opened) -> None:
    store, flush = opened
    for number, table in enumerate(Table):
        store.put(table, b"same", b"%d" % number)
    flush()
    assert [store.get(table, b"same") for table in Table] == [b"%d" % number for number in range(len(Table))]


@pytest.mark.parametrize("value", [b"", b"x", b"y" * 5000, b"z" * (3 << 20)], ids=["empty", "one", "page", "3MiB"])
@pytest.mark.parametrize(
    "key",
    [b"", b"\0", b"\0\0", b"\xff", *(b"k" * n for n in (LONG - 1, LONG, LONG + 1, 511, 512, 1 << 16)), b"\0" * LONG],
    ids=lambda key: f"{len(key)}B-{key[:1].hex()}",
)
def test_keys_and_values_of_every_size(opened: Opened, key: bytes, value: bytes) -> None:
    store, flush = opened
    store.put(Table.KEY, key, value)
    flush()
    assert store.get(Table.KEY, key) == value
    assert list(store.scan(Table.KEY)) == [(key, value)]
    assert list(store.scan(Table.KEY, key, key + b"\0", reverse=True)) == [(key, value)]
    assert list(store.scan(Table.KEY, key + b"\0")) == []
    assert list(store.scan(Table.KEY, b"", key)) == []


def test_a_large_group_of_long_keys_is_read_in_order(opened: Opened) -> None:
    store, flush = opened
    keys = sorted(b"p" * LONG + b"%04d" % number for number in range(1000))
    for key in reversed(keys):
        store.put(Table.KEY, key, key[-4:])
    flush()
    assert [key for key, _ in store.scan(Table.KEY)] == keys
    assert [key for key, _ in store.scan(Table.KEY, reverse=True)] == keys[::-1]
    assert [key for key, _ in store.scan(Table.KEY, keys[300], keys[800])] == keys[300:800]
    assert [key for key, _ in store.scan(Table.KEY, keys[300], keys[800], reverse=True)] == keys[300:800][::-1]


def test_a_scan_may_be_left_before_its_end(opened: Opened) -> None:
    store, flush = opened
    for number in range(100):
        store.put(Table.REVISION, number.to_bytes(12, "big"), b"")
    flush()
    assert next(store.scan(Table.REVISION, reverse=True))[0] == (99).to_bytes(12, "big")
    store.put(Table.REVISION, (100).to_bytes(12, "big"), b"")
    flush()
    assert next(store.scan(Table.REVISION, reverse=True))[0] == (100).to_bytes(12, "big")


# Keys that meet all difficulties at once: lengths about the limits, shared prefixes, zero bytes in front, 64 KiB.
_STEMS = [b"", b"\0", b"a", b"a/b", b"\xff", *(c * n for c in (b"\0", b"a", b"\xff") for n in (LONG - 1, LONG, 65_000))]
_keys = st.builds(lambda stem, rest: stem + rest, st.sampled_from(_STEMS), st.binary(max_size=2))
_operations = st.one_of(
    st.tuples(st.just("put"), _keys, st.binary(max_size=8)),
    st.tuples(st.just("delete"), _keys, st.just(b"")),
    st.tuples(st.just("flush"), st.just(b""), st.just(b"")),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    operations=st.lists(_operations, max_size=60),
    ranges=st.lists(st.tuples(_keys, st.none() | _keys), min_size=1, max_size=10),
)
def test_the_store_is_as_its_twin(
    tmp_path: Path, operations: list[tuple[str, bytes, bytes]], ranges: list[tuple[bytes, bytes | None]]
) -> None:
    path = tmp_path / "state"
    state, twin = StateStore(path, create=True), MemoryStore()
    try:
        for key, _ in list(state.scan(Table.KEY)):  # hypothesis uses one directory for all its examples
            state.delete(Table.KEY, key)
        state.flush()
        for what, key, value in operations:
            if what == "put":
                state.put(Table.KEY, key, value)
                twin.put(Table.KEY, key, value)
            elif what == "delete":
                state.delete(Table.KEY, key)
                twin.delete(Table.KEY, key)
            else:
                state.flush()
        _compare(state, twin, ranges, [key for _, key, _ in operations])
        state.flush()
        state.close()
        state = StateStore(path)
        _compare(state, twin, ranges, [key for _, key, _ in operations])
    finally:
        state.close()


def _compare(one: Transaction, other: Transaction, ranges: list[tuple[bytes, bytes | None]], keys: list[bytes]) -> None:
    for key in keys:
        assert one.get(Table.KEY, key) == other.get(Table.KEY, key)
    for start, end in [*ranges, (b"", None)]:
        for reverse in (False, True):
            found = list(one.scan(Table.KEY, start, end, reverse=reverse))
            assert found == list(other.scan(Table.KEY, start, end, reverse=reverse))


def test_many_rows_at_once_are_as_one_by_one(opened: Opened) -> None:
    store, flush = opened
    store.put(Table.KEY, b"a", b"1")
    store.put(Table.KEY, b"b", b"1")
    flush()
    rows = Rows()
    rows.rows.update({b"c": b"2", b"a": None, b"b": b"2", b"missing": None})
    store.take_over({Table.KEY: rows}, 10)
    assert list(store.scan(Table.KEY)) == [(b"b", b"2"), (b"c", b"2")]
    flush()
    assert list(store.scan(Table.KEY)) == [(b"b", b"2"), (b"c", b"2")]


def test_what_is_staged_is_seen_when_it_is_poured(opened: Opened) -> None:
    store, flush = opened
    for key in (b"a", b"b"):
        store.put(Table.KEY, key, b"1")
    flush()
    staged = Staged(store)
    staged.delete(Table.KEY, b"a")
    staged.put(Table.KEY, b"c", b"2")
    assert list(staged.scan(Table.KEY)) == [(b"b", b"1"), (b"c", b"2")]
    assert list(staged.scan(Table.KEY, reverse=True)) == [(b"c", b"2"), (b"b", b"1")]
    assert [staged.get(Table.KEY, key) for key in (b"a", b"b", b"c")] == [None, b"1", b"2"]
    assert list(store.scan(Table.KEY)) == [(b"a", b"1"), (b"b", b"1")]
    staged.pour()
    assert list(store.scan(Table.KEY)) == [(b"b", b"1"), (b"c", b"2")]
