"""Frames: how values follow each other on a connection after the upgrade.

    magic       b"CN"
    version     1 byte: FORMAT
    kind        1 byte
    length      4 bytes: of the body; all numbers big end first
    checksum    4 bytes: CRC-32 of the eight bytes before and the body
    body        CBOR of one plain value (`plain.py`); for PIECE bytes as they are

Kinds below `OWN` belong to whoever uses the links, those from it on to the links. Pure: bytes in, frames out.
"""

import struct
import zlib
from collections.abc import Iterator

from core.peer.errors import FrameError

MAGIC = b"CN"
FORMAT = 1

OWN = 128
PING = 128
"""Dialling side to accepting side: a number."""
PONG = 129
"""The answer, with the same number."""
PULSE = 130
"""I live; nothing else."""
BYE = 131
"""Why this side closes the connection: text."""
BEGIN = 140
"""The first frame of a snapshot: what it is of."""
PIECE = 141
"""A piece of a snapshot: bytes as they are."""
END = 142
"""The last frame of a snapshot: [bytes of all pieces, CRC-32 of all pieces]."""
ARRIVED = 143
"""The snapshot is installed."""
REFUSED = 144
"""It is not: [reason, text]."""

HEADER = struct.Struct(">2sBBII")
_BEFORE = struct.Struct(">2sBBI")
"""The part of the header that is under the checksum."""
_CHECKSUM = struct.Struct(">I")


def frame(kind: int, body: bytes) -> bytes:
    """A whole frame."""
    before = _BEFORE.pack(MAGIC, FORMAT, kind, len(body))
    return b"".join((before, _CHECKSUM.pack(zlib.crc32(body, zlib.crc32(before))), body))


class FrameReader:
    """Finds the frames in a stream of bytes."""

    def __init__(self, body_max: int) -> None:
        """FrameError is raised at the header of a frame with a body longer than `body_max` bytes."""
        self._body_max = body_max
        self._partial = bytearray()
        self._needed = HEADER.size
        """Bytes that must be in `_partial` before looking at it helps."""

    @property
    def missing(self) -> int:
        """Bytes to the end of the frame that has begun, as far as known; at least 1."""
        return self._needed - len(self._partial)

    @property
    def between(self) -> bool:
        """Whether the stream may end here: no frame has begun."""
        return not self._partial

    def feed(self, data: bytes | bytearray) -> Iterator[tuple[int, bytes]]:
        """Each frame that these bytes complete, as kind and body; FrameError at the first that is none.

        To be used up before more is fed.
        """
        if self._partial:
            self._partial += data
            if len(self._partial) < self._needed:
                return
            data, self._partial = self._partial, bytearray()
        view = memoryview(data)
        start = 0
        while len(data) - start >= HEADER.size:
            magic, version, kind, length, checksum = HEADER.unpack_from(data, start)
            if magic != MAGIC or version != FORMAT:
                raise FrameError("it sent something that is no frame")
            if length > self._body_max:
                raise FrameError(f"it sent a frame of {length} bytes; at most {self._body_max} are taken")
            body_start = start + HEADER.size
            end = body_start + length
            if end > len(data):
                self._needed = end - start
                break
            body = bytes(view[body_start:end])
            if zlib.crc32(body, zlib.crc32(view[start : start + _BEFORE.size])) != checksum:
                raise FrameError("it sent a frame with a wrong checksum")
            start = end
            yield kind, body
        else:
            self._needed = HEADER.size
            if not MAGIC.startswith(view[start : start + len(MAGIC)]):
                raise FrameError("it sent something that is no frame")
        self._partial += view[start:]
