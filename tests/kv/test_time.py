"""Leases and TTLs by cluster time, one rule a test."""

import pytest

from core.kv import commands as c
from core.kv.memory import MemoryStore
from core.kv.records import Action
from core.kv.transaction import Table
from tests.kv.trial import Trial

SECOND = 1_000_000_000


@pytest.fixture
def trial() -> Trial:
    return Trial(MemoryStore())


def expire(trial: Trial, seconds: float, limit: int = 100) -> int:
    """Expire at a cluster time; how many were due."""
    count: int = trial.step(c.Expire(limit), time=1 + int(seconds * SECOND))[0][1]
    trial.check()
    return count


def keys(trial: Trial) -> list[bytes]:
    return [record.key for record in trial.keyspace.range(c.Range(b"\0", b"\0")).records]


class TestTtl:
    def test_nothing_expires_before_its_time_nor_by_itself(self, trial: Trial) -> None:
        trial.step(c.Set(b"/a", b"1", ttl=5))
        trial.step(c.Set(b"/b", b"1"), time=100 * SECOND)
        assert keys(trial) == [b"/a", b"/b"]

    def test_due_at_the_deadline_not_before(self, trial: Trial) -> None:
        trial.step(c.Set(b"/a", b"1", ttl=5))
        assert expire(trial, 4.999) == 0
        assert expire(trial, 5) == 1
        assert keys(trial) == []

    def test_zero_is_due_at_once(self, trial: Trial) -> None:
        trial.step(c.Set(b"/a", b"1", ttl=0))
        assert expire(trial, 0) == 1

    def test_each_expiry_is_a_revision_earliest_first_and_the_limit_holds(self, trial: Trial) -> None:
        trial.step(*(c.Set(b"/%d" % ttl, b"1", ttl=ttl) for ttl in (3, 1, 2)))
        batch = c.Batch(10 * SECOND, (c.Expire(2), c.Expire(2), c.Expire(2)))
        outcomes, told = trial.keyspace.apply(2, 1, batch)
        assert [getattr(outcome, "count", None) for outcome in outcomes] == [2, 1, 0]
        assert [(one.record.index, one.record.revision, one.record.key) for one in told] == [
            (5, 5, b"/1"), (6, 6, b"/2"), (7, 7, b"/3"),
        ]  # fmt: skip

    def test_the_event_says_expire_and_what_was_there(self, trial: Trial) -> None:
        trial.step(c.Set(b"/a", b"1", ttl=5))
        event = trial.keyspace.apply(2, 1, c.Batch(6 * SECOND, (c.Expire(1),)))[1][0]
        assert (event.record.action, event.record.gone, event.record.created) == (Action.EXPIRE, True, 2)
        assert event.previous is not None
        assert (event.previous.value, event.previous.deadline) == (b"1", 5 * SECOND + 1)

    def test_a_directory_expires_with_all_below_as_one_event(self, trial: Trial) -> None:
        trial.step(c.Set(b"/d", directory=True, ttl=5), c.Set(b"/d/e/f", b"1"), c.Set(b"/d/t", b"1", ttl=9))
        assert expire(trial, 6) == 1
        assert keys(trial) == []
        assert trial.keyspace.next_deadline() is None

    @pytest.mark.parametrize(
        "renewal",
        [
            c.Set(b"/a", b"2"),
            c.Set(b"/a", ttl=60, refresh=True),
            c.Update(b"/a", b"2", ttl=60),
            c.CompareAndSwap(b"/a", b"2", previous_value=b"1"),
            c.Put(b"/a", b"2"),
            c.Set(b"/a", directory=True),
        ],
    )
    def test_a_renewed_key_forgets_its_old_deadline(self, trial: Trial, renewal: c.Command) -> None:
        trial.step(c.Set(b"/a", b"1", ttl=5), renewal)
        assert expire(trial, 6) == 0
        trial.keyspace.node(b"/a")

    def test_ignore_lease_keeps_a_ttl_of_v2(self, trial: Trial) -> None:
        trial.step(c.Set(b"/a", b"1", ttl=5), c.Put(b"/a", b"2", ignore_lease=True))
        assert expire(trial, 5) == 1

    def test_a_clock_that_jumps_back_expires_nothing(self, trial: Trial) -> None:
        trial.step(c.Set(b"/a", b"1", ttl=5), time=100 * SECOND)
        trial.step(c.Set(b"/b", b"1", ttl=5), time=3 * SECOND)
        assert trial.keyspace.time == 100 * SECOND
        assert expire(trial, 104) == 0
        assert expire(trial, 105) == 2


