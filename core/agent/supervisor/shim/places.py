"""Directories and files that root makes or writes where a unit's own user may have put links.

A link is followed only where nobody but root and ourselves can have put it. Everywhere else it could lead what is given
away, or written, to any place of the host.
"""

import errno
import os
import stat


def enter(path: str, *, make: bool = False) -> int:
    """A descriptor (O_PATH) of the directory at an absolute path, with `make` made with all above it. OSError."""
    place = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in path.split("/"):
            if not name:
                continue
            if make:
                _make(name, place)
            below = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC | _links(place), dir_fd=place)
            os.close(place)
            place = below
    except OSError as error:
        os.close(place)
        raise OSError(error.errno, error.strerror, path) from None
    return place


def give(path: str, mode: int, owner: tuple[int, int]) -> None:
    """Make a directory, with this mode and owner (-1: as it is). OSError."""
    place = enter(path, make=True)
    try:
        directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=place)
    finally:
        os.close(place)
    try:
        os.fchmod(directory, mode)
        if owner != (-1, -1):
            os.fchown(directory, *owner)
    finally:
        os.close(directory)


def open_file(path: str, flags: int, mode: int) -> int:
    """Open a file at an absolute path. OSError."""
    above, _, name = path.rpartition("/")
    try:
        place = enter(above)
        try:
            return os.open(name, flags | os.O_NOCTTY | _links(place), mode, dir_fd=place)
        finally:
            os.close(place)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None


def read_regular(path: str, most: int) -> bytes:
    """What is in a regular file, at most `most` bytes. OSError for anything else: a FIFO or a device could make us wait
    for ever, and opening some does something."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", path)
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", path)
        found = b""
        while len(found) <= most and (piece := os.read(file, most + 1 - len(found))):
            found += piece
    finally:
        os.close(file)
    if len(found) > most:
        raise OSError(errno.EFBIG, f"it has more than {most} bytes", path)
    return found


def _make(name: str, place: int) -> None:
    try:
        os.mkdir(name, 0o755, dir_fd=place)
    except FileExistsError:
        return


def _links(place: int) -> int:
    """What keeps open(2) from following a link in this directory; nothing if it can be trusted."""
    status = os.fstat(place)
    trusted = status.st_uid in (0, os.geteuid()) and not status.st_mode & 0o022
    return 0 if trusted else os.O_NOFOLLOW
