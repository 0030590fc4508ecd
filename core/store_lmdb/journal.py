"""The newest saves of the log: a plain file in front of the log's environment.

A commit of LMDB costs two syncs, of pages all over its file; a record behind the last in a file whose room is there
already costs one. So what only adds to the log comes here first, and goes to the environment many saves at a time.

    record   CRC-32 of all that follows (4 bytes, little end first), length of the body (4), number (8), body

Records stand one behind the other from the beginning of the file, each from a multiple of ALIGN on, and are numbered
without a gap. The environment says which number comes first and with which seed the CRCs begin (`Mark`); when it has
taken over what the file holds it names others, so nothing old in the file counts any more, and it is written anew from
its beginning. Room is made by writing zeros, synced: then a record changes nothing but its own bytes on the disk.

A record whose write was cut off by a crash fails its CRC, and nothing follows it, since each is synced before the next
is begun. One that fails and has others behind it was damaged later: CorruptError.
"""

import errno
import os
import secrets
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

from core.store_lmdb.checksum import crc32
from core.store_lmdb.environment import sync_directory
from core.store_lmdb.errors import CorruptError, DiskFailedError, translated

NAME = "journal"
LARGEST = 4 << 20
"""Bytes that the file grows to: to take over so much keeps the loop for some 10 ms."""
_ROOM = 1 << 20
"""Bytes by which it grows."""
_ALIGN = 16
_BEHIND = 8
"""Records behind one that is no record which are looked for: whether it is the end, or damage."""
_CHECKSUM = struct.Struct("<I")
_HEAD = struct.Struct("<IQ")
"""Length of the body, number."""
_START = _CHECKSUM.size + _HEAD.size
_MARK = struct.Struct("<QI")


class Mark(NamedTuple):
    """What counts in the file."""

    first: int
    """Number of the record at its beginning."""
    seed: int
    """Where the CRCs begin: nobody can put bytes into a value that pass for a record later."""

    @classmethod
    def after(cls, number: int) -> Self:
        """Nothing of what is there: the next record is the first."""
        return cls(number, secrets.randbits(32))

    @classmethod
    def unpack(cls, row: bytes) -> Self:
        return cls(*_MARK.unpack(row))

    def pack(self) -> bytes:
        return _MARK.pack(*self)


class Journal:
    """The file, open. One thread at a time."""

    def __init__(self, file: Path, mark: Mark | None) -> None:
        """Open the file; without a mark nothing counts and it is made if it is absent. CorruptError if it should be
        there."""
        self.file = file
        self.first = self.number = 0 if mark is None else mark.first
        """Of the record at the beginning, and of the next one."""
        self._failed = ""
        self.closed = False
        self._seed = 0 if mark is None else mark.seed
        self._end = 0
        """Where it goes."""
        if mark is not None and not file.exists():
            raise CorruptError(file, "missing; it holds the newest entries of the log")
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with translated(file, "open"):
            self._descriptor = os.open(file, flags, 0o600)
            self.size = os.fstat(self._descriptor).st_size
        """Bytes of the file."""
        if mark is None:
            sync_directory(file.parent)

    def recall(self) -> Iterator[bytes]:
        """The bodies of the records that count, in order; afterwards the next is written behind them."""
        with translated(self.file, "read"):
            content = os.pread(self._descriptor, self.size, 0)
        while (body := self._body(content, self._end, self.number)) is not None:
            yield body
            self._end = _aligned(self._end + _START + len(body))
            self.number += 1
        for number in range(self.number + 1, self.number + 1 + _BEHIND):
            if self._is_in(content, number):
                raise CorruptError(self.file, f"record {self.number}, with newer ones behind it: wrong checksum")

    def _is_in(self, content: bytes, number: int) -> bool:
        """Whether that record stands anywhere behind the end."""
        written = number.to_bytes(8, "little")
        place = self._end
        while (place := content.find(written, place + 1)) >= 0:
            start = place - _START + len(written)
            if start % _ALIGN == 0 and self._body(content, start, number) is not None:
                return True
        return False

    def _body(self, content: bytes, place: int, number: int) -> bytes | None:
        """The body of a record, if one of that number stands there whole."""
        if place + _START > len(content):
            return None
        length, found = _HEAD.unpack_from(content, place + _CHECKSUM.size)
        end = place + _START + length
        if found != number or end > len(content):
            return None
        (checksum,) = _CHECKSUM.unpack_from(content, place)
        whole = crc32(content[place + _CHECKSUM.size : end], self._seed) == checksum
        return content[place + _START : end] if whole else None

    def fits(self, size: int) -> bool:
        """Whether a body of so many bytes may still be written."""
        return self._end + _START + size <= LARGEST

    def write(self, body: bytes) -> None:
        """Make the next record durable. DiskFullError leaves everything as before; after DiskFailedError there is no
        other."""
        self.check()
        checked = _HEAD.pack(len(body), self.number) + body
        record = _CHECKSUM.pack(crc32(checked, self._seed)) + checked
        end = self._end + len(record)
        if end > self.size:
            self._make_room(end)
        try:
            with translated(self.file, "write"):
                if os.pwrite(self._descriptor, record, self._end) < len(record):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except DiskFailedError as error:
            self._failed = str(error)
            raise
        self._sync()
        self._end = _aligned(end)
        self.number += 1

    def restart(self, mark: Mark) -> None:
        """The environment has all that was here, and this mark."""
        self.number, self._seed = mark
        self.first = self.number
        self._end = 0

    def check(self) -> None:
        """DiskFailedError if a write or sync has failed."""
        if self._failed:
            raise DiskFailedError(self._failed)

    def close(self) -> None:
        """Let go of the file; closing twice is no error."""
        if not self.closed:
            self.closed = True
            os.close(self._descriptor)

    def _make_room(self, end: int) -> None:
        size = min(-(-end // _ROOM) * _ROOM, LARGEST)
        with translated(self.file, "make room"):
            done = self.size
            try:
                while done < size:
                    done += os.pwrite(self._descriptor, bytes(min(_ROOM, size - done)), done)
            except OSError:
                os.ftruncate(self._descriptor, self.size)  # others may need that room
                raise
        self._sync()
        self.size = size

    def _sync(self) -> None:
        """A failed sync is the end, also for want of room: nobody knows what of the record is there."""
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            self._failed = f"{self.file}: sync: {error}; check the disk before starting this node again"
            raise DiskFailedError(self._failed) from error


def _aligned(place: int) -> int:
    return -(-place // _ALIGN) * _ALIGN
