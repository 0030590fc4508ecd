"""The internal authority as files in a directory.

    ca.crt       the root: what everybody trusts; while a new root takes over, the new one and behind it the old one
    ca.key       its key; needed only to make another issuing authority, so it belongs offline
    issuing.crt  the issuing authority, signed by the root; while a new root takes over, that root signed by the old one
                 is behind it, and so behind every certificate made then
    issuing.key  its key; signs the certificates of members and clients
    former.crt   only while a new root takes over: the issuing authority before, and its root (see rotation.py)
    issued/      a copy of every certificate made here, SERIAL.crt

Keys have mode 0600. Everything is written whole or not at all, and nothing is ever overwritten but by a renewal, which
keeps the key: so one rename replaces a certificate, and at no moment do key and certificate on the disk not match.
"""

import contextlib
import secrets
import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat

from core.tls import certificates, files
from core.tls.certificates import Key
from core.tls.contexts import TlsFilesError, check_key
from core.tls.identity import Role, identity_of

ROOT, ROOT_KEY = "ca.crt", "ca.key"
ISSUING, ISSUING_KEY = "issuing.crt", "issuing.key"
FORMER = "former.crt"
ISSUED = "issued"
STAGE = "rotation"
"""New files of a rotation on their way to their places; see rotation.py."""


