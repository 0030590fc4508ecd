"""One member of the cluster on this host: its data directory, the node that runs on it, its links to the others."""

import logging
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Self

import trio

from core.config import Config
from core.founding import NO_PORT
from core.kv.commands import ChangeMember, Command, Publish
from core.kv.keyspace import Keyspace
from core.kv.membership import Member as KnownMember
from core.node.clock import ClusterClock
from core.node.errors import ProposalError
from core.node.gating import outdated
from core.node.headroom import Headroom
from core.node.keeper import Keeper
from core.node.node import Node
from core.node.snapshots import Snapshots
from core.peer import PeerListener
from core.peering import Peering
from core.raft import members
from core.raft.machine import Raft, Settings
from core.raft.members import Members, Standing
from core.raft.messages import Snapshot
from core.store_lmdb.creation import Beginning
from core.store_lmdb.directory import DataDirectory
from core.store_lmdb.errors import SnapshotError, StoreError
from core.version import VERSION
from core.watch.hub import Hub

PUBLISH_SECONDS = 1.0
"""Between two attempts to tell the others what this member is called."""

_logger = logging.getLogger(__name__)


class OutdatedError(StoreError):
    """This program is older than the cluster, and must not run as its member."""


class Member:
    """An opened member. `start`, then `run` until `stop`, then `close`."""

    def __init__(self, config: Config, directory: DataDirectory) -> None:
        self.directory = directory
        self.identity = directory.identity
        self.keyspace = Keyspace(directory.state)
        self._check_version()
        self._name = config.name
        applied, _ = self.keyspace.applied
        directory.check_applied(applied)
        log = directory.log
        settings = Settings(election_ticks=config.election_timeout // config.heartbeat_interval)
        raft = Raft(
            self.identity.member, self._members(), log.hard_state, applied, log, secrets.SystemRandom(), settings
        )
        self.hub = Hub(self.keyspace)
        self.peering = Peering(config, self.identity, self.keyspace)
        self.snapshots = Snapshots(directory)
        self.node = Node(
            raft,
            log,
            directory.state,
            self.keyspace,
            self.hub,
            ClusterClock(self.keyspace.time, time.monotonic_ns, time.time),
            Headroom(directory.room, directory.state, config.quota_backend_bytes),
            peers=self.peering,
            snapshots=self.snapshots,
            first_token=secrets.randbits(56),
            tick_seconds=config.heartbeat_interval / 1000,
        )
        self._keeper = Keeper(self.node, retention=config.auto_compaction_retention, revisions=config.history_revisions)
        if 0 < applied < log.last.index:
            _logger.info("replaying the log", extra={"entries": log.last.index - applied, "first": applied + 1})

    def _check_version(self) -> None:
        """OutdatedError if the cluster has come to a later version than this program."""
        why = outdated(self.keyspace, VERSION)
        if why:
            raise OutdatedError(why)

    def _members(self) -> Members:
        """The members as of the applied entry. A state that is older than they are is that of a member alone."""
        counted = self.keyspace.counted_members
        if counted is None:
            return Members((self.identity.member,))
        return members.decode(counted) if counted else Members()

    @classmethod
    def open(cls, config: Config, beginning: Beginning | None) -> Self:
        """Open the data directory, or make a new one that begins so. StoreError says what is wrong with it."""
        directory = DataDirectory.open(config.data_dir, beginning, created_by=f"corenode {VERSION}")
        try:
            return cls(config, directory)
        except BaseException:
            directory.close()
            raise

    @property
    def path(self) -> Path:
        """The data directory."""
        return self.directory.path

    async def run(
        self,
        listeners: Sequence[PeerListener],
        client_urls: Sequence[str],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Work until stopped; the state is flushed when this returns. RemovedError if it is a member no more."""
        self.peering.attach(self.node)
        await self.node.start()
        async with trio.open_nursery() as nursery:
            await nursery.start(self.peering.run, listeners)
            nursery.start_soon(self._keeper.run)
            nursery.start_soon(self._publish, tuple(client_urls))
            nursery.start_soon(self.hub.run)
            nursery.start_soon(self._grow_up)
            task_status.started()
            await self.node.run()
            nursery.cancel_scope.cancel()

    def stop(self) -> None:
        """Carry out what is queued and nothing more; `run` returns then."""
        self.node.stop()

    def close(self) -> None:
        """Let go of the data directory."""
        self.directory.close()

    async def _publish(self, client_urls: tuple[str, ...]) -> None:
        """See to it that the members know this one's name and URLs."""
        own = self.identity.member
        while True:
            self._check_version()
            known = next((member for member in self.keyspace.members() if member.id == own), None)
            command: Command | None = None
            if self.keyspace.counted_members is None:  # a state that is older than members in it
                command = ChangeMember(own, None, self._name, (NO_PORT,))
            elif known is not None and known != KnownMember(own, self._name, known.peer_urls, client_urls, VERSION):
                command = Publish(own, self._name, client_urls, VERSION)
            if command is not None:
                try:
                    self.node.propose(command, lambda _: None)
                except ProposalError as error:
                    _logger.debug("not published yet", extra={"why": str(error)})
            await trio.sleep(PUBLISH_SECONDS)

    async def _grow_up(self) -> None:
        """As a learner that came by a token, ask for a vote until the leader finds that this member has caught up.
        Whoever was added as a learner by hand stays one until somebody promotes it."""
        own = self.identity.member
        while own not in self.node.raft.members.voters:
            if own in self.node.raft.members.learners and self.keyspace.came_by_token(own):
                try:
                    self.node.propose(ChangeMember(own, Standing.VOTER), lambda _: None)
                except ProposalError as error:
                    _logger.debug("no vote yet", extra={"why": str(error)})
            await trio.sleep(PUBLISH_SECONDS)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncIterator[bytes]]:
        """A snapshot file of the state at this moment, in pieces that each take a few milliseconds to make."""
        if self.node.fence.why:
            raise SnapshotError(self.node.fence.why)
        index, term = self.keyspace.applied
        place = Snapshot(index, term, self._members())
        async with aclosing(self.snapshots.outgoing(place, self.keyspace.revision)) as pieces:
            yield pieces
