"""A command of much work is carried out in steps, of which nobody sees any before the last."""

import pytest

from core.kv import commands as c
from core.kv.keyspace import Keyspace
from core.kv.memory import MemoryStore
from core.kv.outcomes import Expired, TxnDone
from core.kv.steps import CHANGES, finish
from tests.kv.trial import dump

SECOND = 1_000_000_000
KEYS = 10 * CHANGES
LEASE = 7
EVERYTHING = c.Range(b"/d/", b"/d0")

LONG: dict[str, c.Command] = {
    "range": c.DeleteRange(b"/d/", b"/d0"),
    "tree": c.Delete(b"/d", recursive=True),
    "lease": c.LeaseRevoke(LEASE),
    "expiry": c.Expire(5),
    "transaction": c.Txn(
        success=(c.Put(b"/new"), c.DeleteRange(b"/d/", b"/d0"), c.Range(b"\0", b"\0")),
    ),
    "admitted": c.Admitted(0, c.DeleteRange(b"/d/", b"/d0")),
}


def _filled() -> tuple[Keyspace, MemoryStore]:
    store = MemoryStore()
    keyspace = Keyspace(store)
    puts = [c.Put(b"/d/%05d" % number, b"v", LEASE) for number in range(KEYS)]
    keyspace.apply(1, 1, c.Batch(SECOND, (c.LeaseGrant(LEASE, 10), *puts)))
    return keyspace, store


@pytest.mark.parametrize("command", LONG.values(), ids=LONG)
def test_nobody_sees_half_of_it(command: c.Command) -> None:
    keyspace, store = _filled()
    before = dump(store)
    revision = keyspace.revision
    work = keyspace.steps(2, 1, c.Batch(60 * SECOND, (c.Put(b"/first"), command, c.Compact(revision))))
    steps = 0
    while True:
        try:
            next(work)
        except StopIteration as end:
            outcomes, events = end.value
            break
        steps += 1
        assert (keyspace.revision, keyspace.floor, keyspace.applied) == (revision, 1, (1, 1))
        assert keyspace.range(EVERYTHING).count == KEYS
        assert keyspace.key(b"/first") is None
        assert keyspace.sweep() == 0
        assert dump(store) == before
    assert steps >= KEYS // CHANGES
    left = keyspace.range(EVERYTHING).count
    assert left == 0
    assert keyspace.key(b"/first") is not None
    assert (keyspace.floor, keyspace.applied) == (revision, (2, 1))
    assert len(events) >= 2
    assert not any(isinstance(outcome, Exception) for outcome in outcomes)


@pytest.mark.parametrize("command", LONG.values(), ids=LONG)
def test_steps_come_to_what_the_whole_comes_to(command: c.Command) -> None:
    (stepped, here), (whole, there) = _filled(), _filled()
    batch = c.Batch(60 * SECOND, (c.Put(b"/first"), command))
    for _ in stepped.steps(2, 1, batch):
        pass
    whole.apply(2, 1, batch)
    assert dump(here) == dump(there)


def test_what_is_given_up_for_a_snapshot_leaves_nothing() -> None:
    keyspace, store = _filled()
    before = dump(store)
    work = keyspace.steps(2, 1, c.Batch(0, (LONG["range"],)))
    next(work)
    keyspace.reload(store)
    work.close()
    assert dump(store) == before
    assert keyspace.applied == (1, 1)
    keyspace.apply(2, 1, c.Batch(0, (LONG["range"],)))
    assert keyspace.range(EVERYTHING).count == 0


def test_a_refusal_is_an_outcome_in_steps_too() -> None:
    keyspace, _ = _filled()
    [refused, done], _ = keyspace.apply(2, 1, c.Batch(0, (c.LeaseRevoke(99), LONG["transaction"])))
    assert isinstance(refused, Exception)
    assert isinstance(done, TxnDone)
    [expired], _ = keyspace.apply(3, 1, c.Batch(99 * SECOND, (c.Expire(10),)))
    assert expired == Expired(1)


READS = c.Txn(
    compare=(c.Compare(b"/d/", "version", "=", 1, b"/d0"),),
    success=(EVERYTHING, c.Txn(success=(c.Range(b"\0", b"\0", limit=3), c.Range(b"/new")))),
    failure=(c.Range(b"/d/00000"),),
)


def _write(keyspace: Keyspace, number: int, *more: c.Command) -> None:
    names = [b"/d/%05d" % (KEYS * number * part // 7 % KEYS) for part in range(1, 7)]
    index = keyspace.applied[0] + 1
    puts = [c.Put(name, b"late") for name in names[:3]]
    deletes = [c.DeleteRange(name) for name in names[3:]]
    keyspace.apply(index, 1, c.Batch(SECOND, (c.Put(b"/new"), c.Put(b"/d/%05d+" % number), *puts, *deletes, *more)))


def test_reads_in_steps_show_one_revision() -> None:
    """Whatever is written, flushed away or compacted before it between the steps."""
    keyspace, _ = _filled()
    revision = keyspace.revision
    expected = finish(keyspace.evaluation(READS))
    found: object = None
    work = keyspace.evaluation(READS)
    for number in range(1, 1000):
        try:
            next(work)
        except StopIteration as end:
            found = end.value
            break
        _write(keyspace, number, c.Compact(revision))
        keyspace.sweep()
    assert number >= 4
    assert found == expected
    assert finish(keyspace.evaluation(READS)) != expected, "nothing would have been seen"


def test_reads_begin_anew_when_their_revision_is_compacted_away() -> None:
    keyspace, _ = _filled()
    work = keyspace.evaluation(READS)
    next(work)
    _write(keyspace, 1, c.Compact(keyspace.revision + 3))
    while keyspace.sweep():
        pass
    assert finish(work) == finish(keyspace.evaluation(READS))
