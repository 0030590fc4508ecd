"""The v3 dialect's operations, one rule a test. Expectations were taken from etcd 3.4 where the text leaves a doubt."""

import pytest

from core.kv import commands as c
from core.kv.errors import (
    CompactedError,
    DuplicateKeyError,
    FutureRevisionError,
    KeyNotFoundError,
    KeyspaceError,
    LeaseNotFoundError,
    ReservedKeyError,
)
from core.kv.keyspace import Keyspace
from core.kv.memory import MemoryStore
from core.kv.outcomes import DeleteDone, PutDone, RangeDone, TxnDone
from core.kv.records import Record
from core.kv.transaction import Table
from tests.kv.trial import SYSTEM_ROW, Trial, dump


@pytest.fixture
def trial() -> Trial:
    return Trial(MemoryStore())


def put(key: str, value: str = "v") -> c.Put:
    return c.Put(key.encode(), value.encode())


def shape(record: Record) -> tuple[str, str, int, int, int]:
    """Key, value, create revision, mod revision, version."""
    return record.key.decode(), record.value.decode(), record.create_revision, record.revision, record.version


def read(trial: Trial, key: str, end: str | None = None, revision: int = 0, limit: int = 0) -> RangeDone:
    return trial.keyspace.range(c.Range(key.encode(), None if end is None else end.encode(), revision, limit))


def refused(trial: Trial, command: c.Command, error: type[KeyspaceError]) -> None:
    revision = trial.keyspace.revision
    assert trial.step(command)[0][0] == error.__name__
    assert trial.keyspace.revision == revision


def holds(trial: Trial, *compare: c.Compare) -> bool:
    succeeded: bool = trial.step(c.Txn(compare))[0][2]
    return succeeded


class TestPutAndRange:
    def test_an_empty_store_is_at_1_and_the_first_write_gives_2(self, trial: Trial) -> None:
        assert trial.keyspace.revision == 1
        assert trial.step(put("a")) == [("put", 2, None)]

    def test_revisions_and_versions_count_and_start_anew_after_a_delete(self, trial: Trial) -> None:
        trial.step(put("a", "1"), put("a", "2"))
        assert shape(read(trial, "a").records[0]) == ("a", "2", 2, 3, 2)
        trial.step(c.DeleteRange(b"a"), put("a", "3"))
        assert shape(read(trial, "a").records[0]) == ("a", "3", 5, 5, 1)

    @pytest.mark.parametrize(
        ("key", "end", "expected"),
        [
            ("b", None, "b"),
            ("b", "d", "bc"),
            ("b", "\0", "bcd"),
            ("\0", "\0", "abcd"),
            ("x", None, ""),
            ("d", "b", ""),
            ("b", "", ""),
        ],
    )
    def test_range_ends(self, trial: Trial, key: str, end: str | None, expected: str) -> None:
        trial.step(*(put(name) for name in "dbca"))
        assert "".join(record.key.decode() for record in read(trial, key, end).records) == expected

    def test_count_ignores_the_limit(self, trial: Trial) -> None:
        trial.step(*(put(name) for name in "abc"))
        done = read(trial, "a", "z", limit=2)
        assert (len(done.records), done.count, done.more) == (2, 3, True)

    def test_the_header_has_the_revision_of_now_when_an_old_one_is_read(self, trial: Trial) -> None:
        trial.step(put("a", "1"), put("a", "2"))
        done = read(trial, "a", revision=2)
        assert (done.revision, done.records[0].value) == (3, b"1")

    def test_reading_the_future_or_what_was_compacted_is_refused(self, trial: Trial) -> None:
        trial.step(put("a"), put("a"), c.Compact(3))
        with pytest.raises(FutureRevisionError):
            read(trial, "a", revision=4)
        with pytest.raises(CompactedError) as error:
            read(trial, "a", revision=2)
        assert error.value.floor == 3
        assert read(trial, "a", revision=3).count == 1

    def test_ignore_value_and_ignore_lease_keep_what_was_there(self, trial: Trial) -> None:
        trial.step(c.LeaseGrant(7, 60), c.Put(b"a", b"1", lease=7))
        trial.step(c.Put(b"a", ignore_value=True))
        assert (read(trial, "a").records[0].value, read(trial, "a").records[0].lease) == (b"1", 0)
        trial.step(c.Put(b"a", b"2", lease=7), c.Put(b"a", b"3", ignore_lease=True))
        assert (read(trial, "a").records[0].value, read(trial, "a").records[0].lease) == (b"3", 7)

    def test_ignore_on_a_missing_key_and_an_unknown_lease_are_refused(self, trial: Trial) -> None:
        refused(trial, c.Put(b"a", ignore_value=True), KeyNotFoundError)
        refused(trial, c.Put(b"a", ignore_lease=True), KeyNotFoundError)
        refused(trial, c.Put(b"a", lease=5), LeaseNotFoundError)


