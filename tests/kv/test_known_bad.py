"""Mistakes made on purpose: each must be noticed by the walk, or the walk proves nothing."""

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from core.kv import commands as c
from core.kv import compaction, flat, keyspace, leases, paths, records, rows, tree
from core.kv.errors import LeaseNotFoundError
from core.kv.ledger import Ledger
from core.kv.memory import MemoryStore
from core.kv.outcomes import LeaseDone
from core.kv.records import GONE, NOWHERE, Record
from core.kv.steps import Steps, finish
from core.kv.transaction import Table
from tests.kv.walk import walk

Break = Callable[[pytest.MonkeyPatch], None]


def created_kept_on_set(patch: pytest.MonkeyPatch) -> None:
    """A set that replaces a file keeps its createdIndex."""
    write = Ledger.write

    def bad(self: Ledger, table: Table, key: bytes, *rest: Any, **named: Any) -> Record:
        return write(self, table, key, *rest, **{**named, "keep_created": named.get("previous") is not None})

    patch.setattr(Ledger, "write", bad)


def version_not_restarted(patch: pytest.MonkeyPatch) -> None:
    """A key made anew counts on from the deleted one."""
    live = Ledger.live

    def bad(self: Ledger, table: Table, key: bytes) -> Record | None:
        found = live(self, table, key)
        row = self.rows.get(table, key)
        return found if found or row is None or self.revision % 7 else self.record(rows.newest(row))

    patch.setattr(Ledger, "live", bad)


def expiry_of_what_was_renewed(patch: pytest.MonkeyPatch) -> None:
    """The old deadline stays when a key is written again."""
    patch.setattr(Ledger, "_unschedule", lambda self, record: None)


def expiry_too_late(patch: pytest.MonkeyPatch) -> None:
    """Due at the deadline is taken for due after it."""
    expire = leases.expire

    def bad(ledger: Ledger, command: c.Expire) -> object:
        ledger.time -= 1
        try:
            return finish(expire(ledger, command))
        finally:
            ledger.time += 1

    patch.setitem(keyspace_operations(), c.Expire, bad)


def expiry_without_limit(patch: pytest.MonkeyPatch) -> None:
    """All that is due goes at once."""
    expire = leases.expire
    patch.setitem(keyspace_operations(), c.Expire, lambda ledger, _: expire(ledger, c.Expire(1000)))


def compaction_one_too_many(patch: pytest.MonkeyPatch) -> None:
    """The sweep takes what the change at the floor itself replaced."""
    sweep = compaction.sweep

    def bad(ledger: Ledger, limit: int, floor: int) -> int:
        return sweep(ledger, limit, floor + 1)

    patch.setattr(compaction, "sweep", bad)


def compaction_one_too_few(patch: pytest.MonkeyPatch) -> None:
    """The sweep forgets to remove deletions."""
    patch.setattr(compaction, "_forget", lambda ledger, record: None)


def chunks_left_behind(patch: pytest.MonkeyPatch) -> None:
    """Spilled rows are never removed."""
    patch.setattr(compaction, "SPILLED", 0)


def chunks_lost(patch: pytest.MonkeyPatch) -> None:
    """A full row starts anew without pointing to the older one."""
    patch.setattr(rows, "pointing_to", lambda position: rows.EMPTY)


def prune_hides_the_floor(patch: pytest.MonkeyPatch) -> None:
    """A full row loses the version that the floor still shows."""
    pruned = rows.pruned
    patch.setattr(rows, "pruned", lambda row, floor: pruned(row, floor + 1))


def half_a_group_shown(patch: pytest.MonkeyPatch) -> None:
    """The changes of a command keep revisions of their own."""
    begin = Ledger.begin_group
    patch.setattr(Ledger, "begin_group", lambda self, changes: begin(self, None))

    def kept(self: Ledger, first_event: int) -> Steps[dict[bytes, Record]]:
        yield
        return {}

    patch.setattr(Ledger, "end_group", kept)


def miscounted_group(patch: pytest.MonkeyPatch) -> None:
    """The changes of a command are given a revision that is none of theirs."""
    begin, end = Ledger.begin_group, Ledger.end_group

    def one_more(self: Ledger, changes: int | None) -> None:
        begin(self, None if changes is None else changes + 1)

    def unchecked(self: Ledger, first_event: int) -> Steps[dict[bytes, Record]]:
        self._last = 0
        return end(self, first_event)

    patch.setattr(Ledger, "begin_group", one_more)
    patch.setattr(Ledger, "end_group", unchecked)