class TestLeases:
    def test_grant_keep_alive_revoke(self, trial: Trial) -> None:
        assert trial.step(c.LeaseGrant(7, 60)) == [("lease", 1, 7, 60)]
        assert trial.step(c.LeaseGrant(7, 60)) == [("LeaseExistsError",)]
        assert trial.step(c.LeaseKeepAlive(7)) == [("lease", 1, 7, 60)]
        assert trial.step(c.LeaseRevoke(7)) == [("lease", 1, 7, 0)]
        assert trial.step(c.LeaseRevoke(7), c.LeaseKeepAlive(7)) == [("LeaseNotFoundError",)] * 2

    def test_keep_alive_starts_the_time_anew(self, trial: Trial) -> None:
        trial.step(c.LeaseGrant(7, 5), c.Put(b"a", lease=7))
        trial.step(c.LeaseKeepAlive(7), time=4 * SECOND)
        assert expire(trial, 8) == 0
        assert expire(trial, 9) == 1
        assert keys(trial) == []

    @pytest.mark.parametrize("end", [c.LeaseRevoke(7), c.Expire(1)])
    def test_its_keys_end_with_it_as_one_command(self, trial: Trial, end: c.Command) -> None:
        """Decision 3: n keys are n events with indexes of their own, and one v3 revision."""
        trial.step(c.LeaseGrant(7, 5), *(c.Put(key, lease=7) for key in (b"c", b"/d/a", b"b")), c.Put(b"other"))
        _, told = trial.keyspace.apply(2, 1, c.Batch(9 * SECOND, (end,)))
        word = Action.EXPIRE if isinstance(end, c.Expire) else Action.DELETE
        assert [(one.record.index, one.record.revision, one.record.key, one.record.action) for one in told] == [
            (6, 8, b"/d/a", word), (7, 8, b"b", word), (8, 8, b"c", word),
        ]  # fmt: skip
        assert keys(trial) == [b"other"]
        for table in (Table.LEASE, Table.ATTACHED, Table.EXPIRY):
            assert list(trial.store.scan(table)) == []

    @pytest.mark.parametrize(
        "command", [c.Put(b"/a"), c.Set(b"/a", b"2"), c.Update(b"/a", b"2"), c.DeleteRange(b"/a"), c.Delete(b"/a")]
    )
    def test_a_key_written_without_it_leaves_it(self, trial: Trial, command: c.Command) -> None:
        trial.step(c.LeaseGrant(7, 5), c.Put(b"/a", lease=7), command)
        lease = trial.keyspace.lease(7)
        assert lease is not None
        assert lease[1] == []
        assert expire(trial, 5) == 1

    def test_a_key_moves_from_one_to_another(self, trial: Trial) -> None:
        trial.step(c.LeaseGrant(7, 5), c.LeaseGrant(8, 50), c.Put(b"a", lease=7), c.Put(b"a", lease=8))
        assert expire(trial, 5) == 1
        assert keys(trial) == [b"a"]

    def test_a_record_tells_the_deadline_of_its_lease(self, trial: Trial) -> None:
        trial.step(c.LeaseGrant(7, 5), c.Put(b"/a", lease=7), c.Set(b"/b", b"1", ttl=3), c.Set(b"/c", b"1"))
        deadlines = [trial.keyspace.deadline(trial.keyspace.node(path)) for path in (b"/a", b"/b", b"/c")]
        assert deadlines == [5 * SECOND + 1, 3 * SECOND + 1, 0]

    def test_neighbouring_ids_do_not_mix(self, trial: Trial) -> None:
        ids = [255, 256, 2**63 - 2, 2**63 - 1]
        trial.step(*(c.LeaseGrant(lease, 60) for lease in ids), *(c.Put(b"%d" % lease, lease=lease) for lease in ids))
        for lease in ids:
            found = trial.keyspace.lease(lease)
            assert found is not None
            assert found[1] == [b"%d" % lease]

    def test_they_end_in_order_with_ttls(self, trial: Trial) -> None:
        trial.step(c.Set(b"/late", b"1", ttl=6), c.LeaseGrant(7, 5), c.Put(b"leased", lease=7), c.Set(b"/z", ttl=4))
        told = trial.keyspace.apply(2, 1, c.Batch(10 * SECOND, (c.Expire(10),)))[1]
        assert [event.record.key for event in told] == [b"/z", b"leased", b"/late"]


class TestNotedTimes:
    def test_one_row_a_minute_says_which_revision_was_reached(self, trial: Trial) -> None:
        for minute in range(1, 5):
            trial.step(c.Put(b"a"), time=minute * 60 * SECOND)
            trial.step(c.Put(b"a"), time=minute * 60 * SECOND + 30 * SECOND)
        noted = [trial.keyspace.revision_at(minute * 60 * SECOND) for minute in range(6)]
        assert noted == [0, 2, 4, 6, 8, 8]
        assert trial.keyspace.revision_at(3 * 60 * SECOND - 1) == 4

    def test_compaction_forgets_those_below_the_floor(self, trial: Trial) -> None:
        for minute in range(1, 5):
            trial.step(c.Put(b"a"), time=minute * 60 * SECOND)
        trial.step(c.Compact(4))
        assert [trial.keyspace.revision_at(minute * 60 * SECOND) for minute in range(1, 5)] == [0, 0, 4, 5]
