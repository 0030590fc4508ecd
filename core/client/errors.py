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
    """The server answered with an error. `code` is v2's errorCode, or 0 if the answer had none."""

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


class HistoryLostError(ClientError):
    """A watch cannot go on without a gap: the changes since `.index` were compacted away."""

    def __init__(self, index: int, cause: str) -> None:
        self.index = index
        super().__init__(f"the changes from index {index} on are no longer kept ({cause})")


class StrangeAnswerError(ClientError):
    """The answer is not what this dialect says: perhaps no corenode or etcd listens there."""
