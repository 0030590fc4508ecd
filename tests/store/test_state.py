"""The state on disk: what a flush makes durable, how damage shows, and that space is used again."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event

import lmdb
import pytest

from core.kv.transaction import Table
from core.store_lmdb.errors import CorruptError, DiskFullError, SnapshotError
from core.store_lmdb.layout import LONG
from core.store_lmdb.state import VIEWS, StateStore
from tests.store.power_workload import beside


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateStore]:
    state = StateStore(tmp_path / "state", create=True)
    yield state
    state.close()


def test_only_what_was_flushed_is_there_after_a_reopen(state: StateStore) -> None:
    state.put(Table.KEY, b"a", b"1")
    state.put(Table.META, b"applied", b"1")
    state.flush()
    state.put(Table.KEY, b"a", b"2")
    state.put(Table.META, b"applied", b"2")
    state.close()
    state = StateStore(state.file.parent)
    assert (state.get(Table.KEY, b"a"), state.get(Table.META, b"applied")) == (b"1", b"1")
    state.close()


def test_what_waits_is_counted(state: StateStore) -> None:
    assert (state.dirty_rows, state.dirty_bytes) == (0, 0)
    state.put(Table.KEY, b"a", b"1" * 1000)
    state.delete(Table.KEY, b"b")
    assert state.dirty_rows == 2
    assert state.dirty_bytes > 1000
    state.flush()
    assert (state.dirty_rows, state.dirty_bytes) == (0, 0)


def test_a_flush_of_nothing_writes_nothing(state: StateStore) -> None:
    before = state.file.read_bytes()
    state.flush()
    assert state.file.read_bytes() == before


@pytest.mark.parametrize("key", [b"/a", b"/a" * LONG], ids=["short", "long"])
def test_a_flipped_bit_in_a_row_is_noticed(state: StateStore, key: bytes) -> None:
    state.put(Table.KEY, key, b"precious")
    state.flush()
    state.close()
    data = bytearray(state.file.read_bytes())
    position = data.rindex(b"precious")
    data[position] ^= 4
    state.file.write_bytes(data)
    state = StateStore(state.file.parent)
    for read in (lambda: state.get(Table.KEY, key), lambda: list(state.scan(Table.KEY)), state.count):
        with pytest.raises(CorruptError, match=r"table 'key', row .*: wrong checksum") as caught:
            read()
        assert str(state.file) in str(caught.value)
    state.close()


def test_a_row_under_another_name_is_noticed(state: StateStore) -> None:
    """The checksum covers the name too: a pointer into the wrong page does not pass for a row."""
    state.put(Table.KEY, b"/name-a", b"1")
    state.flush()
    state.close()
    state.file.write_bytes(state.file.read_bytes().replace(b"/name-a", b"/name-b"))
    state = StateStore(state.file.parent)
    with pytest.raises(CorruptError):
        state.get(Table.KEY, b"/name-b")
    state.close()


def test_the_space_of_deleted_rows_is_used_again(state: StateStore) -> None:
    def fill(generation: int) -> None:
        for number in range(2000):
            state.put(Table.KEY, b"%d-%d" % (generation, number), b"v" * 500)
        state.flush()

    for generation in range(3):
        fill(generation)
    full, in_use = state.size_on_disk(), state.size_in_use()
    for generation in range(3, 20):
        for number in range(2000):
            state.delete(Table.KEY, b"%d-%d" % (generation - 3, number))
        fill(generation)
    assert state.size_in_use() < in_use * 1.3
    assert state.size_on_disk() < full * 2
    for key, _ in list(state.scan(Table.KEY)):
        state.delete(Table.KEY, key)
    state.flush()
    assert state.size_in_use() == 0


def test_rows_that_arrive_in_order_fill_their_pages(state: StateStore) -> None:
    for index in range(20_000):
        state.put(Table.REVISION, index.to_bytes(12, "big"), b"r" * 100)
        if index % 1000 == 0:
            state.flush()
    state.flush()
    rows = 20_000 * (13 + 100 + 4 + 8 + 2)
    assert state.size_in_use() < rows * 1.1


def test_a_frozen_view_does_not_see_later_writes(state: StateStore) -> None:
    state.put(Table.KEY, b"a", b"1")
    with state.frozen() as view:
        state.put(Table.KEY, b"a", b"2")
        state.put(Table.KEY, b"b", b"2")
        state.flush()
        assert view.get(Table.KEY, b"a") == b"1"
        assert list(view.scan(Table.KEY, reverse=True)) == [(b"a", b"1")]
    assert list(state.scan(Table.KEY)) == [(b"a", b"2"), (b"b", b"2")]


def test_views_never_take_what_a_flush_needs(state: StateStore) -> None:
    """Every view takes one of LMDB's reader slots, and so does the state itself, again at each flush."""
    with ExitStack() as views:
        for _ in range(VIEWS):
            views.enter_context(state.frozen())
        with pytest.raises(SnapshotError, match=f"already read {VIEWS} times"), state.frozen():
            pass
        state.put(Table.KEY, b"a", b"1")
        state.flush()
    with state.frozen() as view:
        assert view.get(Table.KEY, b"a") == b"1"


