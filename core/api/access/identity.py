"""Who is at the other end, by what the connection proves: the unix socket's peer, or a client certificate.

A certificate's subject names its holder (common name) and what they may do (each organisation `corenode:OFFICE`).
"""

from functools import lru_cache

from cryptography import x509
from cryptography.x509.oid import NameOID

from core.kv.access import Identity, Office

OFFICES = {
    "corenode:admin": Office.ADMIN,
    "corenode:operator": Office.OPERATOR,
    "corenode:reader": Office.READER,
}
"""Organisations of a certificate, and the office they give."""
_CLAIM = "corenode:"

ANONYMOUS = Identity("anonymous")
SOCKET = Identity("unix socket", Office.ADMIN)
"""Root or the node's own user, as the kernel says."""


@lru_cache(maxsize=1024)
def of_certificate(der: bytes) -> tuple[str, Office]:
    """Common name (empty: none) and office of a verified certificate."""
    try:
        subject = x509.load_der_x509_certificate(der).subject
        names = [str(each.value) for each in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        organisations = [str(each.value) for each in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    except ValueError:  # OpenSSL is more lenient than this parser: whoever cannot be named is nobody
        return "", Office.NONE
    claims = [organisation for organisation in organisations if organisation.startswith(_CLAIM)]
    # Whoever claims more than one was not issued by our authority as either.
    office = OFFICES.get(claims[0], Office.NONE) if len(claims) == 1 else Office.NONE
    return names[0] if len(names) == 1 else "", office
