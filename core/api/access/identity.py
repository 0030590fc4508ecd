"""Who is at the other end, by what the connection proves: the unix socket's peer, or a client certificate."""

import re
from functools import lru_cache

from core.api.http.message import Caller
from core.kv.access import Identity, Office
from core.kv.hosts import MOST_ADDRESSES
from core.tls.enrolment import names_of, public_key_digest
from core.tls.identity import Role, identify

_OFFICES = {Role.ADMIN: Office.ADMIN, Role.OPERATOR: Office.OPERATOR, Role.READER: Office.READER}

ANONYMOUS = Identity("anonymous")
SOCKET = Identity("unix socket", Office.ADMIN)
"""Root or the node's own user, as the kernel says."""
_MACHINE = re.compile(r"[0-9a-f]{32}")


@lru_cache(maxsize=1024)
def of_certificate(der: bytes) -> Identity:
    """Whom a verified certificate names; its `user` is the common name (empty: none), which may be no user of the
    records."""
    try:
        found = identify(der)
    except ValueError:  # OpenSSL is more lenient than this parser: whoever cannot be named is nobody
        return Identity("certificate ", user="")
    office = Office.NONE if found.role is None else _OFFICES.get(found.role, Office.NONE)
    host = found.name if found.role is Role.HOST and _MACHINE.fullmatch(found.name) else ""
    key = public_key_digest(der) if host or found.role is Role.PEER else b""
    return Identity(f"certificate {found.name}", office, found.name, host, found.role is Role.PEER, key)


def addresses_of(caller: Caller) -> tuple[str, ...]:
    """Where a host with a certificate is, as others say: the names in its certificate, and whence it came."""
    names = () if caller.certificate is None else names_of(caller.certificate)
    return tuple(dict.fromkeys((*names, caller.address.rpartition(":")[0])))[:MOST_ADDRESSES]
