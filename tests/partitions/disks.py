"""Disks in memory and in files, and the tables on them."""

import random
from collections.abc import Iterable
from pathlib import Path
from uuid import UUID

from core.partitions.reading import Found, read_table
from core.partitions.slots import USR, Marks, marked
from core.partitions.table import Partition, Table, new_table
from core.partitions.writing import Plan, Write, create

SECTOR = 512
SECTORS = 8192
LINUX = UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")


class Disk:
    """Bytes that are read and written as a disk's are."""

    def __init__(self, data: bytes = b"", sectors: int = SECTORS, sector_size: int = SECTOR) -> None:
        self.sector_size = sector_size
        self.data = bytearray(data or bytes(sectors * sector_size))

    @property
    def sectors(self) -> int:
        return len(self.data) // self.sector_size

    def read(self, offset: int, length: int) -> bytes:
        return bytes(self.data[offset : offset + length])

    def apply(self, writes: Iterable[Write]) -> None:
        for write in writes:
            self.data[write.offset : write.offset + len(write.data)] = write.data

    def carry_out(self, plan: Plan) -> None:
        for group in plan:
            self.apply(group)

    def found(self) -> Found:
        return read_table(self.read, self.sectors, self.sector_size)

    def save(self, path: Path) -> Path:
        path.write_bytes(self.data)
        return path


def two_slots(a: Marks, b: Marks, sectors: int = SECTORS, sector_size: int = SECTOR) -> Table:
    """A table with a system partition, slots 3 and 4, and a root."""
    chance = random.Random(4)
    table = new_table(UUID(int=chance.getrandbits(128)), sectors, sector_size)
    size = (table.last_usable - table.first_usable + 1) // 4

    def partition(number: int, kind: UUID, place: int, label: str) -> Partition:
        first = table.first_usable + place * size
        return Partition(number, kind, UUID(int=chance.getrandbits(128)), first, first + size - 1, 0, label)

    return table.replaced(
        partition(1, UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b"), 0, "EFI-SYSTEM"),
        marked(partition(3, USR, 1, "USR-A"), a),
        marked(partition(4, USR, 2, "USR-B"), b),
        partition(9, LINUX, 3, "ROOT"),
    )


def disk_with(table: Table) -> Disk:
    disk = Disk(sectors=table.sectors, sector_size=table.sector_size)
    disk.carry_out(create(table))
    return disk
