"""Forgetting history: what stays readable, what goes, and in which slices."""

from collections.abc import Iterator

import pytest

from core.kv import commands as c
from core.kv import rows
from core.kv.errors import CompactedError
from core.kv.memory import MemoryStore
from core.kv.transaction import Table
from tests.kv.trial import Trial


@pytest.fixture
def trial() -> Trial:
    return Trial(MemoryStore())


def count(trial: Trial, table: Table) -> int:
    return len(list(trial.store.scan(table)))


def compacted(trial: Trial, revision: int) -> None:
    trial.step(c.Compact(revision))
    trial.sweep()
    trial.check_swept()
    trial.check()


def test_what_is_already_compacted_or_not_reached_is_refused(trial: Trial) -> None:
    trial.step(c.Put(b"a"), c.Put(b"a"), c.Compact(2))
    assert trial.step(c.Compact(2), c.Compact(1), c.Compact(4), c.Compact(3)) == [
        ("CompactedError", 2),
        ("CompactedError", 2),
        ("FutureRevisionError",),
        ("compacted", 3, 3),
    ]


def test_compaction_consumes_no_revision(trial: Trial) -> None:
    trial.step(c.Put(b"a"), c.Compact(2))
    assert trial.keyspace.revision == 2


def test_the_version_that_the_floor_shows_stays(trial: Trial) -> None:
    trial.step(c.Put(b"a", b"1"), c.Put(b"b", b"1"), c.Put(b"a", b"2"), c.Put(b"b", b"2"))
    compacted(trial, 4)
    assert [one.value for one in trial.keyspace.range(c.Range(b"a", b"c", 4)).records] == [b"2", b"1"]
    with pytest.raises(CompactedError):
        trial.keyspace.range(c.Range(b"a", b"c", 3))


def test_the_change_at_the_floor_is_told_with_what_it_replaced(trial: Trial) -> None:
    """A wait at the floor must be answered in full; etcd lost such deletions (18089)."""
    trial.step(c.Set(b"/a", b"1"), c.Delete(b"/a"))
    compacted(trial, 3)
    record = next(trial.keyspace.history(3))
    previous = trial.keyspace.record(record.previous)
    assert (record.gone, previous is not None and previous.value) == (True, b"1")


def test_a_deleted_key_leaves_nothing(trial: Trial) -> None:
    trial.step(c.Set(b"/a/b/c", b"1"), c.Delete(b"/a", recursive=True), c.Put(b"x"), c.DeleteRange(b"x"), c.Put(b"y"))
    compacted(trial, 6)
    assert (count(trial, Table.REVISION), count(trial, Table.KEY), count(trial, Table.DIRECTORY)) == (1, 1, 0)


@pytest.mark.parametrize("floor", range(2, 6))
def test_a_floor_inside_a_command_of_several_changes(trial: Trial, floor: int) -> None:
    trial.step(c.Put(b"a", b"old"))
    trial.step(c.Txn(success=(c.Put(b"a", b"new"), c.Put(b"b"), c.Put(b"c"))))
    compacted(trial, floor)
    shown = trial.keyspace.range(c.Range(b"a", b"z", floor))
    assert [one.value for one in shown.records][:1] == [b"new" if floor == 5 else b"old"]


@pytest.mark.parametrize("limit", [1, 2, 7, 1000])
def test_the_sweep_goes_in_slices_and_ends(trial: Trial, limit: int) -> None:
    trial.step(*(c.Set(b"/k", b"%d" % n) for n in range(40)), c.Compact(30))
    walked = []
    while step := trial.keyspace.sweep(limit):
        walked.append(step)
        trial.reload()
        trial.check_reads(range(30, 42))
    assert max(walked) <= limit
    assert sum(walked) == 28
    trial.check_swept()
    assert trial.keyspace.sweep(limit) == 0


def test_what_is_swept_is_looked_through_again_only_for_another_floor(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    scanned: list[Table] = []
    scan = trial.store.scan

    def noted(
        table: Table, start: bytes = b"", end: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        scanned.append(table)
        return scan(table, start, end, reverse=reverse)

    trial.step(*[c.Put(b"a")] * 5)
    compacted(trial, 3)
    trial.step(*[c.Put(b"a")] * 5)
    monkeypatch.setattr(trial.store, "scan", noted)
    assert trial.keyspace.sweep() == 0
    assert not scanned
    trial.keyspace.reload(trial.store)
    assert trial.keyspace.sweep() == 0
    assert Table.REVISION in scanned
    compacted(trial, 7)


def test_writes_between_the_slices(trial: Trial) -> None:
    trial.step(*(c.Set(b"/k", b"%d" % n) for n in range(100)), c.Delete(b"/k"), c.Compact(90))
    for n in range(40):
        trial.keyspace.sweep(3)
        trial.step(c.Set(b"/k", b"%d" % n), c.Set(b"/d/%d" % n, b"1"))
    compacted(trial, trial.keyspace.revision)


class TestHotKey:
    """A row takes LIMIT versions; older ones move to a table of their own."""

    def test_every_revision_of_hundreds_can_be_read(self, trial: Trial) -> None:
        trial.step(*(c.Put(b"hot", b"%d" % n) for n in range(300)))
        trial.step(*(c.Update(b"/d", ttl=n) if n else c.Set(b"/d", directory=True) for n in range(100)))
        assert count(trial, Table.OLDER) >= 300 // rows.LIMIT - 1 + 100 // rows.LIMIT - 1
        trial.check()
        for n in range(300):
            assert trial.keyspace.range(c.Range(b"hot", None, n + 2)).records[0].value == b"%d" % n

    def test_its_row_stays_short(self, trial: Trial) -> None:
        for n in range(200):
            trial.step(c.Set(b"/hot", b"%d" % n) if n % 3 else c.Put(b"/hot"), c.Delete(b"/hot"))
            row = trial.store.get(Table.KEY, b"/hot")
            assert row is not None
            assert len(row) <= len(rows.EMPTY) + (rows.LIMIT + 1) * 20
        trial.check()

    @pytest.mark.parametrize("floor", [2, 7, 8, 9, 10, 11, 16, 17, 18, 25, 26, 66, 98, 150])
    def test_compaction_at_any_place_of_the_chain(self, trial: Trial, floor: int) -> None:
        trial.step(*(c.Set(b"/hot", b"%d" % n) for n in range(150)))
        compacted(trial, floor)
        trial.step(*(c.Set(b"/hot", b"%d" % n) for n in range(70)))
        trial.check()
        compacted(trial, trial.keyspace.revision)
        assert count(trial, Table.OLDER) == 0
        assert count(trial, Table.REVISION) == 2

    def test_a_row_is_pruned_rather_than_moved_when_the_floor_allows(self, trial: Trial) -> None:
        for n in range(200):
            trial.step(c.Set(b"/hot", b"%d" % n))
            if n % (rows.LIMIT // 2) == 0:
                trial.step(c.Compact(trial.keyspace.revision))
        assert count(trial, Table.OLDER) == 0
        trial.check()
