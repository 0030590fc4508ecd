"""Members with links between them, in one loop, over real sockets on loopback."""

import random
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import trio

from core.addresses import Url
from core.peer import (
    Address,
    Answer,
    Limits,
    Links,
    PeerIdentity,
    PeerListener,
    PeerServer,
    Plain,
    open_listeners,
)
from core.tls import peer_client_context, peer_server_context
from core.tls.authority import Authority, Pair, create
from core.tls.identity import Role

PATIENCE_S = 20.0
"""No step of a test takes so long unless it hangs."""
CLUSTER = 0x1234_5678_9ABC_DEF0
QUICK = Limits(beat_s=0.05, silent_beats=12, retry_first_s=0.005, retry_most_s=0.02)
"""Every time short."""
LOOPBACK = Url("http", "127.0.0.1", 0)
SECURE = Url("https", "127.0.0.1", 0)


async def until(condition: Callable[[], object]) -> None:
    """Wait for what has no event, such as a count."""
    with trio.fail_after(PATIENCE_S):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.001)


class Workshop:
    """An authority, and peer certificates made by it."""

    def __init__(self, home: Path) -> None:
        home.mkdir(exist_ok=True)
        self._home = home
        create(home / "ca", "test authority")
        self.authority = Authority.open(home / "ca")
        self.root = home / "ca" / "ca.crt"
        self._count = 0

    def issue(self, name: str, role: Role = Role.PEER, host: str = "127.0.0.1") -> Pair:
        """A certificate; each time another one."""
        self._count += 1
        out = self._home / str(self._count)
        return self.authority.issue(role, name, [host] if role.serves else [], out, timedelta(hours=1))


class Trust:
    """The files of one member, and the contexts it makes of them."""

    def __init__(self, pair: Pair, root: Path) -> None:
        self.pair = pair
        self.root = root

    def client(self) -> ssl.SSLContext:
        return peer_client_context(self.pair.certificate, self.pair.key, self.root)

    def server(self) -> ssl.SSLContext:
        return peer_server_context(self.pair.certificate, self.pair.key, self.root)


class Member:
    """One member: what it received, and its ends of the links."""

    def __init__(self, number: int, trust: Trust | None = None, limits: Limits = QUICK, **changes: Any) -> None:
        self.number = number
        self.name = f"n{number}"
        self.trust = trust
        self.got: list[tuple[int, int, Plain]] = []
        self.installed: list[tuple[int, Plain, bytes]] = []
        self.removals = 0
        self.lost: list[int] = []
        self.revoked: set[int] = set()
        self.asked: list[tuple[str, str]] = []
        self.listeners: list[PeerListener] = []
        identity = PeerIdentity(cluster=CLUSTER, member=number, name=self.name, program="0.1.0")
        self.identity = msgspec.structs.replace(identity, **changes)
        self.links = Links(
            self.identity,
            self.receive,
            self.install,
            connect=None if trust is None else trust.client,
            is_revoked=lambda serial: serial in self.revoked,
            removed=self.removed,
            lost=self.lost.append,
            limits=limits,
            chance=random.Random(number),
        )
        self.server: PeerServer | None = None

    def receive(self, sender: int, kind: int, content: Plain) -> None:
        self.got.append((sender, kind, content))

    async def install(self, sender: int, content: Plain, pieces: AsyncIterator[bytes]) -> None:
        data = b"".join([piece async for piece in pieces])
        self.installed.append((sender, content, data))

    def removed(self) -> None:
        self.removals += 1

    def answer(self, path: str, peer_name: str) -> Answer:
        self.asked.append((path, peer_name))
        return 200, [("Content-Type", "text/plain")], b"hello"

    @property
    def port(self) -> int:
        return self.listeners[0].url.port

    @property
    def address(self) -> Address:
        return Address(self.name, tuple(listener.url for listener in self.listeners))

    def linked(self, other: "Member") -> bool:
        state = self.links.states().get(other.number)
        return state is not None and state.connected_since is not None

    async def listen(self) -> None:
        self.listeners = await open_listeners([LOOPBACK if self.trust is None else SECURE])

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        if not self.listeners:
            await self.listen()
        context = None if self.trust is None else self.trust.server
        self.server = PeerServer(self.links, self.listeners, context=context, answer=self.answer)
        async with trio.open_nursery() as nursery:
            await nursery.start(self.server.serve)
            await nursery.start(self.links.run)
            task_status.started()


async def stream_of(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Pieces as a snapshot's source gives them."""
    for piece in pieces:
        yield piece


def addresses(*members: Member) -> Mapping[int, Address]:
    return {member.number: member.address for member in members}


def introduce(*members: Member) -> None:
    """Let each follow all others."""
    for member in members:
        member.links.follow(addresses(*(other for other in members if other is not member)))


@asynccontextmanager
async def running(*members: Member, linked: bool = True) -> AsyncIterator[trio.Nursery]:
    """Members that run for the time of a block and know each other."""
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            for member in members:
                await nursery.start(member.run)
            if linked:
                introduce(*members)
                await until(lambda: all(one.linked(other) for one in members for other in members if other is not one))
            yield nursery
            nursery.cancel_scope.cancel()
