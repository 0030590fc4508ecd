"""Who may do more than read and write keys."""

from core.api.http.message import Caller


def trusted(caller: Caller) -> bool:
    """Whether the caller stands on the node's own socket with the right user, or showed a verified certificate."""
    return caller.local or caller.certificate is not None


UNTRUSTED = "this needs the node's unix socket, as root or the node's own user, or a client certificate"
"""What anybody else is told."""