class AuthorityError(Exception):
    """The authority cannot do that. The text says what, why, and what to do next."""


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, on the disk."""

    certificate: Path
    key: Path


class Authority:
    """The issuing half of an authority: what signs. The root's key is not needed."""

    def __init__(
        self, directory: Path, chain: Sequence[x509.Certificate], key: Key, former: x509.Certificate | None
    ) -> None:
        self._directory = directory
        self._certificate = chain[0]
        self._chain = chain
        self._key = key
        self._former = former

    @classmethod
    def open(cls, directory: Path) -> Self:
        """The authority in a directory that has `issuing.crt` and `issuing.key`. AuthorityError, TlsFilesError."""
        require_whole(directory)
        chain = load_chain(directory / ISSUING)
        key = load_key(directory / ISSUING_KEY, None)
        if key.public_key() != chain[0].public_key():
            raise AuthorityError(f"{directory / ISSUING_KEY} does not belong to {directory / ISSUING}; restore both")
        former = load_chain(directory / FORMER)[0] if (directory / FORMER).exists() else None
        return cls(directory, chain, key, former)

    @property
    def certificate(self) -> x509.Certificate:
        """The issuing authority's own."""
        return self._certificate

    def issue(
        self,
        role: Role,
        name: str,
        names: Sequence[str],
        out: Path,
        life: timedelta = certificates.LEAF_LIFE,
    ) -> Pair:
        """Make `NAME.crt`, the certificate with its issuer behind it, and `NAME.key` in `out`. AuthorityError if one
        of them exists, or a name is unusable."""
        if role.serves and not names:
            raise AuthorityError(f"a {role} is called by address or host name; give them with --san")
        try:
            alternative = certificates.alternative_names(names)
        except ValueError as error:
            raise AuthorityError(f"--san: {error}; write addresses and host names, separated by commas") from None
        pair = Pair(out / f"{name}.crt", out / f"{name}.key")
        for path in (pair.certificate, pair.key):
            if path.exists():
                raise AuthorityError(f"{path} exists already; remove it first, or make it anew with `ca renew`")
        key = certificates.new_key()
        certificate = certificates.leaf(self._certificate, self._key, key.public_key(), role, name, alternative, life)
        out.mkdir(parents=True, exist_ok=True)
        self._record(certificate)
        with _not_there():
            files.write_new(pair.key, private_pem(key, None), files.PRIVATE)
            files.write_new(pair.certificate, pem(certificate, *self._chain), files.PUBLIC)
        return pair

    def sign(
        self,
        key: ec.EllipticCurvePublicKey,
        role: Role,
        name: str,
        names: Sequence[str],
        life: timedelta = certificates.LEAF_LIFE,
    ) -> bytes:
        """A certificate for a key that is elsewhere, with its issuer behind it, PEM. ValueError for unusable names."""
        alternative = certificates.alternative_names(names)
        certificate = certificates.leaf(self._certificate, self._key, key, role, name, alternative, life)
        self._record(certificate)
        return pem(certificate, *self._chain)

    def renew(self, file: Path, life: timedelta | None = None) -> x509.Certificate:
        """Replace the certificate in `file` by one for the same key, name, role and life, or for another life.
        AuthorityError if it was not made by this authority."""
        old = load_chain(file)[0]
        if not self.made(old):
            raise AuthorityError(
                f"{file} was not made by the authority in {self._directory}, or under a root that is gone; "
                "name its authority with --dir, or issue a new one"
            )
        new, chain = self.renewed(old, life)
        files.replace(file, chain)
        return new

    def renewed(self, old: x509.Certificate, life: timedelta | None = None) -> tuple[x509.Certificate, bytes]:
        """A certificate like one that was made here, and as PEM with its issuer behind it. AuthorityError."""
        identity = identity_of(old)
        public = old.public_key()
        if identity.role is None or not isinstance(public, ec.EllipticCurvePublicKey):
            raise AuthorityError("it is not the certificate of a peer, server or client; issue a new one")
        names = certificates.alternative_names(certificates.shown_names(old))
        if life is None:
            whole = old.not_valid_after_utc - old.not_valid_before_utc
            life = max(whole - certificates.CLOCK_SKEW, whole / 2)
        new = certificates.leaf(self._certificate, self._key, public, identity.role, identity.name, names, life)
        self._record(new)
        return new, pem(new, *self._chain)

    def has_made(self, serials: Collection[int], key: object) -> bool:
        """Whether one of the certificates of these serial numbers was made here for this public key."""
        kept = (self._directory / ISSUED / _kept_as(serial) for serial in serials)
        return any(load_chain(file)[0].public_key() == key for file in kept if file.exists())

    def made(self, certificate: x509.Certificate) -> bool:
        """Whether it was signed here, while a new root takes over also by the issuing authority before."""
        return self.is_current(certificate) or (self._former is not None and signed_by(certificate, self._former))

    def is_current(self, certificate: x509.Certificate) -> bool:
        """Whether the present key signed it, under this or an earlier certificate of its own."""
        return signed_by(certificate, self._certificate)

    def _record(self, certificate: x509.Certificate) -> None:
        """Keep a copy before the certificate is handed out, so that none can be forgotten when it must be revoked."""
        kept = self._directory / ISSUED
        kept.mkdir(exist_ok=True)
        path = kept / _kept_as(certificate.serial_number)
        files.write_new(path, certificate.public_bytes(Encoding.PEM), files.PUBLIC)


def _kept_as(serial: int) -> str:
    return f"{serial:040x}.crt"


