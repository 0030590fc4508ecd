"""Between the client's words and those of the state machine: operations, what they came to, refusals."""

from collections.abc import Sequence
from typing import Any

from core.client import errors
from core.client.values import (
    Compare,
    Delete,
    DeleteResult,
    Event,
    Keys,
    KeyValue,
    Operation,
    Put,
    PutResult,
    Range,
    RangeResult,
    Result,
    Txn,
    TxnResult,
)
from core.kv import commands, outcomes, records
from core.kv import errors as kv
from core.kv.access import Span
from core.kv.records import Record
from core.node import errors as node

MOST_OPERATIONS = 128
"""Conditions, and operations of a branch, that a transaction may have; with those of the ones inside it. etcd's."""

_ALL = b"\0"


# Requests


def check(operation: Operation) -> None:
    """What the dialects check before they propose. InvalidRequestError, in etcd's words."""
    if isinstance(operation, Txn):
        if max(_size(operation)) > MOST_OPERATIONS:
            raise _invalid("too many operations in txn request")
        for compare in operation.compare:
            _check_key(compare.keys)
        for inner in (*operation.then, *operation.otherwise):
            check(inner)
    elif isinstance(operation, Put):
        _check_key(operation.key)
        if operation.keep_value and operation.value:
            raise _invalid("value is provided")
        if operation.keep_lease and operation.lease:
            raise _invalid("lease is provided")
    else:
        _check_key(operation.keys)


def _size(operation: Txn) -> tuple[int, int, int]:
    sizes = [_size(inner) for inner in (*operation.then, *operation.otherwise) if isinstance(inner, Txn)]
    own = len(operation.compare), len(operation.then), len(operation.otherwise)
    deepest = max((max(size) for size in sizes), default=0)
    return own[0] + deepest, own[1] + deepest, own[2] + deepest


def _check_key(keys: bytes | Keys) -> None:
    if not (keys if isinstance(keys, bytes) else keys.start):
        raise _invalid("key is not provided")


def _invalid(message: str) -> errors.InvalidRequestError:
    return errors.InvalidRequestError(400, 3, message)


def span(keys: Keys) -> Span:
    """The range as the keyspace reads it."""
    return Span(b"" if keys.start == _ALL else keys.start, None if keys.end == _ALL else keys.end)


def _ends(keys: bytes | Keys) -> tuple[bytes, bytes | None]:
    return (keys, None) if isinstance(keys, bytes) else (keys.start, keys.end)


def command(operation: Put | Delete | Txn) -> commands.Put | commands.DeleteRange | commands.Txn:
    """A write as it enters the log."""
    match operation:
        case Put():
            return commands.Put(
                operation.key, operation.value, operation.lease, operation.keep_value, operation.keep_lease
            )
        case Delete():
            return commands.DeleteRange(*_ends(operation.keys), operation.previous)
        case Txn():
            return commands.Txn(
                tuple(_compare(each) for each in operation.compare),
                tuple(_inner(each) for each in operation.then),
                tuple(_inner(each) for each in operation.otherwise),
            )


def _inner(operation: Operation) -> commands.Operation:
    if isinstance(operation, Range):
        # Sorted and bounded afterwards, if it is to be: then no limit may be set before.
        limit = operation.limit if enough(operation, 0) == operation.limit else 0
        return commands.Range(*_ends(operation.keys), operation.revision, limit)
    return command(operation)


def _compare(compare: Compare) -> commands.Compare:
    key, end = _ends(compare.keys)
    return commands.Compare(key, compare.target, compare.relation, compare.operand, end)


# Results


def key_value(record: Record) -> KeyValue:
    """A version as the client sees it."""
    return KeyValue(record.key, record.value, record.create_revision, record.revision, record.version, record.lease)


def event(change: records.Event, *, previous: bool) -> Event:
    """A change as the client sees it."""
    record = change.record
    before = key_value(change.previous) if previous and change.previous is not None else None
    if record.gone:
        return Event("delete", KeyValue(record.key, mod_revision=record.revision), before)
    return Event("put", key_value(record), before)


