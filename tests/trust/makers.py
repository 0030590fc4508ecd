"""A repository with its people and their keys, made anew for each test, at a time that stands still."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import msgspec
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from core.trust.client import Trusted, Verified
from core.trust.errors import NotFoundError
from core.trust.keys import generate
from core.trust.metadata import ROLES, ROOT, TARGETS, first_root, first_targets, next_root, next_targets, sign
from core.trust.releases import release_of, target_of
from core.trust.repository import Repository

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
S = TypeVar("S", Root, Timestamp, Snapshot, Targets)


def manifest(version: str, product: str = "os", architecture: str = "x86_64") -> bytes:
    return msgspec.json.encode(
        {"format": 1, "product": product, "version": version, "architecture": architecture, "chunks": []}
    )


class Makers:
    """Three who hold root keys, of whom two must sign; two for targets, both must; the cluster's keys."""

    def __init__(self, directory: Path) -> None:
        self.keys = {"root": [generate() for _ in range(3)], "targets": [generate(), generate()]}
        self.keys |= {"snapshot": [generate()], "timestamp": [generate()]}
        self.thresholds = {"root": 2, "targets": 2, "snapshot": 1, "timestamp": 1}
        public = {role: [key.public_key for key in self.keys[role]] for role in ROLES}
        root = first_root(public, self.thresholds, NOW)
        sign(root, [root.signed], self.keys[ROOT])
        targets = first_targets(NOW)
        sign(targets, [root.signed], self.keys[TARGETS])
        self.repository = Repository(directory)
        self.repository.create(root, targets, self.online, NOW)
        self.first = root.to_bytes()

    @property
    def online(self) -> list[CryptoSigner]:
        return [*self.keys["snapshot"], *self.keys["timestamp"]]

    def release(self, version: str, now: datetime = NOW, data: bytes | None = None) -> None:
        data = manifest(version) if data is None else data
        release = release_of(data)
        targets = next_targets(self.repository.targets().signed, now, add=target_of(release))
        sign(targets, [self.repository.root().signed], self.keys[TARGETS])
        path = self.repository.directory / release.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self.repository.publish(self.online, now, targets=targets)

    def refresh(self, now: datetime = NOW) -> None:
        self.repository.publish(self.online, now)

    def rotate(
        self, changes: Mapping[str, int], now: datetime = NOW, thresholds: Mapping[str, int] | None = None
    ) -> Metadata[Root]:
        """Replace so many keys of each role, and publish the root that says so."""
        root, targets, old_root = self.changed(changes, now, thresholds)
        sign(root, [self.repository.root().signed, root.signed], [*old_root, *self.keys[ROOT]])
        self.repository.publish(self.online, now, root=root, targets=targets)
        return root

    def changed(
        self, changes: Mapping[str, int], now: datetime = NOW, thresholds: Mapping[str, int] | None = None
    ) -> tuple[Metadata[Root], Metadata[Targets] | None, list[CryptoSigner]]:
        old = self.repository.root().signed
        old_root = list(self.keys[ROOT])
        gone = {role: self.keys[role][:count] for role, count in changes.items()}
        new = {role: [generate() for _ in range(count)] for role, count in changes.items()}
        for role, count in changes.items():
            self.keys[role] = self.keys[role][count:] + new[role]
        root = next_root(
            old,
            now,
            add={role: [key.public_key for key in keys] for role, keys in new.items()},
            retire={role: [key.public_key.keyid for key in keys] for role, keys in gone.items()},
            thresholds=thresholds,
        )
        targets = None
        if TARGETS in changes:
            targets = next_targets(self.repository.targets().signed, now)
            sign(targets, [root.signed], self.keys[TARGETS])
        return root, targets, old_root

    def forge(
        self, kind: type[S], path: str, change: Callable[[S], object], signers: Iterable[CryptoSigner], to: str = ""
    ) -> bytes:
        """Change a file of metadata behind everyone's back, and sign it."""
        found: Metadata[S] = Metadata[S].from_bytes((self.repository.metadata / path).read_bytes())
        change(found.signed)
        found.signatures.clear()
        for signer in signers:
            found.sign(signer, append=True)
        data = found.to_bytes()
        (self.repository.metadata / (to or path)).write_bytes(data)
        return data


class Host:
    """A host that updates from a repository, through a mirror that may lie."""

    def __init__(self, directory: Path, makers: Makers) -> None:
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self.makers = makers
        self.trusted = Trusted(directory, makers.first)
        self.lies: dict[str, bytes | None] = {}
        self.asked: list[str] = []

    def fetch(self, path: str, limit: int) -> bytes:
        self.asked.append(path)
        if path in self.lies:
            lie = self.lies[path]
            if lie is None:
                raise NotFoundError(path)
            return lie
        return self.makers.repository.fetch(path, limit)

    def update(self, now: datetime = NOW) -> Verified:
        return self.trusted.update(self.fetch, now)


def later(**span: float) -> datetime:
    return NOW + timedelta(**span)