class TestDeleteRange:
    def test_deleting_nothing_succeeds_and_consumes_nothing(self, trial: Trial) -> None:
        trial.step(put("a"))
        assert trial.step(c.DeleteRange(b"b")) == [("delete", 2, ())]

    def test_n_deletions_are_n_events_and_one_revision(self, trial: Trial) -> None:
        trial.step(*(put(name) for name in "abc"))
        _, told = trial.keyspace.apply(2, 1, c.Batch(0, (c.DeleteRange(b"a", b"z"),)))
        assert [(event.record.index, event.record.revision) for event in told] == [(5, 7), (6, 7), (7, 7)]

    def test_no_revision_between_shows_half_of_it(self, trial: Trial) -> None:
        trial.step(*(put(name) for name in "abc"))
        trial.step(c.DeleteRange(b"a", b"z"))
        assert [read(trial, "a", "z", revision).count for revision in (4, 5, 6, 7)] == [3, 3, 3, 0]


class TestTxn:
    def test_n_puts_consume_n_indexes_and_share_the_last_revision(self, trial: Trial) -> None:
        trial.step(c.Txn(success=(put("a"), put("b"), put("c"))))
        assert trial.keyspace.revision == 4
        assert [shape(record)[2:] for record in read(trial, "a", "z").records] == [(4, 4, 1)] * 3
        assert [record.modified for record in read(trial, "a", "z").records] == [2, 3, 4]

    def test_answers_inside_carry_the_revision_of_the_whole(self, trial: Trial) -> None:
        inner = c.Txn(success=(c.Range(b"a", b"z"),))
        read_first, get = c.Range(b"a"), c.Range(b"a")
        batch = c.Batch(0, (c.Txn(success=(read_first, put("a"), get, inner, put("b"))),))
        done = trial.keyspace.apply(1, 1, batch)[0][0]
        assert isinstance(done, TxnDone)
        first, one, two, three, four = done.responses
        assert isinstance(first, RangeDone)
        assert (first.revision, first.count) == (1, 0)
        assert isinstance(one, PutDone)
        assert isinstance(four, PutDone)
        assert (done.revision, one.revision, four.revision) == (3, 3, 3)
        assert isinstance(two, RangeDone)
        assert (two.revision, shape(two.records[0])) == (3, ("a", "v", 3, 3, 1))
        assert isinstance(three, TxnDone)
        assert isinstance(three.responses[0], RangeDone)
        assert shape(three.responses[0].records[0]) == ("a", "v", 3, 3, 1)

    def test_whether_the_last_revision_is_known_beforehand_shows_nowhere(self) -> None:
        # Without deletions it is; with one, even of nothing, the versions are written again at the end.
        inner = c.Txn((), (put("/dir/c"), c.Range(b"/dir/", b"/dir0")))
        operations = (put("a", "2"), c.Range(b"a"), put("/dir/b"), inner, put("/new/d"))
        trials = []
        for deletion in ((), (c.DeleteRange(b"missing"),)):
            trial = Trial(MemoryStore())
            trial.step(put("a", "1"), put("/dir/b"))
            trial.step(c.Txn((), (*operations, *deletion)), put("behind"))
            trials.append(trial)
        assert dump(trials[0].store) == dump(trials[1].store)

    def test_a_txn_that_changes_nothing_keeps_the_revision(self, trial: Trial) -> None:
        trial.step(put("a"))
        assert trial.step(c.Txn(success=(c.Range(b"a"), c.DeleteRange(b"x"))))[0][:3] == ("txn", 2, True)
        assert trial.keyspace.revision == 2

    def test_previous_versions_are_those_before_the_txn(self, trial: Trial) -> None:
        trial.step(put("a", "1"), put("b", "2"))
        batch = c.Batch(0, (c.Txn(success=(put("a", "3"), c.DeleteRange(b"b"))),))
        done = trial.keyspace.apply(2, 1, batch)[0][0]
        assert isinstance(done, TxnDone)
        replaced, deleted = done.responses
        assert isinstance(replaced, PutDone)
        assert isinstance(deleted, DeleteDone)
        assert replaced.previous is not None
        assert shape(replaced.previous) == ("a", "1", 2, 2, 1)
        assert [shape(record) for record in deleted.previous] == [("b", "2", 3, 3, 1)]

    def test_a_refused_operation_takes_back_the_whole(self, trial: Trial) -> None:
        trial.step(put("a"))
        refused(trial, c.Txn(success=(put("b"), c.Put(b"c", lease=9))), LeaseNotFoundError)
        refused(trial, c.Txn(success=(put("b"), c.Range(b"a", revision=9))), FutureRevisionError)
        refused(trial, c.Txn(success=(put("b"), c.Txn(success=(c.Put(b"c", ignore_value=True),)))), KeyNotFoundError)
        refused(trial, c.Txn(success=(put("b"), c.Put(SYSTEM_ROW))), ReservedKeyError)
        assert read(trial, "\0", "\0").count == 1

    @pytest.mark.parametrize(
        "branch",
        [
            (put("a"), put("a")),
            (put("a"), c.DeleteRange(b"a")),
            (c.DeleteRange(b"a", b"c"), put("b")),
            (c.DeleteRange(b"a", b"\0"), put("b")),
            (put("a"), c.Txn(success=(put("a"),))),
            (put("a"), c.Txn(failure=(c.DeleteRange(b"a"),))),
            (c.Txn(success=(put("a"),)), c.Txn(failure=(put("a"),))),
            (c.Txn(success=(put("a"), put("a"))),),
        ],
    )
    def test_a_key_written_twice_on_one_branch_is_refused(self, trial: Trial, branch: tuple[c.Operation, ...]) -> None:
        refused(trial, c.Txn(success=branch), DuplicateKeyError)
        refused(trial, c.Txn(failure=branch), DuplicateKeyError)

    @pytest.mark.parametrize("put_first", [True, False])
    def test_branches_of_which_only_one_is_taken_may_write_the_same_key(self, trial: Trial, put_first: bool) -> None:
        one: tuple[c.Operation, ...] = (put("a"),)
        other: tuple[c.Operation, ...] = (c.DeleteRange(b"a"),)
        inner = c.Txn(success=one, failure=other) if put_first else c.Txn(success=other, failure=one)
        assert trial.step(c.Txn(success=(inner,)))[0][0] == "txn"

    def test_deep_nesting_is_checked_in_linear_time(self, trial: Trial) -> None:
        txn = c.Txn(success=(put("a"),))
        for _ in range(60):
            txn = c.Txn(success=(txn,))
        done = trial.keyspace.apply(1, 1, c.Batch(0, (txn,)))[0][0]
        assert isinstance(done, TxnDone)


