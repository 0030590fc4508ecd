"""Which chunks of a new image the two slots already have, so that only the others need to be fetched.

The slots are cut as images are cut, which finds what is the same wherever it lies. No record is kept that could be
stale, and after a crash the slot that was being written to tells by itself what is done.
"""

from collections.abc import Mapping

import msgspec

from core.images.cutting import cut
from core.images.manifest import Blob, Chunk, digest
from core.images.store import Source
from core.partitions.device import Area


class Place(msgspec.Struct, frozen=True):
    """Where a chunk lies."""

    area: Area
    offset: int


class Reuse(msgspec.Struct, frozen=True):
    """A source of chunks for `install.write`: from the slots what they have, all else from another source."""

    places: Mapping[str, Place]
    """By hash."""
    other: Source

    def read(self, chunk: Chunk) -> bytes:
        place = self.places.get(chunk.sha256)
        if place is not None:
            data = place.area.read(place.offset, chunk.size)
            if digest(data) == chunk.sha256:
                return data
        return self.other.read(chunk)


def reusable(blob: Blob, active: Area, passive: Area) -> dict[str, Place]:
    """The chunks of a new image that need not be fetched. Reads both slots, all of them.

    What only the passive slot has counts if it is still there when it is needed: an image is written from its start on.
    """
    in_active, in_passive = scan(active), scan(passive)
    needed_last = {chunk.sha256: offset for offset, chunk in blob.placed()}
    found = {}
    for name, offset in needed_last.items():
        if name in in_active:
            found[name] = Place(active, in_active[name])
        elif in_passive.get(name, -1) >= offset:
            found[name] = Place(passive, in_passive[name])
    return found


def missing(blob: Blob, places: Mapping[str, Place]) -> list[Chunk]:
    """What is left to fetch: each chunk once, in the order of the image."""
    return list({chunk.sha256: chunk for chunk in blob.chunks if chunk.sha256 not in places}.values())


def scan(area: Area) -> dict[str, int]:
    """The chunks of a slot by hash, with their offset; of equal ones the last."""
    found: dict[str, int] = {}
    offset = 0
    for data in cut(area.read, area.size):
        found[digest(data)] = offset
        offset += len(data)
    return found
