"""A directory of chunks, each compressed in a file named by the hash of its plain bytes."""

import os
from pathlib import Path
from typing import Protocol

import msgspec
import zstandard

from core.images.manifest import Chunk, ImageError, digest

LEVEL = 9
"""Of compression."""


class Source(Protocol):
    """Where chunks come from."""

    def read(self, chunk: Chunk) -> bytes:
        """The plain bytes, checked. ImageError if they cannot be had or are not what they should be."""
        ...


class ChunkStore(msgspec.Struct, frozen=True):
    """`PATH/<aa>/<sha256>.zst`. What is in it is believed only after it was checked."""

    path: Path

    def place(self, sha256: str) -> Path:
        """The file of a chunk."""
        return self.path / sha256[:2] / f"{sha256}.zst"

    def add(self, data: bytes) -> Chunk:
        """Keep plain bytes. Its file is there whole or not at all, but not durable."""
        name = digest(data)
        packed = zstandard.ZstdCompressor(level=LEVEL).compress(data)
        place = self.place(name)
        try:
            if not (place.exists() and place.stat().st_size == len(packed)):
                place.parent.mkdir(parents=True, exist_ok=True)
                fresh = place.with_suffix(".new")
                fresh.write_bytes(packed)
                os.replace(fresh, place)
        except OSError as error:
            raise ImageError(f"{place} cannot be written: {error.strerror}") from error
        return Chunk(name, len(data), len(packed))

    def has(self, chunk: Chunk) -> bool:
        """Whether there is a file of its size."""
        try:
            return self.place(chunk.sha256).stat().st_size == chunk.stored
        except OSError:
            return False

    def read(self, chunk: Chunk) -> bytes:
        """May be asked by several threads at once."""
        # an image has thousands of chunks: as text a path costs a fraction of what it costs as an object
        place = f"{self.path}/{chunk.sha256[:2]}/{chunk.sha256}.zst"
        try:
            descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
            try:
                packed = os.read(descriptor, chunk.stored + 1)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise ImageError(f"chunk {chunk.sha256} cannot be read from {place}: {error.strerror}") from error
        return unpacked(chunk, packed)


def unpacked(chunk: Chunk, packed: bytes) -> bytes:
    """The plain bytes of a chunk, from wherever its compressed ones came. ImageError unless they are just that.

    The size that is written in the compressed bytes is looked at before memory is taken for it.
    """
    if len(packed) != chunk.stored:
        more = "at least " if len(packed) > chunk.stored else ""
        raise ImageError(f"chunk {chunk.sha256} has {more}{len(packed)} bytes, and the manifest says {chunk.stored}")
    try:
        announced = zstandard.get_frame_parameters(packed).content_size
        if announced != chunk.size:
            raise ImageError(f"chunk {chunk.sha256} does not unpack to the {chunk.size} bytes of the manifest")
        plain = zstandard.ZstdDecompressor(max_window_size=1 << 23).decompress(packed, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ImageError(f"chunk {chunk.sha256} cannot be unpacked: {error}") from None
    if len(plain) != chunk.size or digest(plain) != chunk.sha256:
        raise ImageError(f"chunk {chunk.sha256} is damaged: its bytes have another hash")
    return plain
