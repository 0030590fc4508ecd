"""A snapshot on its way in: into a file, checked there, then into a state beside the one in use.

Nothing of it counts before `DataDirectory.install`; what a crash leaves of it the next start removes.
"""

import os
from collections.abc import Generator

from core.store_lmdb.directory import DataDirectory
from core.store_lmdb.errors import translated
from core.store_lmdb.snapshot import PIECE, Header, Summary, fill, verify
from core.store_lmdb.state import StateStore

_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
_FLUSH = 1 << 19
"""Bytes of a step: about ten milliseconds, for a member that serves others meanwhile."""


class Reception:
    """One snapshot: `write` its pieces, `check` it, `fill` a state; `close` in any case. One at a time."""

    def __init__(self, directory: DataDirectory) -> None:
        self._directory = directory
        self._file = directory.incoming
        self._state: StateStore | None = None
        with translated(self._file, "write"):
            self._stream = os.fdopen(os.open(self._file, _NEW, 0o600), "wb")

    def write(self, piece: bytes) -> None:
        """The next bytes. DiskFullError."""
        with translated(self._file, "write"):
            self._stream.write(piece)

    def check(self) -> Header:
        """That it has come whole, and what it is of. SnapshotError."""
        with translated(self._file, "write"):
            self._stream.flush()
        return verify(self._file).header

    def fill(self) -> Generator[Header | Summary]:
        """Bring it into a new state, step by step; when this has ended the state is durable. DiskFullError."""
        self._state = self._directory.begin_state()
        with translated(self._file, "read"), self._file.open("rb") as stream:
            yield from fill(self._state, "the snapshot", iter(lambda: stream.read(PIECE), b""), flush=_FLUSH)

    def take(self) -> StateStore:
        """The filled state, for whoever installs it. ValueError if there is none."""
        state, self._state = self._state, None
        if state is None:
            raise ValueError("no state was filled")
        return state

    def close(self) -> None:
        """Remove the file, and the state if nobody took it."""
        self._stream.close()
        self._file.unlink(missing_ok=True)
        if self._state is not None:
            self._state.close()
            self._state = None
