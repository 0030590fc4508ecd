"""The error codes of the v2 dialect: their messages, their HTTP status, their JSON."""

import msgspec

from core.api.plain import DAMAGED
from core.api.store import (
    DamagedError,
    DivergedError,
    NoLeaderError,
    NoSpaceError,
    OutcomeUnknownError,
    OverloadedError,
)
from core.kv.errors import LimitError, ReservedKeyError, TreeError

KEY_RESERVED = 106
UNAUTHORIZED = 110
PREVIOUS_VALUE_REQUIRED = 201
TTL_NOT_A_NUMBER = 202
INDEX_NOT_A_NUMBER = 203
INVALID_FIELD = 209
INVALID_FORM = 210
REFRESH_WITH_VALUE = 211
REFRESH_WITHOUT_TTL = 212
INTERNAL = 300
NO_LEADER = 301

MESSAGES = {
    TreeError.KEY_NOT_FOUND: "Key not found",
    TreeError.COMPARE_FAILED: "Compare failed",
    TreeError.NOT_A_FILE: "Not a file",
    TreeError.NOT_A_DIRECTORY: "Not a directory",
    TreeError.KEY_EXISTS: "Key already exists",
    KEY_RESERVED: "The prefix of given key is a keyword in etcd",
    TreeError.ROOT_READ_ONLY: "Root is read only",
    TreeError.DIRECTORY_NOT_EMPTY: "Directory not empty",
    UNAUTHORIZED: "The request requires user authentication",
    PREVIOUS_VALUE_REQUIRED: "PrevValue is Required in POST form",
    TTL_NOT_A_NUMBER: "The given TTL in POST form is not a number",
    INDEX_NOT_A_NUMBER: "The given index in POST form is not a number",
    INVALID_FIELD: "Invalid field",
    INVALID_FORM: "Invalid POST form",
    REFRESH_WITH_VALUE: "Value provided on refresh",
    REFRESH_WITHOUT_TTL: "A TTL must be provided on refresh",
    INTERNAL: "Raft Internal Error",
    NO_LEADER: "During Leader Election",
    TreeError.HISTORY_CLEARED: "The event in requested index is outdated and cleared",
}

_STATUS = {
    TreeError.KEY_NOT_FOUND: 404,
    TreeError.COMPARE_FAILED: 412,
    TreeError.NOT_A_FILE: 403,
    TreeError.KEY_EXISTS: 412,
    TreeError.DIRECTORY_NOT_EMPTY: 403,
    INTERNAL: 500,
    NO_LEADER: 503,
}
"""Every other code is a 400."""


class RequestError(Exception):
    """A request that cannot be understood, in the words of the dialect. Its index is 0."""

    def __init__(self, code: int, cause: str) -> None:
        super().__init__(code, cause)
        self.code = code
        self.cause = cause


class Refusal(msgspec.Struct, frozen=True):
    """An error as it is answered."""

    status: int
    code: int
    cause: str
    index: int

    def body(self) -> bytes:
        """The JSON line."""
        return _encode(_Body(self.code, MESSAGES[self.code], self.cause or msgspec.UNSET, self.index)) + b"\n"


class _Body(msgspec.Struct, frozen=True, rename="camel"):
    error_code: int
    message: str
    cause: str | msgspec.UnsetType
    index: int


_encode = msgspec.json.Encoder().encode


def refusal(error: object, index: int) -> Refusal:
    """How an error is answered; `index` is the store's, for errors that carry none.

    etcdctl takes any 500 or 503 for a member without leader and asks the next one; of 504 and 507 it prints the
    status. Libraries that read the body show the cause.
    """
    match error:
        case RequestError():
            return Refusal(400, error.code, error.cause, 0)
        case TreeError() if error.code in MESSAGES:
            return Refusal(_STATUS.get(error.code, 400), error.code, error.cause, error.index)
        case LimitError():
            return Refusal(400, INVALID_FIELD, str(error), index)
        case ReservedKeyError():
            return Refusal(400, KEY_RESERVED, str(error), index)
        case OverloadedError():
            return Refusal(503, INTERNAL, str(error), index)
        case NoLeaderError():
            return Refusal(503, NO_LEADER, str(error), index)
        case NoSpaceError():
            return Refusal(507, INTERNAL, str(error), index)
        case DivergedError():
            return Refusal(503, INTERNAL, str(error), index)
        case DamagedError():
            return Refusal(500, INTERNAL, DAMAGED, index)
        case OutcomeUnknownError():
            return Refusal(504, INTERNAL, f"the outcome is unknown: {error}", index)
        case _:
            return Refusal(500, INTERNAL, str(error) or type(error).__name__, index)
