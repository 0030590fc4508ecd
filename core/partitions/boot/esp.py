"""The files of an EFI system partition: what boot control asks of them, and one that is mounted.

`core.partitions.fat` has the other one, which is not.
"""

import errno
import fcntl
import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from core.partitions.device import DeviceError

_FIBMAP = 1
_PIECE = 1 << 20


class Esp(Protocol):
    """Paths have `/` between names. DeviceError if it fails; what a method changed is durable when it returns."""

    @property
    def free(self) -> int:
        """Bytes that no file has."""
        ...

    def needed(self, size: int) -> int:
        """Bytes that a file of so many takes."""
        ...

    def names(self, directory: str) -> list[str]:
        """What is in a directory; nothing if there is none."""
        ...

    def has(self, path: str) -> bool:
        """Whether there is such a file."""
        ...

    def size(self, path: str) -> int:
        """Bytes of a file that is there."""
        ...

    def pieces(self, path: str) -> Iterator[bytes]:
        """What is in a file that is there, as it is on the disk."""
        ...

    def read(self, path: str) -> bytes: ...
    def create(self, path: str, size: int, pieces: Iterable[bytes]) -> None:
        """A file that is not there yet."""
        ...

    def make_directory(self, path: str) -> None:
        """Nothing if it is there."""
        ...

    def patch(self, path: str, offset: int, byte: bytes) -> None:
        """One byte of a file becomes another, in one step."""
        ...

    def remove(self, path: str) -> None:
        """A file that is there."""
        ...

    def mend(self, directory: str) -> list[str]:
        """Put right what a power cut left; names of a directory that went. DeviceError if that cannot be done."""
        ...


class MountedEsp:
    """One that the kernel has mounted, and so nobody else may write to.

    What the kernel leaves of a new file after a power cut may be anything, so new files must not count until they were
    read back; and what an interrupted rename of a boot loader left cannot be mended from here, only be found.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def free(self) -> int:
        with _failing(self._root):
            found = os.statvfs(self._root)
        return found.f_bavail * found.f_frsize

    def needed(self, size: int) -> int:
        with _failing(self._root):
            cluster = os.statvfs(self._root).f_frsize
        return -(-size // cluster) * cluster

    def names(self, directory: str) -> list[str]:
        try:
            return sorted(os.listdir(self._root / directory))
        except FileNotFoundError:
            return []

    def has(self, path: str) -> bool:
        return (self._root / path).is_file()

    def size(self, path: str) -> int:
        return (self._root / path).stat().st_size

    def pieces(self, path: str) -> Iterator[bytes]:
        with _failing(self._root / path), (self._root / path).open("rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            while piece := file.read(_PIECE):
                yield piece

    def read(self, path: str) -> bytes:
        return b"".join(self.pieces(path))

    def create(self, path: str, size: int, pieces: Iterable[bytes]) -> None:
        with _failing(self._root / path):
            with (self._root / path).open("xb") as file:
                for piece in pieces:
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            self._sync_directory(path)
        if self.size(path) != size:
            raise DeviceError(f"{self._root / path} has {self.size(path)} bytes, and {size} were announced")

    def make_directory(self, path: str) -> None:
        with _failing(self._root / path):
            (self._root / path).mkdir(exist_ok=True)
            self._sync_directory(path)

    def patch(self, path: str, offset: int, byte: bytes) -> None:
        with _failing(self._root / path), (self._root / path).open("r+b", buffering=0) as file:
            os.pwrite(file.fileno(), byte, offset)
            os.fsync(file.fileno())

    def remove(self, path: str) -> None:
        with _failing(self._root / path):
            (self._root / path).unlink()
            self._sync_directory(path)

    def mend(self, directory: str) -> list[str]:
        """Nothing goes. DeviceError if two files have the same room: removing one would damage the other."""
        seen: dict[int, str] = {}
        for name in self.names(directory):
            with _failing(self._root / directory / name), (self._root / directory / name).open("rb") as file:
                found: int = struct.unpack("i", fcntl.ioctl(file, _FIBMAP, struct.pack("i", 0)))[0]
            if found and found in seen:
                raise DeviceError(
                    f"{self._root / directory} has one file under two names, {seen[found]} and {name}, since a restart "
                    f"was interrupted; unmount {self._root} and repeat this, which mends it"
                )
            seen[found] = name
        return []

    def _sync_directory(self, path: str) -> None:
        directory = os.open((self._root / path).parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


@contextmanager
def _failing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.EROFS:
            raise DeviceError(f"{path} is on a file system that is read-only; run fsck.vfat on it") from error
        raise DeviceError(f"{path}: {error.strerror}") from error
