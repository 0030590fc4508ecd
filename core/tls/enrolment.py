"""How a host gets certificates without its keys leaving it: requests (PKCS #10) there, certificates for them here.

Of a request only the public key counts, and the signature that proves its possession. Name, role and addresses are
decided by whoever issues.
"""

import hashlib
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from core.tls import certificates, files
from core.tls.authority import load_key, pem, private_pem, signed_by

PublicKey = ec.EllipticCurvePublicKey


class EnrolmentError(Exception):
    """A request or what came for it cannot be used. The text says why."""


def own_key(file: Path) -> certificates.Key:
    """The key in a file, made if there is none. AuthorityError, TlsFilesError, OSError."""
    if not file.exists():
        files.write_new(file, private_pem(certificates.new_key(), None), files.PRIVATE)
    return load_key(file, None)


def request(key: certificates.Key) -> str:
    """A certificate request for a key, PEM."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def requested_key(text: str) -> PublicKey:
    """The public key in a request whose sender has the private one. EnrolmentError."""
    try:
        found = x509.load_pem_x509_csr(text.encode())
        key = found.public_key()
        valid = found.is_signature_valid
    except (ValueError, TypeError) as error:
        raise EnrolmentError("the certificate request cannot be read") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise EnrolmentError("the certificate request has no P-256 key, which is what this authority signs")
    if not valid:
        raise EnrolmentError("the certificate request is not signed with its key")
    return key


def key_digest(key: PublicKey) -> bytes:
    """SHA-256 of a public key, by which a host is known from its first request on."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


def public_key_digest(der: bytes) -> bytes:
    """The same of the key in a certificate, of whatever kind. ValueError."""
    key = x509.load_der_x509_certificate(der).public_key()
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


def names_of(der: bytes) -> tuple[str, ...]:
    """The addresses and host names that a certificate is for, as text. ValueError."""
    return certificates.shown_names(x509.load_der_x509_certificate(der))


def roots(text: str) -> list[x509.Certificate]:
    """The certificates in a PEM text, at least one. EnrolmentError."""
    try:
        return x509.load_pem_x509_certificates(text.encode())
    except ValueError:
        raise EnrolmentError("there is no certificate in what was sent as the root") from None


def root_of(text: str, fingerprint: str) -> str | None:
    """The certificate of that SHA-256 fingerprint among those of a PEM text, as PEM; None if it is not there."""
    for found in roots(text):
        if certificates.fingerprint(found) == fingerprint:
            return pem(found).decode()
    return None


def check_issued(text: str, key: certificates.Key) -> None:
    """EnrolmentError unless the PEM text is a certificate for the key with its issuer behind it."""
    try:
        chain = x509.load_pem_x509_certificates(text.encode())
    except ValueError:
        raise EnrolmentError("what was sent is no certificate") from None
    if chain[0].public_key() != key.public_key():
        raise EnrolmentError("the certificate that was sent is for another key")
    if len(chain) < 2 or not signed_by(chain[0], chain[1]):
        raise EnrolmentError("the certificate that was sent comes without its issuer")


def unverified_context() -> ssl.SSLContext:
    """For one question only: which root a server has. Whatever it says must be compared with a known fingerprint."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def context_for(root: str) -> ssl.SSLContext:
    """A client's context that trusts this root, PEM, and nobody else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificate and host
    context.load_verify_locations(cadata=root)
    return context
