"""PEM files that survive a crash: there whole, with their mode from the first byte, or not at all."""

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

PRIVATE = 0o600
PUBLIC = 0o644

Stamp = tuple[tuple[int, int, int, int] | None, ...]


def stamp(files: Iterable[Path]) -> Stamp:
    """What changes when a file appears, goes, is replaced, written or given another mode."""
    found: list[tuple[int, int, int, int] | None] = []
    for file in files:
        try:
            state = os.stat(file)
        except OSError:
            found.append(None)
        else:
            found.append((state.st_ino, state.st_mtime_ns, state.st_ctime_ns, state.st_size))
    return tuple(found)


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Nobody else is inside with the same directory. BlockingIOError if somebody is, OSError as the system says."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Make a durable file that must not exist: FileExistsError. OSError as the system says."""
    part = _write_part(path, data, mode)
    try:
        os.link(part, path)  # unlike a rename, this never replaces
    finally:
        part.unlink()
    sync_directory(path.parent)


def replace(path: Path, data: bytes) -> None:
    """Replace a file by a durable new one with the same mode and owner. OSError as the system says."""
    found = path.stat()
    part = _write_part(path, data, found.st_mode & 0o777)
    try:
        give(part, found)
        part.rename(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def give(path: Path, like: os.stat_result) -> None:
    """Make a file belong to the owner of another one, if we may: so that root can look after other users' files."""
    if os.geteuid() == 0:
        os.chown(path, like.st_uid, like.st_gid)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_part(path: Path, data: bytes, mode: int) -> Path:
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with open(handle, "wb") as out:
            os.fchmod(out.fileno(), mode)  # whatever the umask took away
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return part
