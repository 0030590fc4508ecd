"""Whole states on their way between members: made from this one's, or received and put in its place."""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Generator

import trio

from core.raft.members import encode
from core.raft.messages import HardState, Snapshot
from core.store_lmdb import snapshot
from core.store_lmdb.directory import DataDirectory
from core.store_lmdb.errors import SnapshotError
from core.store_lmdb.reception import Reception
from core.store_lmdb.state import StateStore

_logger = logging.getLogger(__name__)


class Snapshots:
    """The states of one data directory. One snapshot comes in at a time; others wait for it to end."""

    def __init__(self, directory: DataDirectory) -> None:
        self._directory = directory
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
            async for piece in pieces:
                reception.write(piece)
            header = await trio.to_thread.run_sync(reception.check)
            if (header.index, header.term) != (place.index, place.term):
                raise SnapshotError(f"the snapshot is of entry {header.index}, {place.index} was announced")
            if int(header.cluster, 16) != self._directory.identity.cluster:
                raise SnapshotError("the snapshot is of another cluster")
            for _ in reception.fill():
                await trio.lowlevel.checkpoint()
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


async def _yielding(first: bytes, pieces: Generator[bytes]) -> AsyncGenerator[bytes]:
    try:
        yield first
        for piece in pieces:
            await trio.lowlevel.checkpoint()
            yield piece
    finally:
        pieces.close()
