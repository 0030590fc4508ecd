"""PEM files that survive a crash: there whole, with their mode from the first byte, or not at all."""

import os
import secrets
from pathlib import Path

PRIVATE = 0o600
PUBLIC = 0o644


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
        if os.geteuid() == 0:
            os.chown(part, found.st_uid, found.st_gid)
        part.rename(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


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
