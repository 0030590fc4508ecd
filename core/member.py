"""One member of the cluster on this host: its data directory, and the node that runs on it."""

import logging
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

import trio

from core.config import Config
from core.kv.keyspace import Keyspace
from core.node.clock import ClusterClock
from core.node.headroom import Headroom
from core.node.keeper import Keeper
from core.node.node import Node
from core.raft.machine import Raft
from core.raft.members import Members
from core.store_lmdb import snapshot
from core.store_lmdb.creation import Identity
from core.store_lmdb.directory import DataDirectory
from core.version import VERSION
from core.watch.hub import Hub

_logger = logging.getLogger(__name__)


class Member:
    """An opened member. `start`, then `run` until `stop`, then `close`."""

    def __init__(self, config: Config, directory: DataDirectory) -> None:
        self.directory = directory
        self.identity = directory.identity
        self.keyspace = Keyspace(directory.state)
        applied, _ = self.keyspace.applied
        directory.check_applied(applied)
        log = directory.log
        members = Members((self.identity.member,))
        raft = Raft(self.identity.member, members, log.hard_state, applied, log, secrets.SystemRandom())
        clock = ClusterClock(self.keyspace.time, time.monotonic_ns, time.time)
        headroom = Headroom(directory.room, directory.state, config.quota_backend_bytes)
        self.hub = Hub(self.keyspace)
        self.node = Node(raft, directory.log, directory.state, self.keyspace, self.hub, clock, headroom)
        self._keeper = Keeper(self.node, retention=config.auto_compaction_retention, revisions=config.history_revisions)
        if applied < log.last.index:
            _logger.info("replaying the log", extra={"entries": log.last.index - applied, "first": applied + 1})

    @classmethod
    def open(cls, config: Config) -> Self:
        """Open the data directory, or make a new one. StoreError says what is wrong with it."""
        # A cluster of one chooses its own ids: two that never met must not take each other for the same.
        fresh = Identity(cluster=secrets.randbits(63) | 1, member=secrets.randbits(63) | 1)
        directory = DataDirectory.open(config.data_dir, fresh, created_by=f"corenode {VERSION}")
        try:
            return cls(config, directory)
        except BaseException:
            directory.close()
            raise

    @property
    def path(self) -> Path:
        """The data directory."""
        return self.directory.path

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take the lead, then work until stopped; the state is flushed when this returns."""
        await self.node.start()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keeper.run)
            nursery.start_soon(self.hub.run)
            task_status.started()
            await self.node.run()
            nursery.cancel_scope.cancel()

    def stop(self) -> None:
        """Carry out what is queued and nothing more; `run` returns then."""
        self.node.stop()

    def close(self) -> None:
        """Let go of the data directory."""
        self.directory.close()

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncIterator[bytes]]:
        """A snapshot file of the state at this moment, in pieces that each take a few milliseconds to make."""
        self.node.flush()
        index, term = self.keyspace.applied
        header = snapshot.Header(
            cluster=f"{self.identity.cluster:016x}", revision=self.keyspace.revision, index=index, term=term
        )
        pieces = snapshot.pieces(self.directory.state, header)
        try:
            yield _yielding(pieces)
        finally:
            pieces.close()


async def _yielding(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
        await trio.lowlevel.checkpoint()
