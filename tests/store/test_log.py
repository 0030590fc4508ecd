"""The log: what is appended is read back, what is replaced or dropped is gone, and damage is noticed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.raft.messages import Entry, HardState
from core.store_lmdb.errors import CorruptError
from core.store_lmdb.log import LogStore, Origin, Place


def entries(first: int, count: int, term: int = 1, size: int = 10) -> list[Entry]:
    return [Entry(index, term, index % 2, b"%d/" % term + b"x" * size) for index in range(first, first + count)]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[LogStore]:
    log = LogStore(tmp_path / "log", create=True)
    yield log
    log.close()


def reopened(log: LogStore) -> LogStore:
    log.close()
    return LogStore(log.file.parent)


def test_a_new_log_is_empty(log: LogStore) -> None:
    assert (log.floor, log.last, log.hard_state) == (Place(0, 0), Place(0, 0), HardState())
    assert log.origin == Origin(0, 0, 1, b"")
    with pytest.raises(IndexError):
        log.read(1, 1)


def test_entries_and_hard_state_outlive_the_process(log: LogStore) -> None:
    log.append(entries(1, 3), HardState(1, 7, 0))
    log.append(entries(4, 1, term=2))
    log.append([], HardState(2, 7, 4))
    log = reopened(log)
    assert log.read(1, 4) == entries(1, 3) + entries(4, 1, term=2)
    assert log.read(2, 3) == entries(2, 2)
    assert log.hard_state == HardState(2, 7, 4)
    assert log.last == Place(4, 2)
    assert [log.term(index) for index in range(5)] == [0, 1, 1, 1, 2]
    log.close()


def test_a_read_is_bounded_by_size_but_never_empty(log: LogStore) -> None:
    log.append(entries(1, 10, size=1000))
    assert len(log.read(1, 10, size=3500)) == 3
    assert len(log.read(4, 10, size=1)) == 1


@pytest.mark.parametrize("first", [2, 3, 4, 5, 6])
def test_a_new_leaders_entries_replace_what_was_there(log: LogStore, first: int) -> None:
    log.append(entries(1, 1), HardState(1, 0, 1))
    log.append(entries(2, 3))
    log.append(entries(5, 1))
    log.append(entries(first, 1, term=2))
    log = reopened(log)
    assert log.read(1, first) == entries(1, first - 1) + entries(first, 1, term=2)
    assert log.last == Place(first, 2)
    log.close()


@pytest.mark.parametrize("first", [1, 2, 7])
def test_entries_out_of_place_are_refused(log: LogStore, first: int) -> None:
    log.append(entries(1, 5), HardState(1, 0, 2))
    with pytest.raises(ValueError, match="cannot follow"):
        log.append(entries(first, 1, term=2))
    with pytest.raises(ValueError, match="was due"):
        log.append([*entries(6, 1), *entries(8, 1)])
    assert log.read(1, 5) == entries(1, 5)


def test_a_prefix_of_what_lmdb_holds_is_dropped_by_later_appends_in_slices(log: LogStore) -> None:
    large = 1 << 18  # so they go to LMDB, each in a record of its own
    for index in range(1, 76):
        log.append(entries(index, 1, size=large))
    log.drop_until(74)
    assert log.floor == Place(0, 0)
    log.append(entries(76, 1, size=large))
    assert log.floor == Place(64, 1)
    log.append(entries(77, 1, size=large))
    assert log.floor == Place(74, 1)
    log = reopened(log)
    assert log.floor == Place(74, 1)
    assert log.read(75, 77, size=1 << 20) == entries(75, 3, size=large)
    assert log.term(74) == 1
    with pytest.raises(IndexError):
        log.read(74, 76)
    log.close()


def test_a_prefix_of_what_the_journal_holds_is_dropped_by_the_next_append(log: LogStore) -> None:
    for index in range(1, 11):
        log.append(entries(index, 1))
    log.drop_until(5)
    log.append(entries(11, 1))  # LMDB, which held the first entry, holds none from here on
    assert log.floor == Place(5, 1)
    log.drop_until(8)
    assert log.floor == Place(5, 1)
    log.append(entries(12, 1))
    assert log.floor == Place(8, 1)
    log.drop_until(30)
    log.append(entries(13, 1))
    assert log.floor == Place(11, 1)  # the last one stays, so that its term is known
    log = reopened(log)
    assert log.floor == Place(12, 1)
    assert log.read(13, 13) == entries(13, 1)
    log.close()


def test_a_record_that_is_needed_in_part_stays(log: LogStore) -> None:
    log.append(entries(1, 10))
    log.append(entries(11, 10))
    log = reopened(log)  # now LMDB has one record of all
    log.drop_until(15)
    log.append(entries(21, 1))
    assert log.floor == Place(0, 0)
    log.drop_until(20)
    log.append(entries(22, 1))
    assert log.floor == Place(20, 1)
    log.close()


def test_a_snapshot_begins_the_log_anew(log: LogStore) -> None:
    log.append(entries(1, 10), HardState(1, 1, 5))
    log.install(Origin(100, 3, 2, b"members"), HardState(4, 0, 100))
    log = reopened(log)
    assert (log.floor, log.last) == (Place(100, 3), Place(100, 3))
    assert log.origin == Origin(100, 3, 2, b"members")
    log.append(entries(101, 2, term=4))
    assert log.read(101, 102) == entries(101, 2, term=4)
    log.close()


def test_its_file_does_not_grow_while_prefixes_go(log: LogStore) -> None:
    sizes = []
    for index in range(1, 501):
        log.append(entries(index, 1, size=2000))
        log.drop_until(index - 20)
        sizes.append(log.file.stat().st_size)
    assert sizes[-1] == sizes[150]


def test_damage_is_noticed_at_open(log: LogStore) -> None:
    log.append(entries(1, 5, size=100))
    log.close()
    data = bytearray(log.file.read_bytes())
    data[data.rindex(b"x" * 100) + 50] ^= 1
    log.file.write_bytes(data)
    with pytest.raises(CorruptError, match="wrong checksum") as caught:
        LogStore(log.file.parent)
    assert str(log.file) in str(caught.value)


def test_a_commit_index_behind_the_end_is_a_gap(log: LogStore) -> None:
    log.append(entries(1, 3), HardState(1, 0, 9))
    log.close()
    with pytest.raises(CorruptError, match="entries 4 to 9 are missing"):
        LogStore(log.file.parent)


_steps = st.one_of(
    st.tuples(st.just("append"), st.integers(0, 4), st.integers(1, 6)),
    st.tuples(st.just("drop"), st.integers(0, 8), st.just(0)),
    st.tuples(st.just("reopen"), st.just(0), st.just(0)),
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_steps, max_size=40))
def test_it_is_as_a_list(tmp_path: Path, steps: list[tuple[str, int, int]]) -> None:
    """Appends that go back up to four entries, drops and reopens, against a plain list."""
    log = LogStore(tmp_path / "log", create=True)
    try:
        log.install(Origin(0, 0, 1, b""), HardState())  # hypothesis uses one directory for all its examples
        twin: list[Entry] = []
        for term, (what, back, count) in enumerate(steps, 1):
            if what == "append":
                first = max(log.last.index - back, log.floor.index) + 1
                added = entries(first, count, term)
                del twin[first - 1 :]
                twin += added
                log.append(added)
            elif what == "drop":
                log.drop_until(max(log.last.index - back, 0))
                log.append([], HardState(term, 0, 0))
            else:
                log = reopened(log)
            assert log.last == (Place(len(twin), twin[-1].term) if twin else Place(0, 0))
            if log.last.index > log.floor.index:
                assert log.read(log.floor.index + 1, log.last.index) == twin[log.floor.index :]
    finally:
        log.close()