class TestCompare:
    @pytest.mark.parametrize(
        ("target", "value"), [("version", 2), ("create", 2), ("mod", 3), ("lease", 7), ("value", b"m")]
    )
    def test_relations(self, trial: Trial, target: c.Target, value: int | bytes) -> None:
        trial.step(c.LeaseGrant(7, 60), put("k"), c.Put(b"k", b"m", lease=7))
        less, greater = (b"l", b"n") if isinstance(value, bytes) else (value - 1, value + 1)
        outcomes = {
            relation: [holds(trial, c.Compare(b"k", target, relation, one)) for one in (less, value, greater)]
            for relation in ("=", "!=", "<", ">")
        }
        assert outcomes == {
            "=": [False, True, False],
            "!=": [True, False, True],
            "<": [False, False, True],
            ">": [True, False, False],
        }

    @pytest.mark.parametrize("end", [None, b"l"])
    @pytest.mark.parametrize("target", ["version", "create", "mod", "lease"])
    def test_what_is_missing_compares_as_zero(self, trial: Trial, target: c.Target, end: bytes | None) -> None:
        assert holds(trial, c.Compare(b"k", target, "=", 0, end))
        assert not holds(trial, c.Compare(b"k", target, ">", 0, end))

    @pytest.mark.parametrize("end", [None, b"l"])
    @pytest.mark.parametrize("relation", ["=", "!=", "<", ">"])
    def test_the_value_of_what_is_missing_never_compares(
        self, trial: Trial, relation: c.Relation, end: bytes | None
    ) -> None:
        assert not holds(trial, c.Compare(b"k", "value", relation, b"", end))

    def test_a_range_compare_must_hold_for_every_key(self, trial: Trial) -> None:
        trial.step(put("a"), put("a"), put("b"))
        assert holds(trial, c.Compare(b"a", "version", ">", 0, b"c"))
        assert not holds(trial, c.Compare(b"a", "version", "=", 2, b"c"))

    def test_every_compare_must_hold(self, trial: Trial) -> None:
        trial.step(put("a"))
        true, false = c.Compare(b"a", "mod", "=", 2), c.Compare(b"a", "mod", "=", 3)
        assert holds(trial, true, true)
        assert not holds(trial, true, false)
        assert holds(trial)

    def test_inner_transactions_look_at_the_state_before_all(self, trial: Trial) -> None:
        inner = c.Txn((c.Compare(b"a", "version", "=", 0),), success=(put("b"),))
        trial.step(c.Txn(success=(put("a"), inner)))
        assert read(trial, "b").count == 1


