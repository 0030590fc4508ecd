"""Finding the table on a disk, judging both copies, and saying what is wrong with each."""

import struct
from collections.abc import Callable
from uuid import UUID
from zlib import crc32

import msgspec

from core.partitions.table import (
    ENTRIES_MAX,
    ENTRY_SIZE,
    ENTRY_SIZE_MAX,
    HEADER_SIZE,
    SIGNATURE,
    Table,
    TableError,
    check,
    parse_entries,
)

Read = Callable[[int, int], bytes]
"""The bytes of a disk: `read(offset, length)`. Fewer come back at the end of the disk."""

_FIELDS = struct.Struct("<8sIIIIQQQQ16sQIII")
_MBR_SIGNATURE = b"\x55\xaa"
_PROTECTIVE = 0xEE


class Found(msgspec.Struct, frozen=True):
    """A table that holds, and how its copies are."""

    table: Table
    from_primary: bool
    """Whether the first copy was believed; it is, if it is whole."""
    problems: tuple[str, ...] = ()
    """What `writing.repair` would mend, in words; empty: both copies are whole and agree."""


def read_table(read: Read, sectors: int, sector_size: int) -> Found:
    """The table of a disk of so many sectors. TableError, with both reasons, if neither copy is whole."""
    boot = read(0, 512)
    if len(boot) < 512 or boot[510:512] != _MBR_SIGNATURE:
        raise TableError("the first sector has no signature of a partition table; is this a disk with a GPT?")
    if _PROTECTIVE not in (boot[446 + 16 * entry + 4] for entry in range(4)):
        raise TableError("the first sector has an MBR table that does not protect a GPT; it is left alone")
    copies: list[Table | None] = []
    problems = []
    for name, place in (("first", 1), ("second", sectors - 1)):
        try:
            copy, other = _copy(read, place, sectors, sector_size)
            copies.append(copy)
            if other == place or place + other != sectors:
                problems.append(f"the {name} copy says the other lies at sector {other}: the disk has another size now")
        except TableError as error:
            copies.append(None)
            problems.append(f"the {name} copy of the table: {error}")
    primary, backup = copies
    table = primary or backup
    if table is None:
        raise TableError("; ".join(problems))
    if primary is not None and backup is not None and primary != backup:
        problems.append("the second copy of the table is another one than the first")
    return Found(table, primary is not None, tuple(problems))


def _copy(read: Read, place: int, sectors: int, sector_size: int) -> tuple[Table, int]:
    """The copy whose header is at `place`, and where that says the other one is."""
    header = read(place * sector_size, sector_size)
    if len(header) < sector_size:
        raise TableError("the disk ends before it")
    (signature, _, size, checksum, _, own, other, first, last, disk, entries_at, count, entry_size, entries_sum) = (
        _FIELDS.unpack_from(header)
    )
    if signature != SIGNATURE:
        raise TableError("it has no signature")
    if not HEADER_SIZE <= size <= sector_size:
        raise TableError(f"its header says it has {size} bytes")
    if crc32(header[:16] + bytes(4) + header[20:size]) != checksum:
        raise TableError("the checksum of its header does not fit")
    if own != place:
        raise TableError(f"it says that it lies at sector {own}, and lies at {place}")
    if not 0 < count <= ENTRIES_MAX or entry_size % ENTRY_SIZE or not 0 < entry_size <= ENTRY_SIZE_MAX:
        raise TableError(f"it has {count} entries of {entry_size} bytes, and at most {ENTRIES_MAX} are read")
    table = Table(UUID(bytes_le=disk), sector_size, sectors, first, last, (), count, entry_size)
    expected = 2 if place == 1 else table.backup - table.entry_sectors
    if entries_at != expected:
        raise TableError(f"its entries lie at sector {entries_at}, and only those at {expected} are read")
    area = read(entries_at * sector_size, count * entry_size)
    if len(area) < count * entry_size or crc32(area) != entries_sum:
        raise TableError("the checksum of its entries does not fit")
    table = msgspec.structs.replace(table, partitions=tuple(parse_entries(area, count, entry_size)))
    check(table)
    return table, other
