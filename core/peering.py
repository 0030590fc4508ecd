"""The node's links: `core.peer` wired to `core.node`, to the certificates of the configuration, and to the members."""

import logging
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from ssl import SSLContext
from typing import Any

import msgspec
import trio

from core.addresses import Url, parse
from core.api.v2.cluster import Member as Shown
from core.config import Config
from core.kv.keyspace import Keyspace
from core.kv.membership import Member
from core.node.node import Node
from core.peer import (
    Address,
    Answer,
    FrameError,
    Links,
    LinkState,
    PeerError,
    PeerIdentity,
    PeerListener,
    PeerRefusedError,
    PeerServer,
)
from core.store_lmdb.creation import Identity
from core.store_lmdb.errors import StoreError
from core.tls.contexts import peer_client_context, peer_server_context
from core.version import VERSION

REVIEW_SECONDS = 0.5
"""How long a link outlives the revocation of its certificate, at most."""
_REMOVED = "this member was removed from the cluster"

_logger = logging.getLogger(__name__)


class RemovedError(StoreError):
    """This member does not belong to the cluster any more, and its data directory is of no use to it."""


class Peering:
    """Fulfils `core.node.peers.Peers`. `attach` a node, then `run`."""

    def __init__(self, config: Config, identity: Identity, keyspace: Keyspace) -> None:
        self._config = config
        self._identity = identity
        self._keyspace = keyspace
        self._node: Node | None = None
        self._removed = trio.Event()
        self._links = Links(
            PeerIdentity(cluster=identity.cluster, member=identity.member, name=config.name, program=VERSION),
            self._receive,
            self._install,
            connect=client_contexts(config),
            is_revoked=keyspace.is_revoked,
            removed=self._removed.set,
            lost=self._lost,
        )

    def attach(self, node: Node) -> None:
        """Give what comes to this node, and follow its members."""
        self._node = node
        node.on_members(self.follow)
        self.follow()

    def follow(self) -> None:
        """Be linked with the members as they are known now, those not yet committed included."""
        node = self._attached
        others = {member.id: member for member in node.known_members() if member.id != self._identity.member}
        self._links.follow(
            {member.id: Address(member.name, urls_of(member)) for member in others.values()},
            removed=self._keyspace.removed_members(),
        )
        if self._keyspace.was_removed(self._identity.member):
            self._removed.set()

    def send(self, member: int, kind: int, content: Any) -> bool:
        """See `Peers`."""
        return self._links.send(member, kind, content)

    async def send_snapshot(self, member: int, content: Any, pieces: AsyncIterable[bytes]) -> None:
        """See `Peers`."""
        try:
            await self._links.send_snapshot(member, content, pieces)
        except PeerError as error:
            raise OSError(str(error)) from error

    def states(self) -> dict[int, LinkState]:
        """How things stand with each other member."""
        return dict(self._links.states())

    async def run(
        self, listeners: Sequence[PeerListener], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Link, and serve the peer port, until cancelled; RemovedError when this member is told that it was removed."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._links.run)
            nursery.start_soon(self._review)
            if listeners:
                server = PeerServer(self._links, listeners, context=server_contexts(self._config), answer=self._answer)
                await nursery.start(server.serve)
            task_status.started()
            await self._removed.wait()
            raise RemovedError(
                f"{_REMOVED}. To bring this host back, add it as a new member (corenode member add) and start it with "
                f"an empty data directory; {self._config.data_dir} may be kept for study"
            )

    async def _review(self) -> None:
        """Cut the links of certificates that are revoked, and hold members to the names they have told."""
        seen = self._keyspace.revocations
        known = self._keyspace.members()
        while True:
            await trio.sleep(REVIEW_SECONDS)
            now = self._keyspace.members()
            if now != known:
                known = now
                self.follow()
            if self._keyspace.revocations != seen:
                seen = self._keyspace.revocations
                self._links.recheck()

    @property
    def _attached(self) -> Node:
        if self._node is None:
            raise RuntimeError("no node is attached yet")
        return self._node

    def _receive(self, sender: int, kind: int, content: Any) -> None:
        try:
            self._attached.receive(sender, kind, content)
        except ValueError as error:
            raise FrameError(str(error)) from error

    def _lost(self, sender: int) -> None:
        if self._node is not None:
            self._node.miss(sender)

    async def _install(self, sender: int, content: Any, pieces: AsyncIterator[bytes]) -> None:
        try:
            await self._attached.receive_snapshot(sender, content, pieces)
        except (ValueError, StoreError) as error:
            raise PeerRefusedError("snapshot", str(error)) from error
        async for _ in pieces:  # not needed here, or read to its end already
            pass

    def _answer(self, path: str, _: str) -> Answer:
        """What a plain GET on the peer port gets: a joiner asks here who it is."""
        if path == "/members":
            members = [
                Shown(f"{member.id:x}", member.name, member.peer_urls, member.client_urls)
                for member in self._keyspace.members()
            ]
            headers = [("Content-Type", "application/json"), ("X-Etcd-Cluster-ID", f"{self._identity.cluster:x}")]
            return 200, headers, msgspec.json.encode(members) + b"\n"
        if path == "/version":
            return 200, [("Content-Type", "application/json")], msgspec.json.encode({"corenode": VERSION}) + b"\n"
        return 404, [("Content-Type", "text/plain")], b"404 page not found\n"


def urls_of(member: Member) -> tuple[Url, ...]:
    """The peer URLs that can be used; what another version wrote may not be."""
    found = []
    for text in member.peer_urls:
        try:
            found.append(parse(text))
        except ValueError as error:
            _logger.error("a member's peer URL cannot be used", extra={"member": member.name, "why": str(error)})
    return tuple(found)


def client_contexts(config: Config) -> Callable[[], SSLContext] | None:
    """Makes the context to reach a member with, from the files as they are then."""
    return _contexts(config, peer_client_context)


def server_contexts(config: Config) -> Callable[[], SSLContext] | None:
    """Makes the context for whoever reaches this member."""
    return _contexts(config, peer_server_context)


def _contexts(config: Config, make: Callable[[Path, Path, Path], SSLContext]) -> Callable[[], SSLContext] | None:
    certificate, key, authorities = config.peer_cert_file, config.peer_key_file, config.peer_trusted_ca_file
    if certificate is None or key is None or authorities is None:
        return None
    return partial(make, certificate, key, authorities)