def create(directory: Path, name: str, passphrase: bytes | None = None) -> None:
    """Make a new authority in a directory that is new or empty. It appears whole, in one step. AuthorityError."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise AuthorityError(f"{directory} exists already and is not empty; choose another --dir. Nothing was changed")
    directory.absolute().parent.mkdir(parents=True, exist_ok=True)
    part = directory.absolute().with_name(f".{directory.absolute().name}.{secrets.token_hex(4)}.part")
    part.mkdir(mode=0o755)
    try:
        root_key, key = certificates.new_key(), certificates.new_key()
        root = certificates.root(root_key, name)
        below = certificates.issuing(root, root_key, key.public_key(), f"{name} issuing")
        files.write_new(part / ROOT_KEY, private_pem(root_key, passphrase), files.PRIVATE)
        files.write_new(part / ISSUING_KEY, private_pem(key, None), files.PRIVATE)
        files.write_new(part / ROOT, root.public_bytes(Encoding.PEM), files.PUBLIC)
        files.write_new(part / ISSUING, below.public_bytes(Encoding.PEM), files.PUBLIC)
        (part / ISSUED).mkdir()
        files.sync_directory(part)
        try:
            part.rename(directory)  # onto an empty directory at most
        except OSError as error:
            raise AuthorityError(f"{directory}: {error.strerror}; choose another --dir. Nothing was changed") from None
        files.sync_directory(directory.absolute().parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def renew_issuing(directory: Path, passphrase: bytes | None = None) -> x509.Certificate:
    """Give the issuing authority a new certificate for its key, signed by the root. AuthorityError, TlsFilesError;
    PassphraseError if the root's key wants another passphrase."""
    with alone(directory):
        require_whole(directory)
        root, root_key = load_root(directory, passphrase)
        old, *behind = load_chain(directory / ISSUING)
        public = old.public_key()
        if not isinstance(public, ec.EllipticCurvePublicKey):
            raise AuthorityError(f"{directory / ISSUING}: not a P-256 key, which is what this authority uses")
        new = certificates.issuing(root, root_key, public, identity_of(old).name)
        files.replace(directory / ISSUING, pem(new, *behind))
        return new


@contextlib.contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Only one may change the authority itself at a time. AuthorityError."""
    try:
        with files.locked(directory):
            yield
    except BlockingIOError:
        raise AuthorityError(f"another command changes the authority in {directory}; wait for its end") from None


def load_root(directory: Path, passphrase: bytes | None) -> tuple[x509.Certificate, Key]:
    """The root (while a new one takes over, that one) and its key. AuthorityError, TlsFilesError, PassphraseError."""
    root = load_chain(directory / ROOT)[0]
    key = load_key(directory / ROOT_KEY, passphrase)
    if key.public_key() != root.public_key():
        raise AuthorityError(f"{directory / ROOT_KEY} does not belong to {directory / ROOT}; restore both")
    return root, key


def require_whole(directory: Path) -> None:
    """AuthorityError if a rotation was cut short while it put its files in place: some are new and some old."""
    if (directory / STAGE).exists():
        raise AuthorityError(
            f"a rotation was cut short in {directory}; go on with it: corenode ca rotate --dir {directory}"
        )


def signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether the issuer's key signed it, in the issuer's name."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def pem(*chain: x509.Certificate) -> bytes:
    """Certificates as one PEM file has them."""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain)


class PassphraseError(AuthorityError):
    """The root's key is encrypted, and the passphrase is missing or wrong."""


def load_chain(file: Path) -> list[x509.Certificate]:
    """The certificates in a PEM file, at least one. TlsFilesError names the file."""
    try:
        return x509.load_pem_x509_certificates(file.read_bytes())
    except OSError as error:
        raise TlsFilesError(f"{file}: {error.strerror}; check its name and mode") from None
    except ValueError:
        raise TlsFilesError(f"{file}: no PEM certificate in it; check the file") from None


def load_key(file: Path, passphrase: bytes | None) -> Key:
    """A private key of this authority. AuthorityError, TlsFilesError, PassphraseError."""
    check_key(file)
    try:
        key = serialization.load_pem_private_key(file.read_bytes(), passphrase)
    except TypeError:
        if passphrase is not None:  # one was given, and the key needs none
            return load_key(file, None)
        raise PassphraseError(f"{file} is encrypted; give its passphrase") from None
    except ValueError:
        if passphrase is not None:
            raise PassphraseError(f"{file}: the passphrase is wrong") from None
        raise AuthorityError(f"{file}: no PEM private key in it; restore it from a backup") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise AuthorityError(f"{file}: not a P-256 key, which is what this authority uses; restore it from a backup")
    return key


def private_pem(key: Key, passphrase: bytes | None) -> bytes:
    """A private key as a file has it, encrypted if there is a passphrase."""
    protection = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)


@contextlib.contextmanager
def _not_there() -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise AuthorityError(f"{error.filename2} appeared meanwhile; choose another --out") from None
