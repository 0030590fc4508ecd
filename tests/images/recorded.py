"""Images made for tests, and a disk in memory that remembers each write and sync."""

import random
from pathlib import Path

from core.images.build import Parts, Release, build
from core.images.manifest import Manifest
from core.images.store import ChunkStore
from core.partitions.device import IMAGE_SECTOR, Device
from core.partitions.slots import Marks
from tests.partitions.disks import disk_with, two_slots

RELEASE = Release("corenode", "1.2.3", "x86_64")
SECTORS = 8192
SYNC = None


def image(home: Path, size: int = 700_000, seed: int = 1) -> tuple[Manifest, ChunkStore]:
    """An image of random bytes, as compressed ones look."""
    home.mkdir(parents=True, exist_ok=True)
    source = home / "usr"
    source.write_bytes(random.Random(seed).randbytes(size))
    return build(Parts(source), RELEASE, home / "image"), ChunkStore(home / "image" / "chunks")


def fresh_disk() -> bytearray:
    """A disk with two good slots, of which A starts; both slots have their name at both ends."""
    table = two_slots(Marks(2, 0, True), Marks(1, 0, True), SECTORS)
    data = disk_with(table).data
    for partition in table.partitions:
        if partition.number in (3, 4):
            mark = f"slot {partition.number}".encode().ljust(IMAGE_SECTOR, b"!")
            data[partition.first * IMAGE_SECTOR : (partition.first + 1) * IMAGE_SECTOR] = mark
            data[partition.last * IMAGE_SECTOR : (partition.last + 1) * IMAGE_SECTOR] = mark
    return data


class Recorder(Device):
    """A disk in memory."""

    def __init__(self, data: bytearray) -> None:
        self.path = Path("disk in memory")
        self.data = data
        self.size = len(data)
        self.sector_size = IMAGE_SECTOR
        self.log: list[tuple[int, bytes] | None] = []
        """Writes as offset and bytes, and SYNC."""

    def close(self) -> None:
        """Nothing to close."""

    @property
    def is_block_device(self) -> bool:
        return False

    def read(self, offset: int, length: int) -> bytes:
        return bytes(self.data[offset : offset + length])

    def write(self, offset: int, data: bytes | memoryview) -> None:
        self.log.append((offset, bytes(data)))
        self.data[offset : offset + len(data)] = data

    def sync(self) -> None:
        self.log.append(SYNC)

    def forget_cached(self) -> None:
        """Memory is all there is."""
