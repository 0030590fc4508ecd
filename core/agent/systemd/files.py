"""Our unit files. Plain and synchronous: a file system in memory, but called from a thread all the same."""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from core.sched.names import UnitNameError, parse

_PART = ".part-"
_MARK = ".unsettled"


class Unit(NamedTuple):
    """A file of ours."""

    text: str
    """Its sha256 in hexadecimal."""
    written: int
    """Unix seconds."""


class Files:
    """The directory they are in, and the one where systemd keeps its links to them."""

    def __init__(self, directory: Path, links: Path) -> None:
        self.directory = directory
        self._links = links
        self._part = f"{_PART}{secrets.token_hex(4)}-"
        """How files begin that this process is writing, in whichever thread."""
        self._seen: dict[str, tuple[tuple[int, int, int], Unit]] = {}
        """By name: time, size and inode of a file, and what was read there."""

    def path(self, name: str) -> Path:
        """Where the unit of this name is. UnitNameError: such a name could lead anywhere."""
        parse(name)
        return self.directory / name

    def scan(self) -> dict[str, Unit]:
        """Everything of ours; what an earlier process did not finish writing is removed."""
        self.directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        found = {}
        for entry in os.scandir(self.directory):
            if entry.name.startswith(self._part):
                continue
            if entry.name.startswith(_PART):
                Path(entry.path).unlink(missing_ok=True)
            elif entry.is_file(follow_symlinks=False):
                with contextlib.suppress(FileNotFoundError, UnitNameError):
                    found[entry.name] = self._unit(entry.name)
        self._seen = {name: seen for name, seen in self._seen.items() if name in found}
        return found

    def _unit(self, name: str) -> Unit:
        path = self.path(name)
        status = path.stat()
        key = status.st_mtime_ns, status.st_size, status.st_ino
        before = self._seen.get(name)
        if before is not None and before[0] == key:
            return before[1]
        unit = Unit(hashlib.sha256(path.read_bytes()).hexdigest(), int(status.st_mtime))
        self._seen[name] = key, unit
        return unit

    def read(self, name: str) -> bytes | None:
        try:
            return self.path(name).read_bytes()
        except FileNotFoundError:
            return None

    def linked(self, name: str) -> bool:
        """Whether systemd has a link to it."""
        try:
            return (self._links / name).readlink() == self.path(name)
        except OSError:
            return False

    def write(self, name: str, text: bytes) -> Unit:
        """Whole or not at all, readable by everyone."""
        path = self.path(name)
        self.directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        part = self.directory / f"{self._part}{hashlib.sha256(name.encode()).hexdigest()}"
        part.write_bytes(text)
        part.chmod(0o644)
        part.rename(path)
        return self._unit(name)

    def remove(self, name: str) -> None:
        self.path(name).unlink(missing_ok=True)

    def owns(self, path: str) -> bool:
        """Whether a path leads to a file of ours, links resolved."""
        return os.path.realpath(path).startswith(os.path.realpath(self.directory) + os.sep)

    def mark(self) -> None:
        """Remember that systemd has not read everything that is here."""
        self.directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        (self.directory / _MARK).touch()

    def marked(self) -> bool:
        return (self.directory / _MARK).exists()

    def unmark(self) -> None:
        (self.directory / _MARK).unlink(missing_ok=True)


def installable(text: bytes) -> bool:
    """Whether it has an [Install] section."""
    return any(line.strip() == b"[Install]" for line in _lines(text))


def _lines(text: bytes) -> Iterator[bytes]:
    """Lines that begin something: not those that a backslash at the end of the one before makes part of it."""
    continued = False
    for line in text.split(b"\n"):
        comment = line.lstrip().startswith((b"#", b";"))
        if not continued and not comment:
            yield line
        if not comment:
            continued = line.endswith(b"\\")
