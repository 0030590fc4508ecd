"""The JSON of the v3 dialect: requests as etcd's gateway takes them, and its replies.

Numbers of 64 bits are strings there, bytes base64, and what has its default is left out.
"""

from typing import Any, TypeVar

import msgspec

from core.client.errors import RefusedError, StrangeAnswerError, refused
from core.client.transport import Answer
from core.client.values import (
    Compare,
    Delete,
    DeleteResult,
    Event,
    Keys,
    KeyValue,
    LeaseStatus,
    Operation,
    Put,
    PutResult,
    Range,
    RangeResult,
    Result,
    Txn,
    TxnResult,
)

RANGE, PUT, DELETE, TXN = "/v3/kv/range", "/v3/kv/put", "/v3/kv/deleterange", "/v3/kv/txn"

_RELATIONS = {"=": "EQUAL", "!=": "NOT_EQUAL", "<": "LESS", ">": "GREATER"}
_OPERANDS = {
    "value": "value",
    "version": "version",
    "create": "create_revision",
    "mod": "mod_revision",
    "lease": "lease",
}
_BOUNDS = ("min_mod_revision", "max_mod_revision", "min_create_revision", "max_create_revision")

T = TypeVar("T")

encode = msgspec.json.Encoder().encode


# Requests


def keys_of(keys: bytes | Keys) -> dict[str, Any]:
    """The fields that name one key or a range."""
    return {"key": keys} if isinstance(keys, bytes) else {"key": keys.start, "range_end": keys.end}


def _range(operation: Range) -> dict[str, Any]:
    fields = keys_of(operation.keys)
    if operation.limit:
        fields["limit"] = str(operation.limit)
    if operation.revision:
        fields["revision"] = str(operation.revision)
    if operation.sort != "key" or operation.descending:
        fields["sort_target"] = operation.sort.upper()
        fields["sort_order"] = "DESCEND" if operation.descending else "ASCEND"
    fields |= {name: True for name in ("keys_only", "count_only") if getattr(operation, name)}
    return fields | {name: str(getattr(operation, name)) for name in _BOUNDS if getattr(operation, name)}


def _put(operation: Put) -> dict[str, Any]:
    fields: dict[str, Any] = {"key": operation.key}
    if operation.value:
        fields["value"] = operation.value
    if operation.lease:
        fields["lease"] = str(operation.lease)
    if operation.previous:
        fields["prev_kv"] = True
    if operation.keep_value:
        fields["ignore_value"] = True
    if operation.keep_lease:
        fields["ignore_lease"] = True
    return fields


def _delete(operation: Delete) -> dict[str, Any]:
    return keys_of(operation.keys) | ({"prev_kv": True} if operation.previous else {})


def _compare(compare: Compare) -> dict[str, Any]:
    operand = compare.operand if isinstance(compare.operand, bytes) else str(compare.operand)
    return keys_of(compare.keys) | {
        "target": compare.target.upper(),
        "result": _RELATIONS[compare.relation],
        _OPERANDS[compare.target]: operand,
    }


def _txn(operation: Txn) -> dict[str, Any]:
    return {
        "compare": [_compare(each) for each in operation.compare],
        "success": [_inner(each) for each in operation.then],
        "failure": [_inner(each) for each in operation.otherwise],
    }


def _inner(operation: Operation) -> dict[str, Any]:
    match operation:
        case Range():
            return {"request_range": _range(operation)}
        case Put():
            return {"request_put": _put(operation)}
        case Delete():
            return {"request_delete_range": _delete(operation)}
        case Txn():
            return {"request_txn": _txn(operation)}


def request(operation: Operation) -> tuple[str, dict[str, Any]]:
    """The path and fields of an operation."""
    match operation:
        case Range():
            return RANGE, _range(operation)
        case Put():
            return PUT, _put(operation)
        case Delete():
            return DELETE, _delete(operation)
        case Txn():
            return TXN, _txn(operation)


# Replies. The names are etcd's.


class Header(msgspec.Struct, frozen=True):
    """Who answers, as of when; of it the revision is used."""

    revision: int = 0


_NO_HEADER = Header()


class RangeReply(msgspec.Struct, frozen=True):
    header: Header = _NO_HEADER
    kvs: tuple[KeyValue, ...] = ()
    count: int = 0
    more: bool = False

    def result(self) -> RangeResult:
        return RangeResult(self.header.revision, self.kvs, self.count, self.more)


class PutReply(msgspec.Struct, frozen=True):
    header: Header = _NO_HEADER
    prev_kv: KeyValue | None = None

    def result(self) -> PutResult:
        return PutResult(self.header.revision, self.prev_kv)


