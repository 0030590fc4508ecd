"""Errors of the v3 dialect: gRPC codes, etcd's words, HTTP statuses, and bodies that old and new clients understand."""

from enum import IntEnum
from http import HTTPStatus

import msgspec

from core.api.http.message import Response
from core.api.plain import JSON
from core.api.store import (
    DivergedError,
    FencedError,
    GatedError,
    NoLeaderError,
    NoSpaceError,
    OutcomeUnknownError,
    OverloadedError,
)
from core.kv.errors import (
    CompactedError,
    DuplicateKeyError,
    FutureRevisionError,
    KeyNotFoundError,
    LeaseExistsError,
    LeaseNotFoundError,
    LimitError,
    ReservedKeyError,
)


class Code(IntEnum):
    """The codes of gRPC that this dialect uses."""

    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    OUT_OF_RANGE = 11
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


_STATUS = {
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 412,
    Code.OUT_OF_RANGE: 400,
    Code.UNAVAILABLE: 503,
    Code.UNAUTHENTICATED: 401,
}


class RpcError(Exception):
    """A refusal as it is answered: its code and its text."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    @property
    def status(self) -> int:
        """The HTTP status."""
        return _STATUS[self.code]


def etcd(code: Code, words: str) -> RpcError:
    """An error in etcd's words."""
    return RpcError(code, f"etcdserver: {words}")


def invalid(words: str) -> RpcError:
    """A request that is wrong in itself, in etcd's words."""
    return etcd(Code.INVALID_ARGUMENT, words)


def refusal(error: object) -> RpcError:
    """How an error of the store or of the keyspace is answered."""
    match error:
        case RpcError():
            return error
        case CompactedError():
            return etcd(Code.OUT_OF_RANGE, "mvcc: required revision has been compacted")
        case FutureRevisionError():
            return etcd(Code.OUT_OF_RANGE, "mvcc: required revision is a future revision")
        case KeyNotFoundError():
            return invalid("key not found")
        case LeaseNotFoundError():
            return etcd(Code.NOT_FOUND, "requested lease not found")
        case LeaseExistsError():
            return etcd(Code.FAILED_PRECONDITION, "lease already exists")
        case DuplicateKeyError():
            return invalid("duplicate key given in txn request")
        case ReservedKeyError():
            return RpcError(Code.PERMISSION_DENIED, f"etcdserver: permission denied: {error}")
        case LimitError():
            return invalid(str(error))
        case NoSpaceError():
            return RpcError(Code.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded")
        case OverloadedError():
            return etcd(Code.RESOURCE_EXHAUSTED, "too many requests")
        case FencedError() | GatedError() | DivergedError():
            return RpcError(Code.UNAVAILABLE, f"etcdserver: {error}")
        case NoLeaderError():
            return etcd(Code.UNAVAILABLE, "no leader")
        case OutcomeUnknownError():
            return RpcError(Code.DEADLINE_EXCEEDED, f"etcdserver: request timed out, the outcome is unknown: {error}")
        case _:
            return RpcError(Code.UNKNOWN, str(error) or type(error).__name__)


_encode = msgspec.json.Encoder().encode


def response(error: RpcError) -> Response:
    """The whole answer: `error` is for clients of etcd before 3.6, `code` and `message` for all since 3.4."""
    body = {"error": error.message, "message": error.message, "code": int(error.code)}
    return Response(error.status, JSON, _encode(body))


def stream_line(error: RpcError) -> bytes:
    """The last line of a stream that cannot go on, with the fields of all versions."""
    status = error.status
    body = {
        "grpc_code": int(error.code),
        "http_code": status,
        "message": error.message,
        "http_status": HTTPStatus(status).phrase,
        "code": int(error.code),
    }
    return b'{"error":%b}\n' % _encode(body)
