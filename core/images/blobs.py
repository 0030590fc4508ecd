"""Any bytes as a blob: cut and packed like the files of an image, so that they travel and rest as those do."""

from collections.abc import Iterator
from typing import NamedTuple

import zstandard

from core.images.cutting import Reader, cut
from core.images.manifest import Blob, Chunk, digest
from core.images.store import LEVEL


class Packed(NamedTuple):
    """A chunk and its compressed bytes."""

    chunk: Chunk
    data: bytes


def pack(read: Reader, size: int) -> Iterator[Packed]:
    """All bytes up to `size`, in packed chunks."""
    for piece in cut(read, size):
        data = zstandard.ZstdCompressor(level=LEVEL).compress(piece)
        yield Packed(Chunk(digest(piece), len(piece), len(data)), data)


def packed(data: bytes) -> tuple[Blob, dict[str, bytes]]:
    """A small file, which is not empty, and its chunks by hash."""
    found = list(pack(lambda offset, size: data[offset : offset + size], len(data)))
    return Blob(len(data), digest(data), tuple(each.chunk for each in found)), {
        each.chunk.sha256: each.data for each in found
    }