class TestSystemRecords:
    """What lies below the reserved prefix is not there for v3."""

    @pytest.fixture
    def trial(self) -> Trial:
        store = MemoryStore()
        keyspace = Keyspace(store)
        keyspace.apply(1, 1, c.Batch(0, (c.Put(b"secret", b"token"),)))
        row = store.get(Table.KEY, b"secret")
        assert row is not None
        store.delete(Table.KEY, b"secret")
        store.put(Table.KEY, SYSTEM_ROW, row)
        trial = Trial(MemoryStore())
        trial.keyspace, trial.store = Keyspace(store), store
        return trial

    def test_no_range_shows_them(self, trial: Trial) -> None:
        assert read(trial, "\0", "\0").count == 0
        assert trial.keyspace.range(c.Range(SYSTEM_ROW)).count == 0

    def test_no_delete_reaches_them(self, trial: Trial) -> None:
        trial.keyspace.apply(2, 1, c.Batch(0, (c.DeleteRange(b"\0", b"\0"), c.DeleteRange(SYSTEM_ROW))))
        assert trial.store.get(Table.KEY, SYSTEM_ROW) is not None

    @pytest.mark.parametrize("end", [None, SYSTEM_ROW + b"\0"])
    @pytest.mark.parametrize("target", ["value", "version", "mod"])
    def test_no_compare_tells_of_them(self, trial: Trial, target: c.Target, end: bytes | None) -> None:
        operand = b"" if target == "value" else 0
        probe = c.Txn((c.Compare(SYSTEM_ROW, target, ">", operand, end),))
        done = trial.keyspace.apply(2, 1, c.Batch(0, (probe,)))[0][0]
        assert isinstance(done, TxnDone)
        assert not done.succeeded
