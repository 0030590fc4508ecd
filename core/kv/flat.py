"""The operations of the v3 dialect: single keys, ranges and transactions over the flat keyspace.

A clean path that v3 writes gets its directories, so that v2 can walk to it. Keys of the system records are left out
of every range and refused to every write, but for those of `core.kv.reserved`.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from itertools import islice

from core.kv import leases, paths
from core.kv.commands import Compare, DeleteRange, Operation, Put, Range, Txn
from core.kv.errors import (
    DuplicateKeyError,
    FutureRevisionError,
    KeyNotFoundError,
    LeaseNotFoundError,
    LimitError,
    ReservedKeyError,
)
from core.kv.ledger import SYSTEM_PREFIX, Ledger
from core.kv.outcomes import DeleteDone, PutDone, RangeDone, TxnDone
from core.kv.records import Action, Record
from core.kv.reserved import clipped, is_hidden, is_reserved
from core.kv.steps import Steps, scan, taken
from core.kv.transaction import Table

DEEPEST_TXN = 128
"""Levels of nested transactions: as many as etcd's limit of operations allows. The same on every member and far below
where a Python stack ends, which is not."""

MOST_READ = 10_000
"""Keys that the ranges and comparisons of one transaction may look at: it is carried out in one piece, and all wait."""
COUNTED = 10
"""As many keys that are only counted cost what one does that is read."""

READS = 128
"""Keys looked at in one step."""

_ALL = b"\0"


def put(ledger: Ledger, command: Put) -> PutDone:
    """Store a value."""
    _check_put(ledger, command)
    return _put(ledger, command)


def delete_range(ledger: Ledger, command: DeleteRange) -> Steps[DeleteDone]:
    """Delete keys; deleting nothing consumes no revision."""
    return _delete_range(ledger, command)


def range_(ledger: Ledger, command: Range, at: int = 0) -> Steps[RangeDone]:
    """Read keys, now (`at`: as of that revision) or at a revision that is still kept."""
    _check_revision(ledger, command.revision)
    found: list[Record] = []
    count = 0
    for _, position in _positions(ledger, command.key, command.end, command.revision or at):
        count += 1
        if count % READS == 0:
            yield
        if not command.count_only and (not command.limit or len(found) < command.limit):
            found.append(ledger.existing(position))
    return RangeDone(at or ledger.revision, tuple(found), count)


def txn(ledger: Ledger, command: Txn) -> Steps[TxnDone]:
    """Compare, then do one branch whole. What could be refused is looked for before the first write."""
    check_duplicates(command)
    branches: dict[int, bool] = {}
    yield from _choose(ledger, command, branches, _Allowance())
    before = ledger.revision
    first_event = len(ledger.events)
    ledger.begin_group(_changes(command, branches))
    done = yield from _run(ledger, command, branches)
    moved = yield from ledger.end_group(first_event)
    return _settled_txn(done, before, ledger.revision, moved)


def evaluation(ledger: Ledger, command: Txn) -> Steps[TxnDone]:
    """What a transaction of reads alone comes to now, in steps between which anything may be written; ValueError if it
    can write."""
    if any(_can_write(operation) for operation in (*command.success, *command.failure)):
        raise ValueError("a transaction that writes has to go through the log")
    while True:
        at = ledger.revision
        work = _evaluated(ledger, command, at)
        while at >= ledger.floor:  # what was now at first may be compacted away before the end
            try:
                next(work)
            except StopIteration as end:
                done: TxnDone = end.value
                return done
            yield


def _evaluated(ledger: Ledger, command: Txn, at: int) -> Steps[TxnDone]:
    branches: dict[int, bool] = {}
    yield from _choose(ledger, command, branches, _Allowance(), at)
    return (yield from _run(ledger, command, branches, at))


def _can_write(operation: Operation) -> bool:
    if isinstance(operation, Txn):
        return any(_can_write(each) for each in (*operation.success, *operation.failure))
    return not isinstance(operation, Range)


def check_duplicates(command: Txn) -> None:
    """DuplicateKeyError if a branch writes one key twice, or deletes what it puts; LimitError if nested too deep."""
    for branch in (command.success, command.failure):
        _writes(branch, 1)


def _writes(branch: tuple[Operation, ...], depth: int) -> tuple[set[bytes], list[DeleteRange]]:
    """Every put key and deletion that a branch may come to, whichever way its inner transactions go.

    Nearly all are plain puts, so these are looked at together."""
    if depth > DEEPEST_TXN:
        raise LimitError(f"transactions are nested more than {DEEPEST_TXN} deep")
    keys_put = [operation.key for operation in branch if type(operation) is Put]
    puts = set(keys_put)
    others = [operation for operation in branch if type(operation) is not Put]
    parts = [_writes_of(operation, depth) for operation in others]
    puts.update(*(keys for keys, _ in parts))
    if len(puts) != len(keys_put) + sum(len(keys) for keys, _ in parts):
        raise DuplicateKeyError
    ordered = sorted(puts) if parts else []
    for keys, deletions in parts:
        own = sorted(keys) if deletions else []
        for deletion in deletions:
            # Puts of the same operation do not count: they are of its other branch, or were looked at within it.
            if _covered(ordered, deletion) > _covered(own, deletion):
                raise DuplicateKeyError
    return puts, [deletion for _, deletions in parts for deletion in deletions]


def _writes_of(operation: Operation, depth: int) -> tuple[set[bytes], list[DeleteRange]]:
    match operation:
        case DeleteRange():
            return set(), [operation]
        case Txn():
            # Only one of the two branches is taken, so they may write the same keys.
            puts, deletes = _writes(operation.success, depth + 1)
            other_puts, other_deletes = _writes(operation.failure, depth + 1)
            return puts | other_puts, deletes + other_deletes
    return set(), []


def _covered(keys: list[bytes], deletion: DeleteRange) -> int:
    """How many of the keys, which are in order, a deletion would end."""
    if deletion.end is None:
        place = bisect_left(keys, deletion.key)
        return int(place < len(keys) and keys[place] == deletion.key)
    stop = len(keys) if deletion.end == _ALL else bisect_left(keys, deletion.end)
    return max(stop - bisect_left(keys, deletion.key), 0)


class _Allowance:
    """What a transaction may still look at."""

    def __init__(self) -> None:
        self._left = MOST_READ * COUNTED

    def take(self, found: Iterator[tuple[bytes, bytes]], cost: int) -> Iterator[tuple[bytes, bytes]]:
        """The same keys, each for a price. LimitError when it is spent."""
        for item in found:
            self._left -= cost
            if self._left < 0:
                raise LimitError(
                    f"a transaction looks at {MOST_READ:,} keys at most; read ranges by themselves, or with a limit"
                )
            yield item


def _choose(ledger: Ledger, command: Txn, branches: dict[int, bool], allowance: _Allowance, at: int = 0) -> Steps[None]:
    """Decide the branch of each transaction from the state before all of them, and check what they will do."""
    succeeded = True
    for compare in command.compare:
        succeeded = yield from _holds(ledger, compare, allowance, at)
        if not succeeded:
            break
    branches[id(command)] = succeeded
    for operation in command.success if succeeded else command.failure:
        if isinstance(operation, Txn):
            yield from _choose(ledger, operation, branches, allowance, at)
        elif isinstance(operation, Put):
            _check_put(ledger, operation, in_txn=True)
        elif isinstance(operation, Range):
            _check_revision(ledger, operation.revision)
            yield from _check_range(ledger, operation, allowance, at)


def _changes(command: Txn, branches: dict[int, bool]) -> int | None:
    """How many changes the chosen branches make; None if they delete, for then nobody knows yet."""
    changes = 0
    for operation in command.success if branches[id(command)] else command.failure:
        if isinstance(operation, Put):
            changes += 1
        elif isinstance(operation, Txn):
            inner = _changes(operation, branches)
            if inner is None:
                return None
            changes += inner
        elif isinstance(operation, DeleteRange):
            return None
    return changes


def _run(ledger: Ledger, command: Txn, branches: dict[int, bool], at: int = 0) -> Steps[TxnDone]:
    succeeded = branches[id(command)]
    responses: list[PutDone | DeleteDone | RangeDone | TxnDone] = []
    for operation in command.success if succeeded else command.failure:
        if isinstance(operation, Put):
            responses.append(_put(ledger, operation))
        elif isinstance(operation, DeleteRange):
            responses.append((yield from _delete_range(ledger, operation)))
        elif isinstance(operation, Range):
            responses.append((yield from range_(ledger, operation, at)))
        else:
            responses.append((yield from _run(ledger, operation, branches, at)))
    return TxnDone(at or ledger.revision, succeeded, tuple(responses))


def _settled_txn(done: TxnDone, before: int, last: int, moved: dict[bytes, Record]) -> TxnDone:
    """The answer as of the whole transaction. Its operations were answered while it ran, when the revision that all its
    changes share was not known yet."""
    if last == before:
        return done
    responses = tuple(_settled(response, before, last, moved) for response in done.responses)
    return TxnDone(last if done.revision > before else before, done.succeeded, responses)


def _settled(
    done: PutDone | DeleteDone | RangeDone | TxnDone, before: int, last: int, moved: dict[bytes, Record]
) -> PutDone | DeleteDone | RangeDone | TxnDone:
    if done.revision == before:
        return done
    match done:
        case PutDone():
            return PutDone(last, done.previous)
        case DeleteDone():
            return DeleteDone(last, done.deleted, done.previous)
        case RangeDone():
            found = tuple(moved.get(record.position, record) for record in done.records)
            return RangeDone(last, found, done.count)
    return _settled_txn(done, before, last, moved)


def _holds(ledger: Ledger, compare: Compare, allowance: _Allowance, at: int) -> Steps[bool]:
    """Whether a comparison holds for every key of its range. If none is there it is made with a key that has zeros and
    no value, as etcd makes it."""
    found = 0
    for _, position in allowance.take(_positions(ledger, compare.key, compare.end, at), COUNTED):
        found += 1
        if found % READS == 0:
            yield
        if not _holds_for(ledger.existing(position), compare):
            return False
    return bool(found) or _holds_for(None, compare)


def _holds_for(record: Record | None, compare: Compare) -> bool:
    found: int | bytes
    match compare.target:
        case "value":
            if record is None:
                return False
            found = record.value
        case "version":
            found = record.version if record else 0
        case "create":
            found = record.create_revision if record else 0
        case "mod":
            found = record.revision if record else 0
        case _:
            found = record.lease if record else 0
    operand = compare.operand
    if isinstance(found, bytes) != isinstance(operand, bytes):
        return False
    match compare.relation:
        case "=":
            return found == operand
        case "!=":
            return found != operand
        case "<":
            return found < operand  # type: ignore[operator]
        case _:
            return found > operand  # type: ignore[operator]


def _put(ledger: Ledger, command: Put) -> PutDone:
    key = command.key
    row = ledger.rows.get(Table.KEY, key)
    previous = ledger.newest(row)
    index = ledger.revision + 1
    if paths.is_clean(key):
        ledger.make_parents(key, index, 1)
    record = ledger.write(
        Table.KEY,
        key,
        index,
        0,
        Action.SET,
        previous.value if command.ignore_value and previous else command.value,
        previous=previous,
        lease=previous.lease if command.ignore_lease and previous else command.lease,
        deadline=previous.deadline if command.ignore_lease and previous else 0,
        row=row,
    )
    ledger.tell(record, previous)
    return PutDone(ledger.revision, previous)


def _delete_range(ledger: Ledger, command: DeleteRange) -> Steps[DeleteDone]:
    found: deque[Record] = deque()
    for _, position in _positions(ledger, command.key, command.end, 0):
        found.append(ledger.existing(position))
        if len(found) % READS == 0:
            yield
    count = len(found)
    previous = tuple(found) if command.previous else ()
    yield from ledger.remove_all(taken(found), count, Action.DELETE)
    return DeleteDone(ledger.revision, count, previous)


def _positions(ledger: Ledger, key: bytes, end: bytes | None, at: int) -> Iterator[tuple[bytes, bytes]]:
    """(key, position) of each version in a range, in key order, as of revision `at`, whatever is written meanwhile; or
    now (0), good while what it has shown is deleted."""
    if end is None:
        row = ledger.rows.get(Table.KEY, key)
        position = ledger.shown(row, at or None) if row is not None and not is_hidden(key, key) else None
        if position is not None:
            yield key, position
        return
    start = b"" if key == _ALL else key
    for found, row in scan(ledger.rows, Table.KEY, start, clipped(start, None if end == _ALL else end)):
        if not is_hidden(found, start):
            # A row that was read before a write shows what it did; the newest is found sooner.
            position = ledger.shown(row, None if at in (0, ledger.revision) else at)
            if position is not None:
                yield found, position


def _check_put(ledger: Ledger, command: Put, *, in_txn: bool = False) -> None:
    if command.key.startswith(SYSTEM_PREFIX) and not is_reserved(command.key):
        raise ReservedKeyError("keys below \\0corenode/ are written by their own operations only")
    ledger.check_length(command.key)
    nothing_to_keep = (command.ignore_value or command.ignore_lease) and not ledger.is_live(Table.KEY, command.key)
    if in_txn and nothing_to_keep:  # looked at in etcd's order, which is the other one within a transaction
        raise KeyNotFoundError
    if command.lease and leases.find(ledger, command.lease) is None:
        raise LeaseNotFoundError
    if nothing_to_keep:
        raise KeyNotFoundError


def _check_range(ledger: Ledger, command: Range, allowance: _Allowance, at: int) -> Steps[None]:
    """LimitError if it would look at more keys than the transaction may. What the limit leaves out is counted."""
    if command.end is None:
        return
    found = _positions(ledger, command.key, command.end, command.revision or at)
    read = 0 if command.count_only else min(max(command.limit, 0) or MOST_READ + 1, MOST_READ + 1)
    for part in (allowance.take(islice(found, read), COUNTED), allowance.take(found, 1)):
        for number, _ in enumerate(part, 1):
            if number % READS == 0:
                yield


def _check_revision(ledger: Ledger, revision: int) -> None:
    if revision > ledger.revision:
        raise FutureRevisionError
    if revision:
        ledger.check_readable(revision)