def result(operation: Operation, outcome: Any) -> Result:
    """What an operation came to."""
    match operation, outcome:
        case Put(), outcomes.PutDone():
            replaced = outcome.previous if operation.previous else None
            return PutResult(outcome.revision, None if replaced is None else key_value(replaced))
        case Delete(), outcomes.DeleteDone():
            previous = tuple(key_value(each) for each in outcome.previous)
            return DeleteResult(outcome.revision, outcome.deleted, previous)
        case Range(), outcomes.RangeDone():
            found = [key_value(record) for record in outcome.records]
            return narrowed(operation, found, outcome.count, outcome.revision)
        case Txn(), outcomes.TxnDone():
            branch = operation.then if outcome.succeeded else operation.otherwise
            answers = zip(branch, outcome.responses, strict=True)
            return TxnResult(outcome.revision, outcome.succeeded, tuple(result(*pair) for pair in answers))
    raise errors.StrangeAnswerError(f"a {type(outcome).__name__} is no outcome of a {type(operation).__name__}")


def enough(operation: Range, found: int) -> int:
    """How many keys must still be read, when so many were: all, if they are yet to be sorted or bounded."""
    if operation.count_only:
        return 0
    whole = operation.sort == "key" and not operation.descending and not _bounds(operation)
    return max(operation.limit - found, 0) if operation.limit and whole else 1 << 62


def narrowed(operation: Range, found: Sequence[KeyValue], count: int, revision: int) -> RangeResult:
    """What of the keys in the range was asked for, in the order asked for."""
    if operation.count_only:
        return RangeResult(revision, (), count, False)
    bounds = _bounds(operation)
    kept = [kv for kv in found if all(least <= getattr(kv, name) <= most for name, least, most in bounds)]
    if operation.sort != "key" or operation.descending:
        kept.sort(key=_ORDER[operation.sort], reverse=operation.descending)
    more = bool(operation.limit) and (len(kept) > operation.limit or (not bounds and count > operation.limit))
    if operation.limit:
        del kept[operation.limit :]
    if operation.keys_only:
        kept = [KeyValue(kv.key, b"", kv.create_revision, kv.mod_revision, kv.version, kv.lease) for kv in kept]
    return RangeResult(revision, tuple(kept), count, more)


def _bounds(operation: Range) -> list[tuple[str, int, int]]:
    pairs = (
        ("mod_revision", operation.min_mod_revision, operation.max_mod_revision),
        ("create_revision", operation.min_create_revision, operation.max_create_revision),
    )
    return [(name, least, most or 1 << 63) for name, least, most in pairs if least or most]


_ORDER = {
    "key": lambda kv: kv.key,
    "version": lambda kv: kv.version,
    "create": lambda kv: kv.create_revision,
    "mod": lambda kv: kv.mod_revision,
    "value": lambda kv: kv.value,
}


# Refusals


_REFUSALS: dict[type[Exception], tuple[int, int, str]] = {
    kv.FutureRevisionError: (400, 11, "mvcc: required revision is a future revision"),
    kv.KeyNotFoundError: (400, 3, "key not found"),
    kv.LeaseNotFoundError: (404, 5, "requested lease not found"),
    kv.LeaseExistsError: (400, 9, "lease already exists"),
    kv.DuplicateKeyError: (400, 3, "duplicate key given in txn request"),
    kv.ReservedKeyError: (403, 7, "permission denied"),
    node.OverloadedError: (429, 8, "too many requests"),
    node.NoSpaceError: (429, 8, "mvcc: database space exceeded"),
    node.NoLeaderError: (503, 14, "no leader"),
}
"""HTTP status, gRPC code and message that say the same over HTTP."""


def refusal(error: Exception) -> errors.ClientError:
    """A refusal by the state machine or the node, as a client from outside would get it."""
    if isinstance(error, kv.CompactedError):
        return errors.CompactedError(error.floor)
    if isinstance(error, kv.DamagedError):
        return errors.UnavailableError(503, 14, str(error))
    if isinstance(error, node.OutcomeUnknownError):
        return errors.OutcomeUnknownError(str(error))
    status, code, message = _REFUSALS.get(type(error), (400, 3, str(error)))
    return errors.refused(status, code, message)
