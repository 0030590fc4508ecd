"""Records of a directory: how a file is told with its long name.

A file is one record of 32 bytes with a short name, and before it records with pieces of the long name, last piece
first, bound to the short one by a checksum. Source: Microsoft's FAT32 File System Specification 1.03.
"""

import struct
from collections.abc import Iterator
from zlib import crc32

import msgspec

RECORD = 32
FREE = 0xE5
"""First byte of a record that is not in use."""
END = 0x00
"""First byte of a record behind which there is none."""
DIRECTORY = 0x10
ARCHIVE = 0x20
_LABEL = 0x08
_LONG = 0x0F
_LAST_PIECE = 0x40
_LOWER_NAME, _LOWER_KIND = 0x08, 0x10
"""Of a name that is short but for its small letters."""
_UNITS = 13
"""UTF-16 units of a piece."""
_DATE = 0x21
"""1980-01-01, the first there is."""
_SHORT = struct.Struct("<11sBBBHHHHHHHI")
_PIECE = struct.Struct("<B10sBBB12sH4s")


class Entry(msgspec.Struct, frozen=True):
    """A file or directory."""

    name: str
    attributes: int
    cluster: int
    """The first; 0 of an empty file."""
    size: int
    """Bytes; 0 of a directory."""
    records: tuple[int, ...]
    """Indices of its records in the directory, the short one last."""
    short: bytes

    @property
    def is_directory(self) -> bool:
        return bool(self.attributes & DIRECTORY)


def entries(directory: bytes) -> Iterator[Entry]:
    """All that a directory holds. Pieces of names whose short record is not theirs are passed over."""
    pieces: list[_Piece] = []
    for index in range(len(directory) // RECORD):
        record = directory[index * RECORD : (index + 1) * RECORD]
        if record[0] == END:
            return
        if record[0] == FREE:
            pieces = []
        elif record[11] & 0x3F == _LONG:
            order, one, _, _, checksum, two, _, three = _PIECE.unpack(record)
            if order & _LAST_PIECE:
                pieces = []
            pieces.append(_Piece(index, order, checksum, one + two + three))
        elif record[11] & _LABEL:
            pieces = []
        else:
            short, attributes, case, _, _, _, _, high, _, _, low, size = _SHORT.unpack(record)
            ours = _belong(pieces, _checksum(short))
            name = _joined(pieces) if ours else _short_name(short, case)
            before = tuple(piece.index for piece in pieces) if ours else ()
            yield Entry(name, attributes, high << 16 | low, size, (*before, index), short)
            pieces = []


def records(name: str, taken: set[bytes], attributes: int, cluster: int, size: int) -> bytes:
    """The records of a new file. `taken`: the short names of its directory."""
    short = _free_short_name(name, taken)
    units = name.encode("utf-16-le") + b"\0\0"
    units = units.ljust(-(-len(units) // (2 * _UNITS)) * 2 * _UNITS, b"\xff")
    if len(name) % _UNITS == 0:
        units = name.encode("utf-16-le")
    count = len(units) // (2 * _UNITS)
    found = b""
    for number in range(count, 0, -1):
        piece = units[(number - 1) * 2 * _UNITS : number * 2 * _UNITS]
        order = number | (_LAST_PIECE if number == count else 0)
        found += _PIECE.pack(order, piece[:10], _LONG, 0, _checksum(short), piece[10:22], 0, piece[22:])
    return found + short_record(short, attributes, cluster, size)


def short_record(short: bytes, attributes: int, cluster: int, size: int) -> bytes:
    """One record, for `.` and `..`, and the last of every file."""
    return _SHORT.pack(short, attributes, 0, 0, 0, _DATE, _DATE, cluster >> 16, 0, _DATE, cluster & 0xFFFF, size)


class _Piece(msgspec.Struct, frozen=True):
    index: int
    order: int
    checksum: int
    text: bytes


def _belong(pieces: list[_Piece], checksum: int) -> bool:
    """Whether they are all pieces of the name of the record with this checksum."""
    orders = [piece.order for piece in pieces]
    expected = [len(pieces) | _LAST_PIECE, *range(len(pieces) - 1, 0, -1)]
    return bool(pieces) and orders == expected and all(piece.checksum == checksum for piece in pieces)


def _joined(pieces: list[_Piece]) -> str:
    whole = b"".join(piece.text for piece in reversed(pieces))
    return whole.decode("utf-16-le", errors="replace").partition("\0")[0]


def _short_name(short: bytes, case: int) -> str:
    name, kind = (part.decode("ascii", errors="replace").rstrip() for part in (short[:8], short[8:]))
    name = name.lower() if case & _LOWER_NAME else name
    kind = kind.lower() if case & _LOWER_KIND else kind
    return f"{name}.{kind}" if kind else name


def _free_short_name(name: str, taken: set[bytes]) -> bytes:
    """One that nobody would ask for: the long name is what counts."""
    number = crc32(name.lower().encode())
    while True:
        short = f"{number & 0xFFFF_FFFF:08X}".encode() + b"~  "
        if short not in taken:
            return short
        number += 1


def _checksum(short: bytes) -> int:
    total = 0
    for byte in short:
        total = ((total & 1) << 7) + (total >> 1) + byte & 0xFF
    return total
