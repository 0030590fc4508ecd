"""A new root takes over, while the cluster goes on.

`begin` makes a root, has the old root sign it as well, and puts an issuing authority with a new key below it. What is
issued from then on carries the cross-signed root behind it: who trusts only the old root, both, or only the new one
verifies it alike. `ca.crt` holds both roots, so that whoever copies it now trusts both; what was issued before stays
good with them. `finish` takes the old root out of `ca.crt`, and the cross-signed one out of what is issued from then
on.

Refused: the old root signed by the new one (nobody would ever be rid of it), the issuing key kept (whoever holds a
certificate of before could put the new issuing authority's behind it and go on), two rotations at once.

Cut short at any moment, both go on when they are run again. `begin` makes all new files in a directory of their own,
which appears whole as `rotation/`; from then on there is only forward, and the files are renamed into place one by one.
Until that is done nothing is issued. `finish` removes `former.crt` last, and with it the sign that it is not done.
"""

import re
import secrets
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from cryptography import x509

from core.tls import certificates, files
from core.tls.authority import (
    FORMER,
    ISSUED,
    ISSUING,
    ISSUING_KEY,
    ROOT,
    ROOT_KEY,
    STAGE,
    AuthorityError,
    alone,
    load_chain,
    load_root,
    pem,
    private_pem,
    require_whole,
    signed_by,
)
from core.tls.identity import identity_of
from core.tls.shown import Shown

_PLACES = (FORMER, ROOT, ROOT_KEY, ISSUING_KEY, ISSUING)
"""Until all are in their places nothing is issued; trust comes before what needs it all the same."""

_NUMBERED = re.compile(r"(.+) (\d{1,4})")
_BASE_MAX = 64 - len(" 9999") - len(" issuing")
"""Of a name that is followed by number and kind: the standard ends names at 64 characters."""


@dataclass(frozen=True)
class Rotation:
    """One that is under way."""

    new: x509.Certificate
    """The root that takes over."""
    old: x509.Certificate
    issuing: x509.Certificate
    former: x509.Certificate
    """The issuing authority below the old root."""

    @property
    def begun(self) -> datetime:
        """When the new root was made."""
        return self.new.not_valid_before_utc + certificates.CLOCK_SKEW

    def side(self, certificate: x509.Certificate) -> Literal["new", "old"] | None:
        """Under which root it stands: `new` are those that whoever trusts the old root verifies as well, `old` those
        good for the old root alone. None: it is not of this authority."""
        if signed_by(certificate, self.issuing) or signed_by(certificate, self.new):
            return "new"
        if signed_by(certificate, self.former) or signed_by(certificate, self.old):
            return "old"
        return None


def under_way(directory: Path) -> Rotation | None:
    """The rotation that is not finished yet. AuthorityError if it was cut short while it began, or if its files do not
    belong together; TlsFilesError."""
    require_whole(directory)
    if not (directory / FORMER).exists():
        return None
    former, *behind = load_chain(directory / FORMER)
    issuing = load_chain(directory / ISSUING)[0]
    old = next((root for root in behind if signed_by(former, root)), None)
    new = next((root for root in load_chain(directory / ROOT) if signed_by(issuing, root)), None)
    if old is None or new is None:
        names = f"{ROOT}, {ISSUING} and {FORMER}"
        raise AuthorityError(f"in {directory} the files {names} do not belong together; restore them from a backup")
    return Rotation(new, old, issuing, former)


def begin(directory: Path, passphrase: bytes | None = None) -> bool:
    """Begin a rotation, or go on with one that was cut short while it began; False if one has begun already.

    The new root's key gets the passphrase of the old one, which is gone then. AuthorityError, TlsFilesError;
    PassphraseError if the root's key wants another passphrase.
    """
    with alone(directory):
        _sweep(directory)
        if not (directory / STAGE).exists():
            if (directory / FORMER).exists():
                return False
            _prepare(directory, passphrase)
        for name in _PLACES:
            if (directory / STAGE / name).exists():
                (directory / STAGE / name).rename(directory / name)
                files.sync_directory(directory)
        (directory / STAGE).rmdir()
        files.sync_directory(directory)
    return True


def finish(directory: Path) -> None:
    """Let the old root go. AuthorityError if no rotation is under way; TlsFilesError."""
    with alone(directory):
        _sweep(directory)
        rotation = under_way(directory)
        if rotation is None:
            raise AuthorityError(
                f"no rotation is under way in {directory}; begin one: corenode ca rotate --dir {directory}"
            )
        files.replace(directory / ROOT, pem(rotation.new))
        files.replace(directory / ISSUING, pem(rotation.issuing))
        (directory / FORMER).unlink()
        files.sync_directory(directory)


