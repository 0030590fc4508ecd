"""The checksum that every stored row carries.

CRC-32 of the row's name and its bytes, put behind them little end first. Then one pass over name, bytes and checksum
gives a constant, which is how a row is checked without taking it apart.
"""

import zlib

SIZE = 4
WHOLE = 0x2144DF1C
"""CRC-32 of any bytes followed by their own CRC-32."""

crc32 = zlib.crc32


def seal(name: bytes, body: bytes) -> bytes:
    """The row: body and checksum."""
    return body + crc32(body, crc32(name)).to_bytes(SIZE, "little")


def is_whole(name: bytes, row: bytes) -> bool:
    """Whether a row is what was once stored under its name."""
    return crc32(row, crc32(name)) == WHOLE
