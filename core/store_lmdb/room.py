"""Room on the disk: how much there is, when it is little, and a reserve for getting out again."""

import os
from pathlib import Path

from core.store_lmdb.errors import DiskFullError, translated

RESERVE_SIZE = 32 << 20
LOW_WATER = 64 << 20


class Room:
    """Space on the file system of a data directory, in bytes.

    Deleting takes room too: a commit writes pages before it frees any. So a file of `reserve` bytes is kept that can
    be given up when even deletes fail, and is made again when there is room.
    """

    def __init__(self, file: Path, *, reserve: int = RESERVE_SIZE, low_water: int = LOW_WATER) -> None:
        """`file` is the reserve's. It is not made yet."""
        self._file = file
        self._size = reserve
        self._low_water = low_water

    def free(self) -> int:
        """What an unprivileged process may still write, the reserve not counted."""
        with translated(self._file, "look at the file system"):
            status = os.statvfs(self._file.parent)
        return status.f_bavail * status.f_frsize

    def is_low(self) -> bool:
        """Whether new data should be refused: less is free than the low-water mark, or the reserve is given up."""
        return self.free() < self._low_water or not self.has_reserve()

    def has_reserve(self) -> bool:
        """Whether the reserve is on the disk."""
        try:
            return self._file.stat().st_size >= self._size
        except FileNotFoundError:
            return False

    def restore_reserve(self) -> bool:
        """Make the reserve if it is not there and would leave the low-water mark free; whether it is there now."""
        if self.has_reserve():
            return True
        if self.free() < self._size + self._low_water:
            return False
        try:
            with translated(self._file, "make the reserve"):
                descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
                try:
                    os.posix_fallocate(descriptor, 0, self._size)
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
        except DiskFullError:
            self.release_reserve()
            return False
        return True

    def release_reserve(self) -> bool:
        """Give the reserve's room to the next commits; False if it was given already."""
        with translated(self._file, "give up the reserve"):
            try:
                self._file.unlink()
            except FileNotFoundError:
                return False
        return True
