"""Certificates of hosts renewed by an authority that is elsewhere: what may be renewed, and when."""

from collections.abc import Collection
from datetime import UTC, datetime

from cryptography import x509

from core.tls.authority import Authority, pem
from core.tls.certificates import Key
from core.tls.enrolment import EnrolmentError, key_digest, request, requested_key
from core.tls.identity import Role, identity_of
from core.tls.lifetime import renewal_due

ROLES = (Role.PEER, Role.HOST, Role.SERVER)
"""Those of a node. People's certificates are renewed by people."""


class RenewalRefusedError(Exception):
    """This certificate is not renewed. The text says why."""

    def __init__(self, why: str, *, early: bool = False) -> None:
        super().__init__(why)
        self.early = early
        """Its time has not come yet."""


class Renewable:
    """A certificate whose key is in the hands of whoever asks."""

    def __init__(self, certificate: x509.Certificate, key: bytes) -> None:
        identity = identity_of(certificate)
        self._certificate = certificate
        self.name = identity.name
        self.serial = certificate.serial_number
        self.key = key
        """SHA-256 of its public key."""
        self.is_own = identity.role is not Role.SERVER
        """Whether it says who its holder is, to members."""

    def renewed(self, authority: Authority, revoked: Collection[int], now: float, before: bytes | None = None) -> bytes:
        """One for the same key, name and addresses at `now` (Unix seconds), with its issuer behind it, PEM; `before` if
        that is one, of the present authority. RenewalRefusedError, AuthorityError, OSError."""
        old = self._certificate
        if not authority.made(old):
            raise RenewalRefusedError("it was not made by this cluster's authority, or under a root that is gone")
        if old.serial_number in revoked or authority.has_made(revoked, old.public_key()):
            raise RenewalRefusedError("it is revoked, or another of the same key is; join again with new keys")
        if datetime.fromtimestamp(now, UTC) > old.not_valid_after_utc:
            raise RenewalRefusedError("it has expired; join this host again, with a token")
        due = renewal_due(old)
        if authority.is_current(old) and datetime.fromtimestamp(now, UTC) < due:
            raise RenewalRefusedError(f"it is renewed from {due:%Y-%m-%dT%H:%M:%SZ} on, and not before", early=True)
        if before is not None and authority.is_current(x509.load_pem_x509_certificate(before)):
            return before
        return authority.renewed(old)[1]


def renewable(certificate: str, proof: str) -> Renewable:
    """What `asked` has made. EnrolmentError if it cannot be read, or the request is not signed with the certificate's
    key; RenewalRefusedError for a certificate that is none of a node."""
    try:
        found = x509.load_pem_x509_certificate(certificate.encode())
        role = identity_of(found).role
    except ValueError as error:
        raise EnrolmentError("the certificate cannot be read") from error
    key = requested_key(proof)
    if found.public_key() != key:
        raise EnrolmentError("the request is not signed with the key of the certificate")
    if role not in ROLES:
        raise RenewalRefusedError("only certificates of members, hosts and servers are renewed so")
    return Renewable(found, key_digest(key))


def asked(certificate: x509.Certificate, key: Key) -> tuple[str, str]:
    """What to ask with: the certificate and a request signed with its key, PEM."""
    return pem(certificate).decode(), request(key)
