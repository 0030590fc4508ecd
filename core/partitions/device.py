"""Disks and disk images: opened once, judged before the first byte, written within bounds.

A block device is written through the node of the partition, opened exclusively, so that the kernel itself refuses one
that is mounted or part of something else. A disk image is a regular file, held by a lock. A device is closed by its
`with` block; what was written is durable after `sync`, and only then.
"""

import errno
import fcntl
import os
import stat
import struct
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import msgspec

from core.partitions.table import Partition

_BLKROGET = 0x125E
_BLKSSZGET = 0x1268
_BLKGETSIZE64 = 0x8008_1272
_BLKFLSBUF = 0x1261
IMAGE_SECTOR = 512
"""Bytes of a sector of a disk image."""


class DeviceError(Exception):
    """A device that cannot be used, or that failed. The text says which, why, and what to do."""


class Area(Protocol):
    """Bytes that can be read and written: a disk, or the part of one that a partition takes."""

    @property
    def size(self) -> int: ...
    def read(self, offset: int, length: int) -> bytes:
        """What is there; fewer bytes come back at the end only."""
        ...

    def write(self, offset: int, data: bytes | memoryview) -> None: ...
    def sync(self) -> None:
        """Return when all that was written is durable."""
        ...

    def forget_cached(self) -> None:
        """What is read next comes from the disk and not from memory. Call after `sync`."""
        ...


class Device:
    """An open block device or disk image."""

    def __init__(self, path: Path, descriptor: int, size: int, sector_size: int) -> None:
        self.path = path
        self.size = size
        """Bytes."""
        self.sector_size = sector_size
        self._descriptor = descriptor

    @classmethod
    def open(cls, path: Path, *, writable: bool = False, exclusive: bool = False) -> Self:
        """DeviceError if it is neither a block device nor a file, may not be opened, or is in use.

        `exclusive`: nobody else has it, neither as a mounted file system nor as an image that is being written to.
        """
        flags = (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
        try:
            block = stat.S_ISBLK(os.stat(path).st_mode)
            descriptor = os.open(path, flags | (os.O_EXCL if exclusive and block else 0))
        except OSError as error:
            raise _cannot_open(path, error) from error
        try:
            size, sector_size = _measured(path, descriptor, writable)
            if exclusive and not block:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise DeviceError(f"{path} is being written to by another process; wait until it has ended") from error
        except OSError as error:
            os.close(descriptor)
            raise DeviceError(f"{path} cannot be used: {error.strerror}") from error
        except DeviceError:
            os.close(descriptor)
            raise
        return cls(path, descriptor, size, sector_size)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Once."""
        os.close(self._descriptor)

    @property
    def is_block_device(self) -> bool:
        """Whether a kernel knows its partitions."""
        return stat.S_ISBLK(os.fstat(self._descriptor).st_mode)

    def read(self, offset: int, length: int) -> bytes:
        found = b""
        try:
            while len(found) < length:
                piece = os.pread(self._descriptor, length - len(found), offset + len(found))
                if not piece:
                    break
                found = found + piece if found else piece
        except OSError as error:
            raise self._failed("read", offset, error) from error
        return found

    def write(self, offset: int, data: bytes | memoryview) -> None:
        if offset < 0 or offset + len(data) > self.size:
            raise DeviceError(f"{self.path}: {len(data)} bytes at {offset} do not fit into its {self.size} bytes")
        rest = memoryview(data)
        try:
            while rest:
                done = os.pwrite(self._descriptor, rest, offset)
                offset += done
                rest = rest[done:]
        except OSError as error:
            raise self._failed("written to", offset, error) from error

    def sync(self) -> None:
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise self._failed("made durable", 0, error) from error

    def forget_cached(self) -> None:
        """What is read next comes from the disk and not from memory. Call after `sync`."""
        if self.is_block_device:
            fcntl.ioctl(self._descriptor, _BLKFLSBUF, 0)
        os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def _failed(self, what: str, offset: int, error: OSError) -> DeviceError:
        return DeviceError(f"{self.path} could not be {what} at byte {offset}: {error.strerror}")


class Window(msgspec.Struct, frozen=True):
    """A part of a device; nothing outside of it is read or written."""

    device: Area
    offset: int
    size: int

    def read(self, offset: int, length: int) -> bytes:
        if offset < 0:
            raise DeviceError(f"nothing lies {-offset} bytes before a partition")
        return self.device.read(self.offset + offset, max(min(length, self.size - offset), 0))

    def write(self, offset: int, data: bytes | memoryview) -> None:
        if offset < 0 or offset + len(data) > self.size:
            raise DeviceError(f"{len(data)} bytes at {offset} do not fit into a partition of {self.size} bytes")
        self.device.write(self.offset + offset, data)

    def sync(self) -> None:
        self.device.sync()

    def forget_cached(self) -> None:
        self.device.forget_cached()


def window(device: Device, partition: Partition) -> Window:
    """The part of a disk image that a partition takes."""
    size = device.sector_size
    return Window(device, partition.first * size, partition.sectors * size)


def partition_node(disk: Path, number: int, sysfs: Path = Path("/sys/class/block")) -> Path:
    """The node of a disk's partition. DeviceError if the kernel knows none of that number."""
    name = disk.resolve().name
    for entry in sorted((sysfs / name).glob(f"{name}*/partition")):
        if entry.read_text().strip() == str(number):
            return Path("/dev") / entry.parent.name
    raise DeviceError(f"the kernel knows no partition {number} of {disk}; run partprobe {disk}, or restart the host")


def _measured(path: Path, descriptor: int, writable: bool) -> tuple[int, int]:
    """Bytes of it, and of a sector."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        size = os.fstat(descriptor).st_size
        if size % IMAGE_SECTOR:
            raise DeviceError(f"{path} has {size} bytes, no multiple of {IMAGE_SECTOR}: it is no disk image")
        return size, IMAGE_SECTOR
    if not stat.S_ISBLK(mode):
        raise DeviceError(f"{path} is neither a block device nor a disk image")
    if writable and _number(descriptor, _BLKROGET, "i"):
        raise DeviceError(f"{path} is read-only")
    return _number(descriptor, _BLKGETSIZE64, "Q"), _number(descriptor, _BLKSSZGET, "i")


def _number(descriptor: int, request: int, kind: str) -> int:
    found: int = struct.unpack(kind, fcntl.ioctl(descriptor, request, bytes(struct.calcsize(kind))))[0]
    return found


def _cannot_open(path: Path, error: OSError) -> DeviceError:
    if error.errno == errno.EBUSY:
        return DeviceError(f"{path} is in use: it is mounted, or belongs to something that is; it is left alone")
    if error.errno in (errno.EACCES, errno.EPERM):
        return DeviceError(f"{path} may not be opened: {error.strerror}; root may, or whoever owns it")
    return DeviceError(f"{path} cannot be opened: {error.strerror}")
