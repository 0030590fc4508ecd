"""What a call can come to instead of an answer."""


class ClientError(Exception):
    """Any of these. The text is a sentence for people."""


class UnreachableError(ClientError):
    """No endpoint could be connected to; nothing was sent. `.reasons` maps each endpoint to why not."""

    def __init__(self, reasons: dict[str, str]) -> None:
        self.reasons = reasons
        super().__init__("no endpoint answers: " + "; ".join(f"{each}: {why}" for each, why in reasons.items()))


class ConnectionLostError(ClientError):
    """A read broke off or took too long. It may be repeated."""


class OutcomeUnknownError(ClientError):
    """A write was sent but its answer did not come: it may have taken effect or may yet. Look before repeating it."""


class RefusedError(ClientError):
    """The server answered with an error; nothing was done. `code` is v2's errorCode, v3's gRPC code, or 0 if the answer
    had none."""

    KEY_NOT_FOUND = 100
    NOT_A_FILE = 102
    KEY_EXISTS = 105
    HISTORY_CLEARED = 401

    def __init__(self, status: int, code: int, message: str, cause: str = "", index: int = 0) -> None:
        self.status = status
        self.code = code
        self.message = message
        self.cause = cause
        self.index = index
        super().__init__(f"{message} ({cause})" if cause else message)


class CompactedError(RefusedError):
    """The revision asked for, or the changes a watch should tell next, are compacted away. Read what is there now, and
    go on from there. `.revision` is the oldest that is still kept, 0 if the server does not say."""

    def __init__(self, revision: int = 0, message: str = "mvcc: required revision has been compacted") -> None:
        self.revision = revision
        super().__init__(400, 11, message, f"kept from revision {revision} on" if revision else "")


class FutureRevisionError(RefusedError):
    """The revision asked for has not been reached."""


class KeyNotFoundError(RefusedError):
    """A put should keep the value or lease of a key that is not there."""


class LeaseNotFoundError(RefusedError):
    """No such lease: it has expired, was revoked, or never was."""


class LeaseExistsError(RefusedError):
    """The id asked for is taken."""


class InvalidRequestError(RefusedError):
    """The request makes no sense to the server, or is beyond its limits."""


class PermissionDeniedError(RefusedError):
    """The user may not do this with these keys."""


class AuthenticationError(RefusedError):
    """Wrong user or password, or none where one is needed."""


class NoSpaceError(RefusedError):
    """The store is full: delete and compact, or raise its quota."""


class UnavailableError(RefusedError):
    """No member can do it now, for want of a leader or of time; nothing was done. Try again later."""


class OverloadedError(RefusedError):
    """Too many requests wait already; try again later."""


class NotLeadingError(ClientError):
    """The election or lock is not held any more: its key is gone, with its lease or by another's hand."""


class LeaseLostError(ClientError):
    """A lease could not be kept alive: what was bound to it is gone, or will be at any moment."""

    def __init__(self, lease: int, why: str) -> None:
        self.lease = lease
        super().__init__(f"lease {lease:x} is lost: {why}")


class BusyError(ClientError):
    """A lock or lead was not had in the time given. `.holder` is the key of who has it."""

    def __init__(self, name: bytes, holder: bytes) -> None:
        self.name = name
        self.holder = holder
        super().__init__(f"{name.decode(errors='replace')} is held by {holder.decode(errors='replace')}")


class AnswerTooLargeError(ClientError):
    """An answer to a read is larger than the client accepts. Ask for less, or in pages."""


class HistoryLostError(ClientError):
    """A v2 watch cannot go on without a gap: the changes since `.index` were compacted away."""

    def __init__(self, index: int, cause: str) -> None:
        self.index = index
        super().__init__(f"the changes from index {index} on are no longer kept ({cause})")


class StrangeAnswerError(ClientError):
    """The answer is not what this dialect says: perhaps no corenode or etcd listens there."""


_BY_MESSAGE = {
    "mvcc: required revision is a future revision": FutureRevisionError,
    "key not found": KeyNotFoundError,
    "requested lease not found": LeaseNotFoundError,
    "lease already exists": LeaseExistsError,
    "permission denied": PermissionDeniedError,
    "invalid auth token": AuthenticationError,
    "authentication failed, invalid user ID or password": AuthenticationError,
    "user name is empty": AuthenticationError,
    "revision of auth store is old": AuthenticationError,
    "mvcc: database space exceeded": NoSpaceError,
    "too many requests": OverloadedError,
}
_BY_CODE = {
    3: InvalidRequestError,
    7: PermissionDeniedError,
    11: InvalidRequestError,
    14: UnavailableError,
    16: AuthenticationError,
}
_COMPACTED = "mvcc: required revision has been compacted"


def refused(status: int, code: int, message: str) -> RefusedError:
    """The error of the v3 dialect that etcd's message tells of, or else its gRPC code."""
    bare = message.removeprefix("etcdserver: ")
    if bare == _COMPACTED:
        return CompactedError()
    return (_BY_MESSAGE.get(bare) or _BY_CODE.get(code) or RefusedError)(status, code, bare)
