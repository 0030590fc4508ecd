"""Bugs that etcd had, by the numbers of its issues: those that a state machine and its store can have."""

from pathlib import Path

import pytest

from core.kv import commands as c
from core.kv.errors import CompactedError, StaleAccessError
from core.kv.keyspace import Keyspace, Outcome
from core.kv.memory import MemoryStore
from core.kv.records import POSITION
from core.kv.transaction import Transaction
from core.store_lmdb.state import StateStore
from tests.kv.trial import dump

_WRITES: list[c.Command] = [c.Put(b"k%d" % (number % 4), b"%d" % number) for number in range(12)]
_LOG: list[c.Command] = [*_WRITES, c.DeleteRange(b"k1"), c.DeleteRange(b"k0", b"\0"), c.Compact(15)]
"""Ends with a deletion at revision 15, k0, k2 and k3 in one command, and everything before it compacted."""


def apply(keyspace: Keyspace, log: list[c.Command]) -> list[Outcome]:
    """Apply what the keyspace does not have yet, an entry to a command."""
    outcomes: list[Outcome] = []
    for index, command in enumerate(log, 1):
        if index > keyspace.applied[0]:
            outcomes += keyspace.apply(index, 1, c.Batch(index, (command,)))[0]
    return outcomes


def told(keyspace: Keyspace) -> list[tuple[int, bytes, bool]]:
    """What a watch from the floor on is told."""
    return [(record.index, record.key, record.gone) for record in keyspace.history(keyspace.floor)]


@pytest.mark.parametrize("flushed", range(1, 16))
def test_17780_a_crash_in_the_middle_of_a_compaction_let_the_revision_fall(tmp_path: Path, flushed: int) -> None:
    """The last changes are deletions, which a compaction removes: nothing may be counted from what is left."""
    whole = Keyspace(MemoryStore())
    apply(whole, _LOG)
    state = StateStore(tmp_path, create=True)
    keyspace = Keyspace(state)
    apply(keyspace, _LOG[:flushed])
    state.flush()
    apply(keyspace, _LOG)
    for _ in range(20):  # crashes with some of it swept, and on the disk or not
        keyspace.sweep(1)
        if flushed % 2:
            state.flush()
        state.close()
        state = StateStore(tmp_path)
        keyspace = Keyspace(state)
        apply(keyspace, _LOG)
        assert (keyspace.revision, keyspace.floor) == (whole.revision, whole.floor)
        assert told(keyspace) == told(whole)
    while keyspace.sweep():
        pass
    assert (Keyspace(state).revision, told(keyspace)) == (whole.revision, told(whole))
    state.close()


@pytest.mark.parametrize("floor", [14, 15, 16, 17])
def test_18089_19179_a_deletion_at_the_compacted_revision_was_not_told(floor: int, tmp_path: Path) -> None:
    for store in (MemoryStore(), StateStore(tmp_path, create=True)):
        keyspace = Keyspace(store)
        apply(keyspace, [*_LOG[:-1], c.Compact(floor)])
        before = told(keyspace)
        while keyspace.sweep():
            pass
        assert told(keyspace) == before
        assert told(Keyspace(store)) == before
        assert before == [
            (index, key, True) for index, key in ((14, b"k1"), (15, b"k0"), (16, b"k2"), (17, b"k3")) if index >= floor
        ]


def test_18667_a_read_of_what_is_compacted_inside_a_transaction_split_the_members() -> None:
    """One member has swept, the other has not: both must come to the same, and write the same."""
    outcomes, states = [], []
    for sweeps in (True, False):
        store = MemoryStore()
        keyspace = Keyspace(store)
        apply(keyspace, _LOG)
        while sweeps and keyspace.sweep():
            pass
        compacted = c.Txn((), (c.Put(b"new", b"1"), c.Range(b"k0", revision=3)))
        future = c.Txn((), (c.Put(b"new", b"2"), c.Range(b"k0", revision=999)))
        readable = c.Txn((), (c.Put(b"new", b"3"), c.Range(b"k0", b"\0", revision=15)))
        found = apply(keyspace, [*_LOG, compacted, future, readable])
        outcomes.append([repr(outcome) for outcome in found])
        assert isinstance(found[0], CompactedError)
        while keyspace.sweep():
            pass
        states.append(dump(store))
    assert outcomes[0] == outcomes[1]
    assert states[0] == states[1]


def test_14571_a_member_that_got_the_users_by_a_snapshot_did_not_restrict() -> None:
    """It held what it had known of the switch before in memory, and applied what the others refused."""
    log: list[c.Command] = [
        c.UserCreate("root", "hash", ("root",)),
        c.RoleCreate("root"),
        c.AuthSwitch(enabled=True),
        c.Put(b"k", b"not admitted"),
        c.Admitted(2, c.Put(b"k", b"decided before")),
    ]

    def by_log() -> Keyspace:
        keyspace = Keyspace(MemoryStore())
        apply(keyspace, log[:3])
        return keyspace

    def by_snapshot() -> Keyspace:
        keyspace = Keyspace(MemoryStore())
        apply(keyspace, [c.Put(b"x")])
        keyspace.reload(_copy(by_log()._ledger.rows))
        return keyspace

    def by_restart() -> Keyspace:
        return Keyspace(by_log()._ledger.rows)

    members = [by_log(), by_snapshot(), by_restart()]
    for member in members:
        assert [type(outcome) for outcome in apply(member, log)] == [StaleAccessError, StaleAccessError]
        assert member.record(POSITION.pack(member.revision + 1, 0)) is None
    assert len({member.revision for member in members}) == 1
    assert dump(members[0]._ledger.rows) == dump(members[1]._ledger.rows) == dump(members[2]._ledger.rows)


def _copy(rows: Transaction) -> MemoryStore:
    store = MemoryStore()
    for table, each in dump(rows).items():
        for name, row in each.items():
            store.put(table, name, row)
    return store
