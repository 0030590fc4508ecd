"""What a host trusts: it is led from one root of trust to the releases of today, or told why not."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
from tuf.api.exceptions import EqualVersionNumberError, ExpiredMetadataError, RepositoryError
from tuf.api.metadata import Metadata, Root
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
from tuf.ngclient.config import EnvelopeType

from core.tls import files
from core.trust import state as states
from core.trust.errors import NotFoundError, TrustError, refused
from core.trust.metadata import LIMITS, ROOT, SNAPSHOT, TARGETS, TIMESTAMP, check_clock, check_root, check_time
from core.trust.releases import Release, releases_in
from core.trust.state import State

Fetch = Callable[[str, int], bytes]
"""A file of the repository by its path in it. It may stop one byte after so many; NotFoundError if there is none, and
its own errors, which are passed on."""

MOST_ROOTS = 256
"""Roots taken in one update; a host that missed more goes on with the next one."""


class Verified(NamedTuple):
    """What the repository offers now."""

    releases: tuple[Release, ...]
    root: int
    """Versions of the metadata."""
    targets: int
    expires: datetime
    """When the metadata has to be fetched anew, at the latest."""

    def find(self, product: str, version: str, architecture: str) -> Release:
        """TrustError if there is no such release."""
        for release in self.releases:
            if release[:3] == (product, version, architecture):
                return release
        raise TrustError(f"no signed release {version} of {product} for {architecture}")


class Trusted:
    """The trust of one host, in a directory that outlives its slots. One update at a time: BlockingIOError."""

    def __init__(self, directory: Path, root: bytes) -> None:
        """`root` is the root of trust that came with the image; it counts only until the directory holds one."""
        self._directory = directory
        self._first = root

    def update(self, fetch: Fetch, now: datetime) -> Verified:
        """Go on to what the repository offers now.

        TrustError with the reason; then what was trusted before still is, with those steps that were verified.
        """
        with files.locked(self._directory):
            return _Update(self._directory, self._first, fetch, now).run()


def manifest(fetch: Fetch, release: Release) -> bytes:
    """The manifest of a release. TrustError."""
    data = _fetch(fetch, release.path, release.size)
    release.check(data)
    return data


def root_chain(first: bytes, following: list[bytes]) -> int:
    """The version that a chain of roots leads to. TrustError if a link does not hold."""
    trusted = _open(first)
    for data in following:
        _take_root(trusted, data)
    return int(trusted.root.version)


class _Update:
    """One run through the client's workflow of the specification, section 5."""

    def __init__(self, directory: Path, first: bytes, fetch: Fetch, now: datetime) -> None:
        self._directory = directory
        self._fetch = fetch
        self._now = now
        self._state = states.load(directory) or State(first)
        self._set = _open(self._state.root)
        self._set.reference_time = now

    def run(self) -> Verified:
        self._roots()
        self._timestamp()
        self._snapshot()
        self._targets()
        found = self._set
        signed = (found.root, found.timestamp, found.snapshot, found.targets)
        return Verified(
            releases_in(found.targets),
            int(found.root.version),
            int(found.targets.version),
            min(each.expires for each in signed),
        )

    def _save(self, **changed: bytes) -> None:
        self._state = msgspec.structs.replace(self._state, **changed)
        states.save(self._directory, self._state)

    def _roots(self) -> None:
        for _ in range(MOST_ROOTS):
            before = self._set.root
            path = f"metadata/{before.version + 1}.root.json"
            try:
                data = _fetch(self._fetch, path, LIMITS[ROOT])
            except NotFoundError:
                break
            _take_root(self._set, data)
            check_clock(self._set.root, self._now, path)
            if _retired(before, self._set.root):
                self._save(root=data, timestamp=b"", snapshot=b"")
            else:
                self._save(root=data)
        check_time(self._set.root, self._now, f"metadata/{self._set.root.version}.root.json")

    def _timestamp(self) -> None:
        path = "metadata/timestamp.json"
        self._recall(lambda: self._set.update_timestamp(self._state.timestamp), self._state.timestamp)
        data = _fetch(self._fetch, path, LIMITS[TIMESTAMP])
        with refused(path):
            try:
                self._set.update_timestamp(data)
            except EqualVersionNumberError:
                data = b""
            except ExpiredMetadataError:
                pass  # said below, with the dates
        check_time(self._set.timestamp, self._now, path)
        if data:
            self._save(timestamp=data)

    def _snapshot(self) -> None:
        meta = self._set.timestamp.snapshot_meta
        path = f"metadata/{meta.version}.snapshot.json"
        if self._recall(lambda: self._set.update_snapshot(self._state.snapshot, trusted=True), self._state.snapshot):
            return
        data = _fetch(self._fetch, path, meta.length or LIMITS[SNAPSHOT])
        with refused(path), suppress(ExpiredMetadataError):  # as above
            self._set.update_snapshot(data)
        check_time(self._set.snapshot, self._now, path)
        self._save(snapshot=data)

    def _targets(self) -> None:
        if self._recall(lambda: self._set.update_targets(self._state.targets), self._state.targets):
            return
        meta = self._set.snapshot.meta.get("targets.json")
        if meta is None:
            raise TrustError("the snapshot does not name the targets")
        path = f"metadata/{meta.version}.targets.json"
        data = _fetch(self._fetch, path, meta.length or LIMITS[TARGETS])
        with refused(path):
            try:
                self._set.update_targets(data)
            except ExpiredMetadataError:  # its signatures held, or it would have been another error
                check_time(Metadata.from_bytes(data).signed, self._now, path)
                raise
        check_clock(self._set.targets, self._now, path)
        self._save(targets=data)

    def _recall(self, load: Callable[[], object], data: bytes) -> bool:
        """Take what was trusted before as the floor of what is accepted now; whether it is still the one to use.

        If its keys were retired since, it is no floor any more: so those who signed with a stolen key cannot make us
        wait for their version number for ever.
        """
        if not data:
            return False
        try:
            load()
        except RepositoryError:
            return False
        return True


def _open(root: bytes) -> TrustedMetadataSet:
    if len(root) > LIMITS[ROOT]:
        raise TrustError(f"the trusted root is larger than {LIMITS[ROOT]} bytes")
    with refused("the trusted root"):
        trusted = TrustedMetadataSet(root, EnvelopeType.METADATA)
    check_root(trusted.root, "the trusted root")
    return trusted


def _take_root(trusted: TrustedMetadataSet, data: bytes) -> None:
    what = f"metadata/{trusted.root.version + 1}.root.json"
    if len(data) > LIMITS[ROOT]:
        raise TrustError(f"{what} is larger than {LIMITS[ROOT]} bytes")
    with refused(what):
        trusted.update_root(data)
        check_root(trusted.root, what)


def _retired(before: Root, after: Root) -> bool:
    """Whether a key of the cluster was taken out of service: section 5.3.11 of the specification."""
    return any(set(before.roles[role].keyids) - set(after.roles[role].keyids) for role in (SNAPSHOT, TIMESTAMP))


def _fetch(fetch: Fetch, path: str, limit: int) -> bytes:
    data = fetch(path, limit)
    if len(data) > limit:
        raise TrustError(f"{path} does not end after {limit} bytes, as it must")
    return data
