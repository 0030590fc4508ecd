"""The manifest of an image: all its bytes by size and hash, as canonical JSON."""

import hashlib
from collections.abc import Iterator
from typing import Annotated

import msgspec

CHUNK_MAX = 256 << 10
"""Bytes of the largest chunk."""
STORED_MAX = CHUNK_MAX + (64 << 10)
"""Bytes of the largest chunk as it is stored; what cannot be compressed grows a little."""
MANIFEST_MAX = 16 << 20
"""Bytes of the largest manifest: room for an image of 8 GiB."""
FORMAT = 1

_Hash = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
_Name = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+~_-]{0,63}$")]
_Size = Annotated[int, msgspec.Meta(ge=1, lt=1 << 48)]


class ImageError(Exception):
    """An image that cannot be made, believed or installed. The text says which part, and why."""


class Chunk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A piece of a blob."""

    sha256: _Hash
    """Of the plain bytes; also its name."""
    size: Annotated[int, msgspec.Meta(ge=1, le=CHUNK_MAX)]
    """Plain bytes."""
    stored: Annotated[int, msgspec.Meta(ge=1, le=STORED_MAX)]
    """Bytes of the compressed chunk."""


class Blob(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of the image, cut into chunks."""

    size: _Size
    sha256: _Hash
    chunks: tuple[Chunk, ...]

    def placed(self) -> Iterator[tuple[int, Chunk]]:
        """Each chunk with its offset."""
        offset = 0
        for chunk in self.chunks:
            yield offset, chunk
            offset += chunk.size


class Verity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the kernel needs to check what it reads (dm-verity, with a superblock)."""

    root_hash: _Hash
    salt: Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{2}){0,256}$")]
    hash_offset: _Size
    """Where in the slot the superblock lies; the data end there."""
    block: int
    """Bytes of a block, of data and of hashes."""


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A release for one architecture."""

    product: _Name
    version: _Name
    architecture: _Name
    created: Annotated[int, msgspec.Meta(ge=0, lt=1 << 48)]
    """Seconds since 1970; 0 if nobody said."""
    usr: Blob
    """What a slot holds: the file system and, behind it, the tree of `verity`."""
    verity: Verity | None = None
    kernel: Blob | None = None
    initrd: Blob | None = None
    cmdline: str = ""
    format: int = FORMAT

    def blobs(self) -> dict[str, Blob]:
        """Those it has, by name."""
        named = {"usr": self.usr, "kernel": self.kernel, "initrd": self.initrd}
        return {name: blob for name, blob in named.items() if blob is not None}

    def chunks(self) -> dict[str, Chunk]:
        """All of them by hash, each once."""
        return {chunk.sha256: chunk for blob in self.blobs().values() for chunk in blob.chunks}


def encode(manifest: Manifest) -> bytes:
    """The one way to write it: fields in their order, no spaces, integers only."""
    return msgspec.json.encode(manifest)


def decode(data: bytes) -> Manifest:
    """ImageError unless it is a manifest, written in the one way, whose sizes agree."""
    if len(data) > MANIFEST_MAX:
        raise ImageError(f"the manifest has {len(data)} bytes, more than {MANIFEST_MAX}")
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ImageError(f"the manifest cannot be read: {error}") from None
    if manifest.format != FORMAT:
        raise ImageError(f"the manifest has format {manifest.format}, and only {FORMAT} is known; take a newer program")
    if encode(manifest) != data:
        raise ImageError("the manifest is not written in canonical form")
    seen: dict[str, Chunk] = {}
    for name, blob in manifest.blobs().items():
        if sum(chunk.size for chunk in blob.chunks) != blob.size:
            raise ImageError(f"the chunks of {name} have another size than it")
        for chunk in blob.chunks:
            if seen.setdefault(chunk.sha256, chunk) != chunk:
                raise ImageError(f"the manifest gives chunk {chunk.sha256} two sizes")
    verity = manifest.verity
    if verity and (verity.hash_offset % verity.block if verity.block == 4096 else True):
        raise ImageError("the manifest's tree of hashes is not of blocks of 4096 bytes")
    if verity and verity.hash_offset >= manifest.usr.size:
        raise ImageError("the manifest's tree of hashes lies behind the end of usr")
    return manifest


def digest(data: bytes | memoryview) -> str:
    """SHA-256, in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()
