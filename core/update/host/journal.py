"""How far the update of this host has come: one small file outside of the slots, replaced before each step begins."""

import logging
from pathlib import Path
from typing import Literal, Protocol

import msgspec
import trio

from core.partitions.boot import SlotName
from core.tls import files

FILE = "update.json"
FORMAT = 1

Step = Literal[
    "idle", "installing", "waiting", "locking", "draining", "rebooting", "proving", "good", "returning", "settling"
]
"""`returning`: the slot did not prove itself, and the host goes back. `settling`: it is over, well or not, and the lock
is let go once this host is healthy."""

_logger = logging.getLogger(__name__)


class Image(msgspec.Struct, frozen=True):
    """A release, by the hash of its manifest."""

    product: str
    version: str
    architecture: str
    sha256: str
    size: int


class Journal(msgspec.Struct, frozen=True):
    """All that must be known again after a crash."""

    step: Step = "idle"
    wanted: Image | None = None
    """What is under way, or was last."""
    attempt: int = 0
    """The number of the order, by which a repeated one is told from one that failed."""
    by_hand: bool = False
    """An operator on this host asked for it, and not the cluster."""
    hurry: bool = False
    """It restarts whatever strategy and window say."""
    slot: SlotName | None = None
    """The one that is written to."""
    used: SlotName | None = None
    """The one that was in use when it began, and the way back."""
    boot: str = ""
    """The boot in which the step began."""
    began: float = 0.0
    """When, in seconds since that boot."""
    error: str = ""
    """Why the last update failed; empty if it did not."""
    failed: tuple[str, int] = ("", 0)
    """Hash and attempt of the order that failed: it is not tried again."""
    slots: dict[SlotName, Image] = {}
    """What was written to each slot."""
    format: int = FORMAT


class Memory(Protocol):
    """Where the journal is kept."""

    async def read(self) -> Journal: ...
    async def write(self, journal: Journal) -> None:
        """Durable when it returns. OSError."""
        ...


class JournalFile:
    """The journal in a directory, which is made."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE

    async def read(self) -> Journal:
        """An empty one if there is none, or none that can be read: the boot loader knows what a slot is worth."""
        return await trio.to_thread.run_sync(self._read)

    async def write(self, journal: Journal) -> None:
        await trio.to_thread.run_sync(self._write, msgspec.json.encode(journal))

    def _read(self) -> Journal:
        try:
            found = msgspec.json.decode(self._path.read_bytes(), type=Journal)
            if found.format == FORMAT:
                return found
            why = f"it has format {found.format}, and this version knows {FORMAT}"
        except FileNotFoundError:
            return Journal()
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            why = str(error)
        _logger.warning("%s cannot be read (%s); updates of this host begin anew", self._path, why)
        return Journal()

    def _write(self, data: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in self._path.parent.glob(f".{FILE}.*.part"):
            left.unlink(missing_ok=True)  # of a write that was interrupted
        if self._path.exists():
            files.replace(self._path, data)
        else:
            files.write_new(self._path, data, files.PRIVATE)
