"""What an agent must know again after a restart: one small file in the data directory."""

import logging
import os
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec
import trio

from core.sched.records import Generation

log = logging.getLogger(__name__)


class Mark(msgspec.Struct, frozen=True):
    """A unit was started: this text, after so many of the operator's restarts. It is not started again for that."""

    text: str
    restart: int = 0


class Journal(msgspec.Struct):
    """All of it."""

    sessions: tuple[str, ...] = ()
    """Nonces this agent has registered under lately, or may have: a presence with one of them is ours."""
    boot: str = ""
    """The boot in which units were started; in another one they have to be started again."""
    story: Generation | None = None
    """The last story that was believed."""
    revision: int = 0
    """The store was at least here when it told that story; if it is not any more, an older snapshot was restored."""
    started: dict[str, Mark] = {}
    rewound: bool = False
    """The store went back, and no engine has begun another generation since."""


class Memory(Protocol):
    """Where a journal is kept."""

    async def read(self) -> Journal: ...
    async def write(self, journal: Journal) -> None:
        """Durable when it returns. OSError."""
        ...


class JournalFile:
    """A journal as a JSON file, replaced as a whole; whoever made the directory decides who may read it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def read(self) -> Journal:
        """An empty one if there is none, or none that can be read: then running units are taken over all the same."""
        try:
            return msgspec.json.decode(await trio.to_thread.run_sync(self._path.read_bytes), type=Journal)
        except FileNotFoundError:
            return Journal()
        except msgspec.DecodeError as error:
            log.warning("%s cannot be read (%s); the agent begins a new one", self._path, error)
            return Journal()

    async def write(self, journal: Journal) -> None:
        await trio.to_thread.run_sync(partial(_replace, self._path, msgspec.json.encode(journal)))


def _replace(path: Path, data: bytes) -> None:
    new = path.with_name(path.name + ".new")
    with new.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
