"""What can go wrong between the node and its disk. Every text says what, why, and what to do next."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb

from core.kv.errors import DamagedError


class StoreError(Exception):
    """Any trouble with the data directory or a file in it."""


class DirectoryError(StoreError):
    """The data directory is foreign, incomplete, in use, or not of this format; nothing in it was changed."""


class CorruptError(StoreError, DamagedError):
    """A file holds something that was never written to it. Nothing may rest on it."""

    def __init__(self, file: Path, what: str) -> None:
        super().__init__(
            f"{file}: {what}. The file is damaged. Stop this node and keep the directory for study; then bring the "
            "node back as a new member with an empty data directory, or restore a snapshot."
        )
        self.file = file


class SnapshotError(StoreError):
    """A file is no whole snapshot, or cannot be used as asked."""


class DiskFullError(StoreError):
    """No room for a commit. Nothing of it was written that counts; it may be tried again when there is room."""


class DiskFailedError(StoreError):
    """The disk refused a write or a sync for another reason than space. The process must end: after a failed sync
    nobody can say what is on the disk, and trying again would only appear to succeed."""


_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DAMAGE = (
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.InvalidError,
    lmdb.VersionMismatchError,
    lmdb.IncompatibleError,
    lmdb.NotFoundError,
)
_TIGHT = 1 << 20
"""LMDB reports a write that was cut short for want of space as EIO. With less room than this left (bytes) an EIO is
read so: the transaction was undone, and trying it again writes every page of it again. How much a quota leaves no call
says, so that is found out by writing."""


@contextmanager
def translated(file: Path, action: str) -> Iterator[None]:
    """Raise what LMDB and the system say inside as an error of this module, naming the file and what was tried."""
    try:
        yield
    except (lmdb.Error, OSError) as error:
        raise translate(error, file, action) from error


def translate(error: lmdb.Error | OSError, file: Path, action: str) -> StoreError:
    """The error of this module that says the same."""
    code = error.code if isinstance(error, lmdb.Error) else error.errno or 0
    if code in _FULL or isinstance(error, lmdb.MapFullError | lmdb.DiskError) or (code == errno.EIO and _tight(file)):
        return DiskFullError(f"{file}: {action}: no space left; free some space on this file system")
    if isinstance(error, _DAMAGE):
        return CorruptError(file, f"{action}: {error}")
    return DiskFailedError(f"{file}: {action}: {error}; check the disk and its cables before starting this node again")


def _tight(file: Path) -> bool:
    try:
        room = os.statvfs(file.parent)
    except OSError:
        return False
    return room.f_bavail * room.f_frsize < _TIGHT or not _takes(file.parent, _TIGHT)


def _takes(directory: Path, size: int) -> bool:
    """Whether there is room for so many bytes; any other trouble than want of space counts as room."""
    try:
        with tempfile.TemporaryFile(dir=directory, buffering=0) as probe:
            probe.write(bytes(size))
            os.fsync(probe.fileno())
    except OSError as error:
        return error.errno not in _FULL
    return True
