"""Who is at the other end, by what the connection proves: the unix socket's peer, or a client certificate."""

from functools import lru_cache

from core.kv.access import Identity, Office
from core.tls.identity import Role, identify

_OFFICES = {Role.ADMIN: Office.ADMIN, Role.OPERATOR: Office.OPERATOR, Role.READER: Office.READER}

ANONYMOUS = Identity("anonymous")
SOCKET = Identity("unix socket", Office.ADMIN)
"""Root or the node's own user, as the kernel says."""


@lru_cache(maxsize=1024)
def of_certificate(der: bytes) -> tuple[str, Office]:
    """Common name (empty: none) and office of a verified certificate."""
    try:
        found = identify(der)
    except ValueError:  # OpenSSL is more lenient than this parser: whoever cannot be named is nobody
        return "", Office.NONE
    return found.name, Office.NONE if found.role is None else _OFFICES.get(found.role, Office.NONE)
