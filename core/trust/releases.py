"""Releases: the one target each of them has, its name, and what must hold of it."""

import hashlib
import re
from typing import NamedTuple

import msgspec
from tuf.api.metadata import TargetFile, Targets

from core.trust.errors import TrustError

LARGEST = 64 << 20
"""The largest manifest, in bytes: some 500,000 chunks."""

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,127}")
_FILE = "manifest.json"


class Named(msgspec.Struct, frozen=True):
    """What a manifest says of itself; the rest of it is not for this room."""

    product: str
    version: str
    architecture: str


class Release(NamedTuple):
    """A signed release."""

    product: str
    version: str
    architecture: str
    size: int
    """Of its manifest, in bytes."""
    sha256: str

    @property
    def target(self) -> str:
        """Its name in the metadata."""
        return "/".join((self.product, self.version, self.architecture, _FILE))

    @property
    def path(self) -> str:
        """Where its manifest lies in a repository: as TUF has it, the hash stands before the file's name."""
        return "/".join(("targets", self.product, self.version, self.architecture, f"{self.sha256}.{_FILE}"))

    def check(self, manifest: bytes) -> None:
        """TrustError if this is not the manifest that was signed, or it is one of something else."""
        if len(manifest) != self.size:
            raise TrustError(f"the manifest of {self.target} has {len(manifest)} bytes, not {self.size}")
        if hashlib.sha256(manifest).hexdigest() != self.sha256:
            raise TrustError(f"the manifest of {self.target} is not the one that was signed")
        if release_of(manifest) != self:
            raise TrustError(f"the manifest signed as {self.target} is that of something else")


def release_of(manifest: bytes) -> Release:
    """The release that a manifest describes. TrustError."""
    if len(manifest) > LARGEST:
        raise TrustError(f"the manifest is larger than {LARGEST} bytes")
    try:
        named = msgspec.json.decode(manifest, type=Named)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TrustError(f"the manifest cannot be read ({error})") from None
    for word in (named.product, named.version, named.architecture):
        if not _WORD.fullmatch(word):
            raise TrustError(f"{word!r} in the manifest is no name: letters, digits and . _ + ~ - only")
    return Release(
        named.product, named.version, named.architecture, len(manifest), hashlib.sha256(manifest).hexdigest()
    )


def target_of(release: Release) -> TargetFile:
    """A release as the metadata holds it."""
    return TargetFile(release.size, {"sha256": release.sha256}, release.target)


def releases_in(targets: Targets) -> tuple[Release, ...]:
    """The releases among targets. Targets of other names are not for us, and delegations are not followed."""
    found = []
    for name, target in sorted(targets.targets.items()):
        *words, file = name.split("/")
        if file != _FILE or len(words) != 3 or not all(_WORD.fullmatch(word) for word in words):
            continue
        digest = target.hashes.get("sha256", "")
        if not re.fullmatch("[0-9a-f]{64}", digest) or not 0 < target.length <= LARGEST:
            raise TrustError(f"{name} is signed without a SHA-256 or a size that can be")
        found.append(Release(words[0], words[1], words[2], target.length, digest))
    return tuple(found)
