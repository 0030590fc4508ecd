"""Why a member is not let in, as words for programs and as HTTP says them."""

from enum import StrEnum


class Reason(StrEnum):
    """What stands under `reason` in the JSON of a refusal."""

    GARBAGE = "garbage"
    NOT_FOUND = "not-found"
    PROTOCOL = "protocol-version"
    NOT_A_PEER = "not-a-peer"
    REVOKED = "revoked"
    WRONG_CLUSTER = "wrong-cluster"
    WRONG_MEMBER = "wrong-member"
    UNKNOWN_MEMBER = "unknown-member"
    REMOVED = "removed"
    WRONG_NAME = "wrong-name"
    TWICE = "twice"
    BUSY = "busy"
    SNAPSHOT = "snapshot"


STATUS = {
    Reason.GARBAGE: 400,
    Reason.NOT_FOUND: 404,
    Reason.PROTOCOL: 426,
    Reason.NOT_A_PEER: 403,
    Reason.REVOKED: 403,
    Reason.WRONG_CLUSTER: 412,
    Reason.WRONG_MEMBER: 421,
    Reason.UNKNOWN_MEMBER: 403,
    Reason.REMOVED: 410,
    Reason.WRONG_NAME: 403,
    Reason.TWICE: 409,
    Reason.BUSY: 409,
}
