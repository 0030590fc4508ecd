"""What a node trusts and shows, for those who must know before a root goes: `ca rotate --finish`."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from core.tls import certificates
from core.tls.identity import identity_of

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True)
class TrustedRoot:
    """An authority whose certificates are accepted."""

    name: str
    fingerprint: str
    """SHA-256 of the certificate, hexadecimal."""
    key_id: str
    """Name of its key, hexadecimal; empty if the certificate has none."""


@dataclass(frozen=True)
class ShownCertificate:
    """A certificate with the chain behind it."""

    name: str
    serial: str
    """Hexadecimal."""
    not_after: str
    """ISO 8601, UTC."""
    key_id: str
    chains_to: tuple[str, ...]
    """Keys that signed a certificate of the chain, by name: trust in a root with one of them is enough to verify it."""


@dataclass(frozen=True)
class Shown:
    """Both."""

    trusted: tuple[TrustedRoot, ...]
    """Empty: certificates of others are not asked for."""
    certificate: ShownCertificate


def describe(certificate: Path, authorities: Path | None) -> Shown | None:
    """What the files hold. None if the certificate cannot be read here; whatever OpenSSL takes and we do not is left
    out, for it is not of our authority. OSError."""
    chain = list(_read(certificate))
    if not chain:
        return None
    leaf = chain[0]
    chains_to = dict.fromkeys(key for each in chain if (key := certificates.issuer_key_id(each)))
    shown = ShownCertificate(
        identity_of(leaf).name,
        f"{leaf.serial_number:x}",
        leaf.not_valid_after_utc.isoformat(),
        certificates.key_id(leaf),
        tuple(chains_to),
    )
    trusted = [] if authorities is None else list(_read(authorities))
    return Shown(
        tuple(
            TrustedRoot(identity_of(each).name, certificates.fingerprint(each), certificates.key_id(each))
            for each in trusted
        ),
        shown,
    )


def _read(file: Path) -> Iterator[x509.Certificate]:
    for block in _PEM.findall(file.read_bytes()):
        try:
            certificate = x509.load_pem_x509_certificate(block)
            identity_of(certificate), certificates.key_id(certificate), certificates.issuer_key_id(certificate)
        except ValueError:
            continue
        yield certificate
