"""What the cluster serves, as records in the store: blobs by their chunks, and the metadata that is small."""

from collections.abc import Iterator
from typing import Annotated, TypeVar

import msgspec

from core.images.manifest import Blob
from core.update import keys

SERVED = keys.IMAGES + b"served"
"""Catalogue: what hosts are told."""
STAGED = keys.IMAGES + b"staged"
"""Catalogue that is to follow it, as soon as a majority has all that it names."""
HELD = keys.IMAGES + b"held/"
"""Below it, by member id: Held."""
ENCODED_MAX = 1 << 20
"""Bytes of the largest catalogue: it is one value of the store."""


R = TypeVar("R")


_Name = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+~_-]{0,63}$")]
_File = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+~_-]{0,127}$")]


class CatalogueError(ValueError):
    """A record that this version cannot read, or that may not be; the text says why."""


class Package(msgspec.Struct, frozen=True):
    """A file of another maker, served as it is: hosts that speak Omaha get it."""

    product: _Name
    version: _Name
    architecture: _Name
    size: int
    sha1: str
    sha256: str
    index: Blob
    """Of the file that says of which chunks it is: a `Blob` as JSON."""
    file: _File = "package"
    """What it was called where it came from."""

    @property
    def key(self) -> str:
        """What it is called among the packages; one more of the same name replaces it."""
        return package_key(self.product, self.version, self.architecture)


class Catalogue(msgspec.Struct, frozen=True, omit_defaults=True):
    """All that is served."""

    roots: tuple[Blob, ...] = ()
    """Version 1 first, none left out."""
    targets: Blob | None = None
    targets_version: int = 0
    targets_before: Blob | None = None
    """The version before this one: a host that has begun to update itself reads on."""
    snapshot: bytes = b""
    snapshot_version: int = 0
    snapshot_before: bytes = b""
    timestamp: bytes = b""
    timestamp_version: int = 0
    signed: int = 0
    """When the cluster signed last, and when that ends: Unix seconds."""
    expires: int = 0
    manifests: dict[str, Blob] = {}
    """Of the releases, by path in the repository."""
    packages: dict[str, Package] = {}

    def blobs(self) -> Iterator[Blob]:
        """All that it names itself."""
        yield from self.roots
        yield from (each for each in (self.targets, self.targets_before) if each is not None)
        yield from self.manifests.values()
        for package in self.packages.values():
            yield package.index


class Held(msgspec.Struct, frozen=True, omit_defaults=True):
    """Up to which revisions of its records a member has all that they name."""

    served: int = 0
    staged: int = 0
    trouble: str = ""
    """Why it lacks something, for people."""


def package_key(product: str, version: str, architecture: str) -> str:
    return "/".join((product, version, architecture))


def held_key(member: str) -> bytes:
    """`member`: its id, hexadecimal."""
    return HELD + member.encode()


def encode(record: Catalogue | Held) -> bytes:
    """The bytes to store. CatalogueError if there are too many."""
    data = msgspec.json.encode(record, order="deterministic")
    if len(data) > ENCODED_MAX:
        raise CatalogueError(
            f"the catalogue of all releases would have {len(data)} bytes, more than {ENCODED_MAX}: sign targets with "
            "fewer releases first"
        )
    return data


def decode(data: bytes | None) -> Catalogue:
    """What is stored, nothing if nothing is. CatalogueError."""
    return Catalogue() if data is None else _decoded(data, Catalogue)


def decode_held(data: bytes | None) -> Held:
    return Held() if data is None else _decoded(data, Held)


def _decoded(data: bytes, kind: type[R]) -> R:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CatalogueError(f"this is no record of images: {error}") from None