@pytest.mark.parametrize("at_once", [False, True])
def test_a_flush_beside_is_not_seen_by_readers(state: StateStore, at_once: bool) -> None:
    for key, value in ((b"a", b"1"), (b"b", b"1"), (b"c", b"1"), (b"d", b"1")):
        state.put(Table.KEY, key, value)
    state.flush()
    state.put(Table.KEY, b"a", b"2")
    state.put(Table.KEY, b"b", b"2")
    state.delete(Table.KEY, b"c")
    state.begin_flush(beside, at_once=at_once)
    state.put(Table.KEY, b"b", b"3")
    state.put(Table.KEY, b"c", b"3")
    state.delete(Table.KEY, b"a")
    state.put(Table.KEY, b"e", b"3")
    expected = [(b"b", b"3"), (b"c", b"3"), (b"d", b"1"), (b"e", b"3")]
    for settled in (False, True):
        if settled:
            assert state.settle(wait=True)
        assert list(state.scan(Table.KEY)) == expected
        assert list(state.scan(Table.KEY, reverse=True)) == expected[::-1]
        assert [state.get(Table.KEY, key) for key in (b"a", b"b", b"c", b"d")] == [None, b"3", b"3", b"1"]
    assert state.dirty_rows == 4  # those of the flush do not count any more
    state.close()
    reopened = StateStore(state.file.parent)
    assert list(reopened.scan(Table.KEY)) == [(b"a", b"2"), (b"b", b"2"), (b"d", b"1")]
    reopened.close()


def test_a_flush_waits_for_the_one_under_way(state: StateStore) -> None:
    state.put(Table.KEY, b"a", b"1")
    state.begin_flush(beside)
    with pytest.raises(RuntimeError, match="two flushes"):
        state.begin_flush(beside)
    state.put(Table.KEY, b"b", b"1")
    state.flush()
    assert (state.dirty_rows, state.dirty_bytes) == (0, 0)
    assert state.settle()
    assert state.count()["key"] == 2


@pytest.mark.parametrize("at_once", [False, True])
def test_what_a_flush_beside_finds_no_room_for_waits_again(
    state: StateStore, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    @contextmanager
    def no_room() -> Iterator[None]:
        raise DiskFullError("no room")
        yield

    state.put(Table.KEY, b"a", b"1")
    state.put(Table.KEY, b"b", b"1")
    with monkeypatch.context() as patch:
        patch.setattr(state._writer, "commit", no_room)
        state.begin_flush(beside, at_once=at_once)
        state.put(Table.KEY, b"b", b"2")
        with pytest.raises(DiskFullError):
            state.settle(wait=True)
    assert state.dirty_rows == 2
    assert state.settle()
    state.flush()
    assert list(state.scan(Table.KEY)) == [(b"a", b"1"), (b"b", b"2")]
    assert (state.dirty_rows, state.dirty_bytes) == (0, 0)


def test_a_flush_at_once_leaves_only_the_disk_to_wait_for(state: StateStore, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, commit = Event(), state._writer.commit
    in_time: list[bool] = []

    @contextmanager
    def slow() -> Iterator["lmdb.Transaction[bytes]"]:
        with commit() as transaction:
            yield transaction
            in_time.append(disk.wait(10.0))  # all rows are written; the sync is still to come

    state.put(Table.KEY, b"a", b"1")
    monkeypatch.setattr(state._writer, "commit", slow)
    state.begin_flush(beside, at_once=True)
    assert not state.settle()
    disk.set()
    assert state.settle(wait=True)
    assert in_time == [True]
    assert state.count()["key"] == 1


def test_closing_waits_for_the_flush_under_way(state: StateStore) -> None:
    for number in range(5000):
        state.put(Table.KEY, b"%06d" % number, b"1")
    state.begin_flush(beside)
    state.close()
    reopened = StateStore(state.file.parent)
    assert reopened.count()["key"] == 5000
    reopened.close()
