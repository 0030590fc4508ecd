"""Who a certificate says its holder is: name, role and what it may be used for.

The role stands in the subject's organisation, as `O=corenode:admin`. A server's certificate and a plain client's have
no such organisation: a server is known by its extended key usage, and a plain client has no more rights than its name.
"""

from dataclasses import dataclass
from enum import StrEnum

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ORGANISATION_PREFIX = "corenode:"


class Role(StrEnum):
    """What a certificate is for."""

    PEER = "peer"
    SERVER = "server"
    CLIENT = "client"
    ADMIN = "admin"
    OPERATOR = "operator"
    READER = "reader"
    HOST = "host"
    """A host that is no member; its name is its machine id."""

    @property
    def organisation(self) -> str | None:
        """The subject organisation that carries the role; None for those that need none."""
        return None if self in (Role.SERVER, Role.CLIENT) else f"{ORGANISATION_PREFIX}{self}"

    @property
    def serves(self) -> bool:
        """Whether the holder listens for others, who then look for its address in the certificate."""
        return self in (Role.SERVER, Role.PEER)

    @property
    def usages(self) -> tuple[x509.ObjectIdentifier, ...]:
        """Extended key usages. A peer both listens and calls."""
        if self is Role.SERVER:
            return (ExtendedKeyUsageOID.SERVER_AUTH,)
        if self is Role.PEER:
            return (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
        return (ExtendedKeyUsageOID.CLIENT_AUTH,)


@dataclass(frozen=True)
class Identity:
    """What a certificate says of its holder."""

    name: str
    """The subject's common name; empty if it has none."""
    role: Role | None
    """None if it is none of ours: it has no extended key usage, or claims several roles."""
    serial: int


def identify(der: bytes) -> Identity:
    """The identity in a certificate that TLS has verified. ValueError if it cannot be read."""
    return identity_of(x509.load_der_x509_certificate(der))


def identity_of(certificate: x509.Certificate) -> Identity:
    """The identity in a certificate. ValueError if it cannot be read."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    name = names[0].value if len(names) == 1 else ""
    return Identity(name if isinstance(name, str) else "", _role(certificate), certificate.serial_number)


def _role(certificate: x509.Certificate) -> Role | None:
    claims = [
        attribute.value.removeprefix(ORGANISATION_PREFIX)
        for attribute in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        if isinstance(attribute.value, str) and attribute.value.startswith(ORGANISATION_PREFIX)
    ]
    try:
        usages = set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return None
    if claims:
        role = Role(claims[0]) if len(claims) == 1 and claims[0] in set(Role) else None
    else:
        role = Role.SERVER if ExtendedKeyUsageOID.SERVER_AUTH in usages else Role.CLIENT
    # A role that its usages do not allow was not issued as that role.
    return role if role is not None and usages.issuperset(role.usages) else None
