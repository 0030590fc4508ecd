"""The lock of a data directory: one process, once."""

import fcntl
import os
from pathlib import Path

from core.store_lmdb.errors import DirectoryError, translated


class DirectoryLock:
    """An flock on a file that names the holder's process; the kernel lets go of it when the process ends."""

    def __init__(self, file: Path) -> None:
        """Take the lock or raise DirectoryError at once."""
        with translated(file, "open"):
            self._descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise DirectoryError(_in_use(file.parent, holder)) from None
        with translated(file, "write"):
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, b"%d\n" % os.getpid(), 0)

    def release(self) -> None:
        """Let go. The file stays: removing it would let two processes lock two files of one name."""
        os.close(self._descriptor)


def _in_use(directory: Path, holder: str) -> str:
    if holder == str(os.getpid()):
        return f"{directory}: this process has the data directory open already"
    return (
        f"{directory}: in use by process {holder or '(unknown)'}. Only one node may run on a data directory: "
        "stop that one first, or name another with --data-dir."
    )