def parents_of_v3_forgotten(patch: pytest.MonkeyPatch) -> None:
    """A v3 put makes no directories."""
    patch.setattr(paths, "is_clean", lambda key: False)


def stale_directory_cache(patch: pytest.MonkeyPatch) -> None:
    """A directory once known to be open is taken for open for ever."""
    knows = Ledger.knows_open_above
    known: set[bytes] = set()

    def bad(self: Ledger, path: bytes) -> bool:
        if knows(self, path):
            known.add(paths.parent(path))
        return paths.parent(path) in known

    patch.setattr(Ledger, "knows_open_above", bad)


def recursive_delete_takes_odd_keys(patch: pytest.MonkeyPatch) -> None:
    """A tree's deletion takes keys that v2 cannot see."""

    def bad(ledger: Ledger, directory: bytes) -> list[tuple[Table, Record]]:
        span = paths.below(directory)
        keys = [(table, key) for table in (Table.KEY, Table.DIRECTORY) for key, _ in ledger.rows.scan(table, *span)]
        return [(table, found) for table, key in keys if (found := ledger.live(table, key)) is not None]

    patch.setattr(tree, "_below", bad)


def previous_forgotten(patch: pytest.MonkeyPatch) -> None:
    """A deletion does not say what it ended, so history cannot tell it and the sweep cannot find it."""
    encode = records.encode

    def bad(record: Record) -> bytes:
        values = {name: getattr(record, name) for name in Record.__struct_fields__}
        return encode(Record(**{**values, "previous": NOWHERE}) if record.flags & GONE else record)

    patch.setattr(records, "encode", bad)


def lease_keeps_its_keys(patch: pytest.MonkeyPatch) -> None:
    """A lease that ends leaves its keys."""
    patch.setattr(leases, "attached", lambda ledger, lease: [])


def keep_alive_forgets_the_old_deadline(patch: pytest.MonkeyPatch) -> None:
    """A renewed lease still ends at its first deadline."""

    def bad(ledger: Ledger, command: c.LeaseKeepAlive) -> object:
        lease = leases.find(ledger, command.id)
        if lease is None:
            raise LeaseNotFoundError
        leases._write(ledger, command.id, lease.ttl)
        return LeaseDone(ledger.revision, command.id, lease.ttl)

    patch.setitem(keyspace_operations(), c.LeaseKeepAlive, bad)


def txn_checks_while_it_runs(patch: pytest.MonkeyPatch) -> None:
    """A refusal in the middle of a transaction leaves the first half done."""
    check = flat._check_put
    put = flat._put

    def bad(ledger: Ledger, command: c.Put) -> object:
        check(ledger, command)
        return put(ledger, command)

    patch.setattr(flat, "_check_put", lambda ledger, command, **_: None)
    patch.setattr(flat, "_put", bad)


def floor_not_checked(patch: pytest.MonkeyPatch) -> None:
    """Reads below the floor are answered from what happens to be left."""
    patch.setattr(Ledger, "check_readable", lambda self, at: None)


def keyspace_operations() -> dict[type, Any]:
    return keyspace._OPERATIONS


MISTAKES: list[Break] = [
    created_kept_on_set,
    version_not_restarted,
    expiry_of_what_was_renewed,
    expiry_too_late,
    expiry_without_limit,
    compaction_one_too_many,
    compaction_one_too_few,
    chunks_left_behind,
    chunks_lost,
    prune_hides_the_floor,
    half_a_group_shown,
    miscounted_group,
    parents_of_v3_forgotten,
    stale_directory_cache,
    recursive_delete_takes_odd_keys,
    previous_forgotten,
    lease_keeps_its_keys,
    keep_alive_forgets_the_old_deadline,
    txn_checks_while_it_runs,
    floor_not_checked,
]


def walks() -> None:
    """The walks that all mistakes are tried with: short rows and long ones."""
    for seed in range(8):
        walk(MemoryStore(), Random(seed), 120)
        walk(MemoryStore(), Random(seed), 120, compact=1, hot=120)


def test_without_a_mistake_the_walks_pass() -> None:
    walks()


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_the_walk_notices(mistake: Break, monkeypatch: pytest.MonkeyPatch) -> None:
    mistake(monkeypatch)
    with pytest.raises(AssertionError):
        walks()
