"""Whole states on their way between members: made from this one's, or received and put in its place."""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
from pathlib import Path
from subprocess import PIPE

import trio

from core.raft.members import encode
from core.raft.messages import HardState, Snapshot
from core.store_lmdb import snapshot
from core.store_lmdb.directory import DataDirectory
from core.store_lmdb.errors import SnapshotError
from core.store_lmdb.reception import Reception, command, outcome
from core.store_lmdb.state import StateStore

_logger = logging.getLogger(__name__)


Fill = Callable[[Path, AsyncIterator[bytes]], Awaitable[bytes]]


class Snapshots:
    """The states of one data directory. One snapshot comes in at a time; others wait for it to end."""

    def __init__(self, directory: DataDirectory, fill: Fill | None = None) -> None:
        """`fill` brings the pieces of a snapshot into a new state, and returns what `outcome` reads."""
        self._directory = directory
        self._fill = fill or fill_apart
        self._receiving = trio.Semaphore(1)  # not a lock: who lets go is often not who took

    def outgoing(self, place: Snapshot, revision: int) -> AsyncGenerator[bytes]:
        """The state of this moment, which contains the log up to `place`, in pieces of a few milliseconds each; to be
        closed. SnapshotError if it is being read too often already."""
        header = snapshot.Header(
            cluster=f"{self._directory.identity.cluster:016x}",
            revision=revision,
            index=place.index,
            term=place.term,
            members=encode(place.members).hex(),
        )
        pieces = snapshot.pieces(self._directory.state, header)
        return _yielding(next(pieces), pieces)  # with the first piece the moment is fixed

    async def receive(self, place: Snapshot, pieces: AsyncIterator[bytes]) -> Reception:
        """Take in a snapshot of `place` and fill a state with it; to be installed, and closed, by the caller.
        SnapshotError if it is another's or not whole, DiskFullError."""
        await self._receiving.acquire()
        reception = None
        try:
            reception = Reception(self._directory)
            header = outcome(await self._fill(reception.path, pieces))
            if (header.index, header.term) != (place.index, place.term):
                raise SnapshotError(f"the snapshot is of entry {header.index}, {place.index} was announced")
            if int(header.cluster, 16) != self._directory.identity.cluster:
                raise SnapshotError("the snapshot is of another cluster")
            reception.open()
        except BaseException:
            if reception is not None:
                self.close(reception)
            else:
                self._receiving.release()
            raise
        return reception

    def install(self, reception: Reception, place: Snapshot, hard_state: HardState) -> StateStore:
        """Put the received state in the place of the old one, with the log beginning anew behind it, and return it."""
        directory = self._directory
        directory.install(reception.take(), place.index, place.term, encode(place.members), hard_state)
        _logger.info("a snapshot took the place of the state", extra={"index": place.index, "term": place.term})
        return directory.state

    def close(self, reception: Reception) -> None:
        """Let go of a reception, and begin the next."""
        reception.close()
        self._receiving.release()


async def fill_apart(path: Path, pieces: AsyncIterator[bytes]) -> bytes:
    """Have a state filled by a process of its own; cancelled, the process is ended."""
    process = await trio.lowlevel.open_process(command(path), stdin=PIPE, stdout=PIPE)
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("a process without the pipes that were asked for")
    async with process.stdin, process.stdout:
        try:
            try:
                async for piece in pieces:
                    await process.stdin.send_all(piece)
            except trio.BrokenResourceError:
                pass  # it has said why it wants no more
            await process.stdin.aclose()
            said = b"".join([part async for part in process.stdout])
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
    return said


async def _yielding(first: bytes, pieces: Generator[bytes]) -> AsyncGenerator[bytes]:
    try:
        yield first
        for piece in pieces:
            await trio.lowlevel.checkpoint()
            yield piece
    finally:
        pieces.close()
