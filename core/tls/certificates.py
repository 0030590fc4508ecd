"""Certificates as this authority makes them: X.509 v3, P-256, SHA-256.

P-256 and not Ed25519: both are strong and fast, but browsers and many hardware tokens take no Ed25519 certificate, and
`curl`, OpenSSL, GnuTLS and Go all take P-256.
"""

import ipaddress
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from core.tls.identity import Role

ROOT_LIFE = timedelta(days=3650)
ISSUING_LIFE = timedelta(days=1095)
LEAF_LIFE = timedelta(days=90)

CLOCK_SKEW = timedelta(hours=2)
"""A certificate is valid from so long before it is made, for hosts whose clocks are slow. Short-lived ones: from their
own life before, so that renewal at two thirds comes after the beginning."""

_HOST = re.compile(
    r"(?:\*\.)?(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
)
_HOST_MAX = 253

Key = ec.EllipticCurvePrivateKey


def new_key() -> Key:
    """A fresh private key."""
    return ec.generate_private_key(ec.SECP256R1())


def alternative_names(texts: Sequence[str]) -> tuple[x509.GeneralName, ...]:
    """Addresses and host names as a certificate holds them. ValueError names the one that is neither."""
    found: list[x509.GeneralName] = []
    for text in texts:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(text)))
        except ValueError:
            if len(text) > _HOST_MAX or not _HOST.fullmatch(text):
                raise ValueError(f"{text!r} is neither an address nor a host name") from None
            found.append(x509.DNSName(text))
    return tuple(found)


def shown_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """The addresses and host names in a certificate, as text."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(str(name.value) for name in names)


def key_id(certificate: x509.Certificate) -> str:
    """The name of its key, hexadecimal; empty if it does not say."""
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()
    except x509.ExtensionNotFound:
        return ""


def issuer_key_id(certificate: x509.Certificate) -> str:
    """The name of the key that signed it, hexadecimal; empty if it does not say."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        return ""
    return (found or b"").hex()


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the whole certificate, hexadecimal."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def root(key: Key, name: str, life: timedelta = ROOT_LIFE) -> x509.Certificate:
    """A self-signed authority."""
    subject = _subject(name, None)
    builder = _builder(subject, subject, key.public_key(), life, None)
    return _authority(builder, None, key.public_key()).sign(key, hashes.SHA256())


def crossed(parent: x509.Certificate, parent_key: Key, new: x509.Certificate) -> x509.Certificate:
    """A root once more, as an authority below another root: who trusts only that one then trusts this one."""
    key = new.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TypeError("not a root of this authority")
    builder = _builder(new.subject, parent.subject, key, ROOT_LIFE, parent)
    builder = _authority(builder, None, key).add_extension(_issued_by(parent_key), critical=False)
    return builder.sign(parent_key, hashes.SHA256())


def issuing(
    parent: x509.Certificate, parent_key: Key, key: ec.EllipticCurvePublicKey, name: str, life: timedelta = ISSUING_LIFE
) -> x509.Certificate:
    """An authority below `parent`, for the certificates of a cluster and nothing below them."""
    builder = _builder(_subject(name, None), parent.subject, key, life, parent)
    builder = _authority(builder, 0, key).add_extension(_issued_by(parent_key), critical=False)
    usages = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
    return builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False).sign(parent_key, hashes.SHA256())


def leaf(
    parent: x509.Certificate,
    parent_key: Key,
    key: ec.EllipticCurvePublicKey,
    role: Role,
    name: str,
    names: Sequence[x509.GeneralName],
    life: timedelta,
) -> x509.Certificate:
    """A certificate of a peer, server or client; it ends with its issuer's at the latest."""
    builder = _builder(_subject(name, role.organisation), parent.subject, key, life, parent)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage(role.usages), critical=False)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    builder = builder.add_extension(_issued_by(parent_key), critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(parent_key, hashes.SHA256())


def _authority(
    builder: x509.CertificateBuilder, path_length: int | None, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
    builder = builder.add_extension(_key_usage(signs_certificates=True), critical=True)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    life: timedelta,
    parent: x509.Certificate | None,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC).replace(microsecond=0)
    begin, end = now - min(life, CLOCK_SKEW), now + life
    if parent is not None:
        end = min(end, parent.not_valid_after_utc)
    serial = x509.random_serial_number()  # 159 random bits
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    return builder.serial_number(serial).not_valid_before(begin).not_valid_after(end)


def _subject(name: str, organisation: str | None) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    if organisation is not None:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
    return x509.Name(attributes)


def _issued_by(key: Key) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