def outstanding(
    directory: Path, rotation: Rotation, renewed: Collection[str] = (), revoked: Collection[int] = ()
) -> list[x509.Certificate]:
    """The certificates on record that chain to the old root alone and are still in use, as far as is known.

    Not among them: the expired, the revoked, and those whose key has a newer certificate, on record or among `renewed`,
    which are key identifiers. Of several for one key only the last.
    """
    now = datetime.now(UTC)
    last: dict[str, x509.Certificate] = {}
    done = set(renewed)
    for file in sorted((directory / ISSUED).glob("*.crt")):
        certificate = load_chain(file)[0]
        key = certificates.key_id(certificate)
        if signed_by(certificate, rotation.issuing):
            done.add(key)
        elif key not in last or certificate.not_valid_after_utc > last[key].not_valid_after_utc:
            last[key] = certificate
    found = [
        certificate
        for key, certificate in last.items()
        if key not in done
        and certificate.serial_number not in revoked
        and certificate.not_valid_after_utc > now
        and signed_by(certificate, rotation.former)
    ]
    return sorted(found, key=lambda certificate: (identity_of(certificate).name, certificate.not_valid_after_utc))


def trusts_only_old(shown: Shown, rotation: Rotation) -> bool:
    """Whether a node accepts the old root's certificates and not yet the new one's."""
    trusted = {root.fingerprint for root in shown.trusted}
    return certificates.fingerprint(rotation.old) in trusted and certificates.fingerprint(rotation.new) not in trusted


def chains_only_to_old(shown: Shown, rotation: Rotation) -> bool:
    """Whether a node shows a certificate that is good only for who trusts the old root."""
    keys = shown.certificate.chains_to
    return certificates.key_id(rotation.old) in keys and certificates.key_id(rotation.new) not in keys


def _prepare(directory: Path, passphrase: bytes | None) -> None:
    """Make every new file in a directory that then appears whole."""
    old, old_key = load_root(directory, passphrase)
    if old.not_valid_after_utc <= datetime.now(UTC):
        raise AuthorityError(
            f"the root in {directory} expired on {old.not_valid_after_utc:%Y-%m-%d}, so nobody trusts it any more; "
            "make a new authority with `ca init`"
        )
    former = load_chain(directory / ISSUING)[0]
    name = _next_name(identity_of(old).name)
    root_key, key = certificates.new_key(), certificates.new_key()
    new = certificates.root(root_key, name)
    crossed = certificates.crossed(old, old_key, new)
    issuing = certificates.issuing(new, root_key, key.public_key(), f"{name} issuing")
    made = {
        FORMER: (pem(former, old), files.PUBLIC, ROOT),
        ROOT: (pem(new, old), files.PUBLIC, ROOT),
        ROOT_KEY: (private_pem(root_key, passphrase if _is_encrypted(directory) else None), files.PRIVATE, ROOT_KEY),
        ISSUING_KEY: (private_pem(key, None), files.PRIVATE, ISSUING_KEY),
        ISSUING: (pem(issuing, crossed), files.PUBLIC, ISSUING),
    }
    part = directory / f".{STAGE}.{secrets.token_hex(4)}.part"
    part.mkdir(mode=0o700)
    try:
        for place, (data, mode, like) in made.items():
            files.write_new(part / place, data, mode)
            files.give(part / place, (directory / like).stat())
        files.sync_directory(part)
        part.rename(directory / STAGE)
        files.sync_directory(directory)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _sweep(directory: Path) -> None:
    """Remove what a run that was killed had not made whole."""
    for part in directory.glob(f".{STAGE}.*.part"):
        shutil.rmtree(part)
    for name in (ROOT, ISSUING):
        for part in directory.glob(f".{name}.*.part"):
            part.unlink()


def _next_name(name: str) -> str:
    """`authority` becomes `authority 2`, and that `authority 3`: people and programs tell roots apart by name."""
    match = _NUMBERED.fullmatch(name)
    base, number = (match[1], int(match[2])) if match else (name, 1)
    return f"{base[:_BASE_MAX]} {number + 1}"


def _is_encrypted(directory: Path) -> bool:
    return b"ENCRYPTED" in (directory / ROOT_KEY).read_bytes()
