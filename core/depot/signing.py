"""The keys of the cluster, and what they sign: the snapshot and the timestamp over targets that people have signed.

Each member keeps the keys in files of mode 0600. One that lacks them asks the others.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import msgspec
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Root, Snapshot, Timestamp

from core.depot.catalogue import Catalogue
from core.depot.shelf import Shelf
from core.trust import keys
from core.trust.errors import TrustError
from core.trust.metadata import (
    LIMITS,
    LIVES,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    read,
    sign_online,
)

MOST_KEYS = 16
"""Key files that one member keeps."""
HALF = 0.5
"""The part of its life after which a signature is renewed."""
FALLBACK = 0.75
"""The part after which any member renews it, not the elected one alone."""


class KeyFiles(msgspec.Struct, frozen=True):
    """Key files as they pass between members, and from the operator who hands them over."""

    keys: tuple[msgspec.Raw, ...]


class Keyring:
    """A directory of key files. Synchronous; its calls block."""

    def __init__(self, directory: Path) -> None:
        """Make the directory, or take one that is there. OSError."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory

    def take(self, given: KeyFiles) -> int:
        """Keep key files that are new; how many were. TrustError for what is no key file, or is sealed."""
        if len(given.keys) > MOST_KEYS:
            raise TrustError(f"a cluster has at most {MOST_KEYS} keys")
        held = {key.public.keyid for key in keys.find(self._directory)}
        fresh = 0
        for data in given.keys:
            signer = keys.parse(bytes(data), "a key of the cluster")
            keyid = signer.public_key.keyid
            if keyid not in held:
                if len(held) >= MOST_KEYS:
                    raise TrustError(f"there are {MOST_KEYS} keys already")
                keys.write(self._directory / f"{keyid[:16]}{keys.SUFFIX}", signer, None)
                held.add(keyid)
                fresh += 1
        return fresh

    def give(self) -> KeyFiles:
        """All of them, for another member. TrustError, OSError."""
        found = [msgspec.Raw(key.path.read_bytes()) for key in keys.find(self._directory)]
        return KeyFiles(tuple(found))

    def signers(self, root: Root) -> list[CryptoSigner]:
        """Those that this root lets sign snapshot or timestamp. TrustError, OSError."""
        allowed = {keyid for role in (SNAPSHOT, TIMESTAMP) for keyid in root.roles[role].keyids}
        return [keys.open_key(key.path, None) for key in keys.find(self._directory) if key.public.keyid in allowed]

    def suffices(self, root: Root) -> bool:
        """Whether they can sign by themselves. TrustError, OSError."""
        there = {key.public.keyid for key in keys.find(self._directory)}
        return all(
            len(there.intersection(root.roles[role].keyids)) >= root.roles[role].threshold
            for role in (SNAPSHOT, TIMESTAMP)
        )


class Signed(NamedTuple):
    """What the catalogue names, read."""

    root: Root
    targets: bytes


def opened(shelf: Shelf, catalogue: Catalogue) -> Signed:
    """The newest root and the targets of a catalogue. TrustError, ImageError."""
    if not catalogue.roots or catalogue.targets is None:
        raise TrustError("the cluster serves no images yet")
    root = read(Root, shelf.whole(catalogue.roots[-1], LIMITS[ROOT]), "the root served now").signed
    return Signed(root, shelf.whole(catalogue.targets, LIMITS[TARGETS]))


def renewed(
    catalogue: Catalogue,
    signed: Signed,
    signers: Iterable[CryptoSigner],
    now: datetime,
    lives: dict[str, timedelta] = LIVES,
) -> Catalogue:
    """The catalogue with the next snapshot and timestamp. TrustError if they cannot be signed."""
    before = catalogue.snapshot_version, catalogue.timestamp_version
    new = sign_online(signed.root, signed.targets, before, signers, now, lives)
    expires = (
        read(Snapshot, new.snapshot, SNAPSHOT).signed.expires,
        read(Timestamp, new.timestamp, TIMESTAMP).signed.expires,
    )
    return msgspec.structs.replace(
        catalogue,
        snapshot=new.snapshot,
        snapshot_version=new.snapshot_version,
        snapshot_before=catalogue.snapshot,
        timestamp=new.timestamp,
        timestamp_version=new.timestamp_version,
        signed=int(now.timestamp()),
        expires=int(min(expires).timestamp()),
    )


def due(catalogue: Catalogue, part: float) -> datetime | None:
    """When so much of the life of what is signed is over; None if nothing is."""
    if not catalogue.expires:
        return None
    life = catalogue.expires - catalogue.signed
    return datetime.fromtimestamp(catalogue.signed + life * part, UTC)