class DeleteReply(msgspec.Struct, frozen=True):
    header: Header = _NO_HEADER
    deleted: int = 0
    prev_kvs: tuple[KeyValue, ...] = ()

    def result(self) -> DeleteResult:
        return DeleteResult(self.header.revision, self.deleted, self.prev_kvs)


class InnerReply(msgspec.Struct, frozen=True):
    """What one operation of a transaction came to."""

    response_range: RangeReply | None = None
    response_put: PutReply | None = None
    response_delete_range: DeleteReply | None = None
    response_txn: "TxnReply | None" = None

    def result(self) -> Result:
        for reply in (self.response_range, self.response_put, self.response_delete_range, self.response_txn):
            if reply is not None:
                return reply.result()
        raise StrangeAnswerError("an operation of the transaction was not answered")


class TxnReply(msgspec.Struct, frozen=True):
    header: Header = _NO_HEADER
    succeeded: bool = False
    responses: tuple[InnerReply, ...] = ()

    def result(self) -> TxnResult:
        return TxnResult(self.header.revision, self.succeeded, tuple(each.result() for each in self.responses))


class LeaseReply(msgspec.Struct, frozen=True):
    """A lease granted, kept alive or asked about."""

    id: int = msgspec.field(name="ID", default=0)
    ttl: int = msgspec.field(name="TTL", default=0)
    granted: int = msgspec.field(name="grantedTTL", default=0)
    keys: tuple[bytes, ...] = ()

    def result(self) -> LeaseStatus:
        return LeaseStatus(self.id, self.ttl, self.granted, tuple(sorted(self.keys)))


class StreamProblem(msgspec.Struct, frozen=True):
    """An error inside a stream; up to etcd 3.5 with `grpc_code`, later with `code`."""

    grpc_code: int = 0
    code: int = 0
    http_code: int = 0
    message: str = ""

    def refusal(self, status: int = 200) -> RefusedError:
        message = self.message or "the stream ended with an error"
        return refused(self.http_code or status, self.grpc_code or self.code, message)


class KeptAlive(msgspec.Struct, frozen=True):
    """The one line of the keep-alive stream."""

    result: LeaseReply = LeaseReply()
    error: StreamProblem | None = None


class LeasesReply(msgspec.Struct, frozen=True):
    leases: tuple[LeaseReply, ...] = ()


class TokenReply(msgspec.Struct, frozen=True):
    token: str


class EmptyReply(msgspec.Struct, frozen=True):
    """Nothing of interest."""


class WireEvent(msgspec.Struct, frozen=True):
    type: str = "PUT"
    kv: KeyValue = KeyValue()
    prev_kv: KeyValue | None = None

    def event(self) -> Event:
        return Event("delete" if self.type == "DELETE" else "put", self.kv, self.prev_kv)


class WatchReply(msgspec.Struct, frozen=True):
    header: Header = _NO_HEADER
    watch_id: int = 0
    created: bool = False
    canceled: bool = False
    compact_revision: int = 0
    cancel_reason: str = ""
    fragment: bool = False
    """More of the same revision follows."""
    events: tuple[WireEvent, ...] = ()


class WatchLine(msgspec.Struct, frozen=True):
    """One line of a watch stream."""

    result: WatchReply | None = None
    error: StreamProblem | None = None


class _Problem(msgspec.Struct, frozen=True):
    code: int = 0
    message: str = ""
    error: str | StreamProblem = ""


REPLIES: dict[str, type[RangeReply | PutReply | DeleteReply | TxnReply]] = {
    RANGE: RangeReply,
    PUT: PutReply,
    DELETE: DeleteReply,
    TXN: TxnReply,
}


def decode(body: bytes, kind: type[T]) -> T:
    """A reply of that kind; StrangeAnswerError if it is none."""
    try:
        return msgspec.json.decode(body, type=kind, strict=False)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StrangeAnswerError(f"the answer is not in the v3 form: {error}") from None


def refusal(answer: Answer) -> RefusedError:
    """The error in an answer that is none."""
    try:
        problem = msgspec.json.decode(answer.body, type=_Problem, strict=False)
    except (msgspec.DecodeError, UnicodeDecodeError):
        problem = _Problem()
    if isinstance(problem.error, StreamProblem):
        return problem.error.refusal(answer.status)
    message = problem.message or problem.error or answer.body[:200].decode(errors="replace").strip()
    return refused(answer.status, problem.code, message or f"HTTP {answer.status}")
