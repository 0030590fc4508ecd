"""A table of partitions as a value, and its bytes.

Source: UEFI Specification 2.10, chapter 5 (GUID Partition Table). Numbers are little-endian; LBAs count sectors.
"""

import struct
from collections.abc import Iterator
from uuid import UUID
from zlib import crc32

import msgspec

SIGNATURE = b"EFI PART"
REVISION = 0x0001_0000
HEADER_SIZE = 92
ENTRY_SIZE = 128
ENTRIES = 128
"""Of a new table: 16 KiB, the least that the specification asks for."""
ENTRIES_MAX = 1024
ENTRY_SIZE_MAX = 4096
SECTOR_SIZES = (512, 4096)
LABEL_LENGTH = 36
"""UTF-16 units."""

_HEADER = struct.Struct("<8sII8xQQQQ16sQII")
"""Signature, revision, size; room for the header's checksum and four reserved bytes; own place, place of the other
header, first and last usable sector, the disk's id, place of the entries, their number, the size of one. Their checksum
follows."""
_ENTRY = struct.Struct("<16s16sQQQ72s")
_EMPTY = bytes(16)


class TableError(Exception):
    """A table that cannot be believed or cannot be made. The text is for people."""


class Partition(msgspec.Struct, frozen=True):
    """One partition."""

    number: int
    """From 1, its place in the table: the N of /dev/sdaN."""
    kind: UUID
    """The GUID of its type."""
    id: UUID
    """Its own GUID, the PARTUUID."""
    first: int
    last: int
    """LBAs, both included."""
    attributes: int = 0
    """64 bits."""
    label: str = ""

    @property
    def sectors(self) -> int:
        """Its size."""
        return self.last - self.first + 1


class Table(msgspec.Struct, frozen=True):
    """All partitions of a disk. Where the copies of the table lie follows from the size of the disk."""

    disk: UUID
    sector_size: int
    """Bytes."""
    sectors: int
    """Of the whole disk."""
    first_usable: int
    last_usable: int
    partitions: tuple[Partition, ...] = ()
    """By number."""
    entries: int = ENTRIES
    entry_size: int = ENTRY_SIZE

    @property
    def entry_sectors(self) -> int:
        """Sectors that one copy of the entries takes."""
        return -(-self.entries * self.entry_size // self.sector_size)

    @property
    def backup(self) -> int:
        """Where the second header lies: in the last sector."""
        return self.sectors - 1

    def partition(self, number: int) -> Partition:
        """TableError if there is none of that number."""
        for partition in self.partitions:
            if partition.number == number:
                return partition
        raise TableError(f"there is no partition {number}")

    def replaced(self, *changed: Partition) -> "Table":
        """The table with these partitions in place of those of the same numbers."""
        by_number = {partition.number: partition for partition in (*self.partitions, *changed)}
        return msgspec.structs.replace(self, partitions=tuple(by_number[number] for number in sorted(by_number)))


def new_table(disk: UUID, sectors: int, sector_size: int = 512) -> Table:
    """An empty table for a disk. TableError if the disk is too small for one."""
    if sector_size not in SECTOR_SIZES:
        raise TableError(f"sectors of {sector_size} bytes are not known; there are {SECTOR_SIZES}")
    taken = -(-ENTRIES * ENTRY_SIZE // sector_size)
    table = Table(disk, sector_size, sectors, 2 + taken, sectors - taken - 2)
    if table.first_usable > table.last_usable:
        raise TableError(f"a disk of {sectors} sectors has no room for a table and a partition")
    return table


def check(table: Table) -> None:
    """TableError if partitions overlap, leave the usable part of the disk, or share an id or a number."""
    if not 0 < table.entries <= ENTRIES_MAX:
        raise TableError(f"{table.entries} entries are more than {ENTRIES_MAX}, or none")
    if table.first_usable < 2 + table.entry_sectors:
        raise TableError(f"the first usable sector, {table.first_usable}, lies in the table itself")
    if table.last_usable > table.backup - table.entry_sectors - 1:
        raise TableError(f"the last usable sector, {table.last_usable}, lies in the second table or behind the disk")
    before: Partition | None = None
    for partition in sorted(table.partitions, key=lambda each: each.first):
        number = partition.number
        if not 1 <= number <= table.entries:
            raise TableError(f"partition {number} has no place among {table.entries} entries")
        if partition.first > partition.last:
            raise TableError(f"partition {number} ends before it begins")
        if partition.first < table.first_usable or partition.last > table.last_usable:
            raise TableError(
                f"partition {number} lies at {partition.first} to {partition.last}, outside of the usable sectors "
                f"{table.first_usable} to {table.last_usable}"
            )
        if before is not None and partition.first <= before.last:
            raise TableError(f"partitions {before.number} and {number} overlap")
        before = partition
    for what, values in (
        ("number", [partition.number for partition in table.partitions]),
        ("id", [partition.id for partition in table.partitions]),
    ):
        if len(set(values)) != len(values):
            raise TableError(f"two partitions have the same {what}")


def entries_bytes(table: Table) -> bytes:
    """The entries, filled up to whole sectors. What an entry has beyond the fields known here is zero."""
    area = bytearray(table.entry_sectors * table.sector_size)
    for partition in table.partitions:
        _ENTRY.pack_into(
            area,
            (partition.number - 1) * table.entry_size,
            partition.kind.bytes_le,
            partition.id.bytes_le,
            partition.first,
            partition.last,
            partition.attributes,
            _label_bytes(partition),
        )
    return bytes(area)


def header_bytes(table: Table, entries: bytes, *, primary: bool) -> bytes:
    """One of the two headers, a whole sector, over entries as `entries_bytes` gives them."""
    own, other = (1, table.backup) if primary else (table.backup, 1)
    place = 2 if primary else table.backup - table.entry_sectors
    covered = crc32(entries[: table.entries * table.entry_size])

    def packed(checksum: int) -> bytes:
        head = _HEADER.pack(
            SIGNATURE,
            REVISION,
            HEADER_SIZE,
            own,
            other,
            table.first_usable,
            table.last_usable,
            table.disk.bytes_le,
            place,
            table.entries,
            table.entry_size,
        )
        return head[:16] + struct.pack("<I", checksum) + head[20:] + struct.pack("<I", covered)

    return packed(crc32(packed(0))).ljust(table.sector_size, b"\0")


def parse_entries(area: bytes, count: int, size: int) -> Iterator[Partition]:
    """The entries that are in use. TableError if a label is not UTF-16."""
    for number in range(1, count + 1):
        kind, id_, first, last, attributes, label = _ENTRY.unpack_from(area, (number - 1) * size)
        if kind != _EMPTY:
            yield Partition(
                number, UUID(bytes_le=kind), UUID(bytes_le=id_), first, last, attributes, _label(label, number)
            )


def _label(raw: bytes, number: int) -> str:
    try:
        return raw.decode("utf-16-le").partition("\0")[0]
    except UnicodeDecodeError:
        raise TableError(f"the label of partition {number} is not UTF-16") from None


def _label_bytes(partition: Partition) -> bytes:
    raw = partition.label.encode("utf-16-le")
    if len(raw) > 2 * LABEL_LENGTH or "\0" in partition.label:
        raise TableError(f"the label of partition {partition.number} is longer than {LABEL_LENGTH} characters")
    return raw.ljust(2 * LABEL_LENGTH, b"\0")
