"""What goes wrong between members, in words for people."""


class PeerError(Exception):
    """Something between two members failed. The text says what and why."""


class FrameError(PeerError):
    """What came is no frame of this protocol, or a damaged one. Nothing behind it can be trusted."""


class LinkLostError(PeerError):
    """A connection ended: it was closed, it broke, or the other side fell silent."""


class PeerListenError(PeerError):
    """A peer URL cannot be listened on, or must not be."""


class PeerRefusedError(PeerError):
    """One side does not want the other's connection or snapshot, and says why.

    `reason` is a word for programs (`Reason`), the text is for people.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
