"""A snapshot on its way in: filled into a state beside the one in use, by a process of its own.

Filling takes the processor for seconds, and its commits are large because nobody waits for a single one. Both would
hold the loop of a member that serves others meanwhile; a process of its own takes another processor where there is one.

The process (`command`) reads the snapshot from its input, and says on its output what came of it (`outcome`). It ends
with its input, so it does not outlive the member by much. Nothing of the state counts before `DataDirectory.install`;
what a crash leaves of it the next start removes.
"""

import itertools
import os
import signal
import sys
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

import msgspec

from core.store_lmdb.creation import remove_environment
from core.store_lmdb.directory import DataDirectory
from core.store_lmdb.errors import DiskFullError, SnapshotError, StoreError
from core.store_lmdb.snapshot import PIECE, Header, Summary, fill
from core.store_lmdb.state import Start, StateStore

_PROGRAM = """
import json, sys, threading
sys.path[:] = json.loads(sys.argv[1])
from core.store_lmdb.reception import main

def beside(work):
    thread = threading.Thread(target=work)
    thread.start()
    return thread

main(sys.argv[2], beside)
"""


class _Outcome(msgspec.Struct, frozen=True):
    """What the process says."""

    header: Header | None = None
    """Of the snapshot that is in the state now, whole and durable."""
    full: bool = False
    """Whether there was no room."""
    why: str = ""


def command(path: Path) -> list[str]:
    """The process that fills a new state at `path`; it finds modules where this one does."""
    return [sys.executable, "-I", "-S", "-c", _PROGRAM, msgspec.json.encode(sys.path).decode(), str(path)]


def outcome(said: bytes) -> Header:
    """What the snapshot was of that is in the state now; SnapshotError or DiskFullError if it is not."""
    try:
        found = msgspec.json.decode(said, type=_Outcome)
    except msgspec.MsgspecError:
        raise SnapshotError("the process that fills the state ended before its time") from None
    if found.header is None:
        raise (DiskFullError if found.full else SnapshotError)(found.why)
    return found.header


def receive(path: Path, stream: BinaryIO, start: Start | None = None) -> bytes:
    """Fill a new state at `path` with the snapshot that `stream` brings, and make it durable; what came of it. `start`:
    as `fill` takes it."""
    try:
        first = stream.read(PIECE)
        if not first:  # the member is gone: another may be at this path by now
            raise SnapshotError("the snapshot never came")
        content = itertools.chain([first], iter(lambda: stream.read(PIECE), b""))
        summary: Header | Summary | None = None
        with closing(StateStore(path, create=True)) as state:
            for summary in fill(state, "the snapshot", content, start=start):  # noqa: B007
                pass
        if not isinstance(summary, Summary):
            raise SnapshotError("the snapshot has no end")
    except StoreError as error:
        return msgspec.json.encode(_Outcome(full=isinstance(error, DiskFullError), why=str(error)))
    return msgspec.json.encode(_Outcome(summary.header))


def main(path: str, start: Start) -> None:
    """The process. An interrupt from the terminal is for the member, whose end this one notices."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    said = receive(Path(path), sys.stdin.buffer, start)
    with open(sys.stdout.fileno(), "wb", closefd=False) as out:
        out.write(said)
    os._exit(0)  # nothing is left to be tidied up


class Reception:
    """The state of one snapshot, from nothing to `take`; `close` in any case. One at a time."""

    def __init__(self, directory: DataDirectory) -> None:
        self.path = directory.new_state()
        """Where it is to be filled."""
        self._state: StateStore | None = None
        self._taken = False

    def open(self) -> None:
        """It is filled and durable; open it. StoreError."""
        self._state = StateStore(self.path)

    def take(self) -> StateStore:
        """The filled state, for whoever installs it. ValueError if there is none."""
        state, self._state = self._state, None
        if state is None:
            raise ValueError("no state was filled")
        self._taken = True
        return state

    def close(self) -> None:
        """Remove the state if nobody took it."""
        if self._state is not None:
            self._state.close()
            self._state = None
        if not self._taken:
            remove_environment(self.path)
