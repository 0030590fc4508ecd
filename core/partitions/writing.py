"""What to write so that a table changes in one step, whatever moment the power goes.

A reader believes the first copy if it is whole, else the second. So the second copy is written and made durable while
the first still tells the old table; then the entries of the first, which from that moment on no longer fit their
header, so that the second counts; and its header last. For this the first copy must be whole at the start. If it is
not, it is made so first, from the second, which counts until it is.
"""

import msgspec

from core.partitions.reading import Found
from core.partitions.table import Table, check, entries_bytes, header_bytes


class Write(msgspec.Struct, frozen=True):
    """Bytes for a place on the disk."""

    offset: int
    data: bytes


Plan = tuple[tuple[Write, ...], ...]
"""Groups of writes; all of a group must be durable before the first of the next."""


def change(found: Found, table: Table) -> Plan:
    """Put `table` in the place of the one that was found. TableError if it does not hold."""
    check(table)
    mended = () if found.from_primary else _copy(found.table, primary=True)
    return (*mended, *_copy(table, primary=False), *_copy(table, primary=True))


def repair(found: Found) -> Plan:
    """Make both copies whole and equal; nothing if they are."""
    return change(found, found.table) if found.problems else ()


def create(table: Table) -> Plan:
    """A table where there was none, and the first sector that keeps old programs off the disk."""
    check(table)
    protective = Write(0, _protective(table))
    return (*_copy(table, primary=False), (protective,), *_copy(table, primary=True))


def _copy(table: Table, *, primary: bool) -> Plan:
    entries = entries_bytes(table)
    header = header_bytes(table, entries, primary=primary)
    size = table.sector_size
    place, entries_at = (1, 2) if primary else (table.backup, table.backup - table.entry_sectors)
    return (Write(entries_at * size, entries),), (Write(place * size, header),)


def _protective(table: Table) -> bytes:
    """UEFI 2.10, 5.2.3: one partition of type 0xEE over the whole disk, as far as 32 bits tell it."""
    size = min(table.sectors - 1, 0xFFFF_FFFF)
    entry = b"\x00\x00\x02\x00\xee\xff\xff\xff" + (1).to_bytes(4, "little") + size.to_bytes(4, "little")
    return bytes(446) + entry.ljust(64, b"\0") + b"\x55\xaa"
