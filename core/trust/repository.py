"""A repository as a directory: `metadata/`, `targets/`, `chunks/`, and what is being signed in `drafts/`."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from core.tls import files
from core.trust.errors import NotFoundError, TrustError
from core.trust.metadata import (
    LIMITS,
    LIVES,
    ROOT,
    SNAPSHOT,
    TARGETS,
    check_root,
    enough,
    progress,
    read,
    sign_online,
)


class Repository:
    """The directory that hosts update from. What it serves changes in one step, when the timestamp is replaced."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.metadata = directory / "metadata"
        self.drafts = directory / "drafts"

    def create(
        self,
        root: Metadata[Root],
        targets: Metadata[Targets],
        online: Iterable[CryptoSigner],
        now: datetime,
        lives: Mapping[str, timedelta] = LIVES,
    ) -> None:
        """Begin with signed metadata, in a directory without any: FileExistsError. TrustError, OSError."""
        enough(progress(root, [root.signed]))
        first = sign_online(root.signed, targets.to_bytes(), (0, 0), online, now, lives)
        self.metadata.mkdir(parents=True, exist_ok=True)
        files.write_new(self._file(ROOT, 1), root.to_bytes(), files.PUBLIC)
        put(self._file(TARGETS, 1), targets.to_bytes())
        put(self._file(SNAPSHOT, 1), first.snapshot)
        put(self._timestamp, first.timestamp)

    def root(self) -> Metadata[Root]:
        """The newest root. TrustError if there is none."""
        return read(Root, self.root_bytes(), "the newest root")

    def root_bytes(self, version: int | None = None) -> bytes:
        """A root as it was signed, the newest unless one is named. TrustError if there is none, OSError."""
        version = version or max(self._versions(ROOT), default=0)
        path = self._file(ROOT, version)
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise TrustError(f"{self.directory} is no repository: there is no {path}") from None

    def targets(self) -> Metadata[Targets]:
        """The targets that are served now. TrustError, OSError."""
        return read(Targets, self._targets_bytes(), "the targets served now")

    def snapshot(self) -> Metadata[Snapshot]:
        """The snapshot that is served now. TrustError, OSError."""
        version = self.timestamp().signed.snapshot_meta.version
        return read(Snapshot, self._file(SNAPSHOT, version).read_bytes(), "the snapshot served now")

    def timestamp(self) -> Metadata[Timestamp]:
        """The timestamp that is served now. TrustError, OSError."""
        return read(Timestamp, self._timestamp.read_bytes(), "the timestamp served now")

    def publish(
        self,
        online: Iterable[CryptoSigner],
        now: datetime,
        *,
        root: Metadata[Root] | None = None,
        targets: Metadata[Targets] | None = None,
        lives: Mapping[str, timedelta] = LIVES,
    ) -> None:
        """Serve a new root or new targets, or just sign again what is served, before it expires.

        Everything is checked before the first byte is written; interrupted, it may be repeated. TrustError if
        signatures are missing, or what is served has gone on since this was signed. BlockingIOError, OSError.
        """
        with files.locked(self.metadata):
            old, before, served = self.root().signed, self.timestamp().signed, self._targets_bytes()
            top = old
            if root is not None and root.to_bytes() == self.root_bytes():
                root = None  # published already, by a call that was interrupted
            if targets is not None and targets.to_bytes() == served:
                targets = None
            if root is not None:
                _follows(root.signed.version, old.version, ROOT)
                check_root(root.signed, "the new root")
                enough(progress(root, [old, root.signed]))
                top = root.signed
            if targets is not None:
                _follows(targets.signed.version, self.targets().signed.version, TARGETS)
                enough(progress(targets, [top]))
                served = targets.to_bytes()
            new = sign_online(top, served, (before.snapshot_meta.version, before.version), online, now, lives)
            if targets is not None:
                put(self._file(TARGETS, targets.signed.version), served)
            put(self._file(SNAPSHOT, new.snapshot_version), new.snapshot)
            if root is not None:
                put(self._file(ROOT, top.version), root.to_bytes())
            put(self._timestamp, new.timestamp)

    def fetch(self, path: str, limit: int) -> bytes:
        """A file of this repository: a `Fetch`."""
        try:
            with (self.directory / path).open("rb") as stream:
                return stream.read(limit + 1)
        except FileNotFoundError:
            raise NotFoundError(f"{self.directory} has no {path}") from None

    def draft(self, role: str) -> Path:
        """Where metadata of a role waits for its signatures."""
        return self.drafts / f"{role}.json"

    @property
    def _timestamp(self) -> Path:
        return self.metadata / "timestamp.json"

    def _targets_bytes(self) -> bytes:
        meta = self.snapshot().signed.meta["targets.json"]
        with self._file(TARGETS, meta.version).open("rb") as stream:
            return stream.read(LIMITS[TARGETS] + 1)

    def _file(self, role: str, version: int) -> Path:
        return self.metadata / f"{version}.{role}.json"

    def _versions(self, role: str) -> list[int]:
        found = (path.name.partition(".")[0] for path in self.metadata.glob(f"*.{role}.json"))
        return [int(version) for version in found if version.isdecimal()]


def put(path: Path, data: bytes) -> None:
    """Make or replace a public file, durably and in one step. OSError as the system says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        files.replace(path, data)
    else:
        files.write_new(path, data, files.PUBLIC)


def _follows(version: int, served: int, role: str) -> None:
    if version != served + 1:
        raise TrustError(
            f"version {version} of the {role} was signed, but version {served} is served now: sign anew on top of it"
        )
