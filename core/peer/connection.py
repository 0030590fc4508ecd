"""A connection after its upgrade, and how this member makes one."""

import os
from collections.abc import Callable
from dataclasses import dataclass

import trio

from core.addresses import Url
from core.peer.errors import LinkLostError, PeerError, PeerRefusedError
from core.peer.frames import FrameReader
from core.peer.identity import Address, hexadecimal, plain_fault
from core.peer.limits import Limits
from core.peer.reasons import Reason
from core.peer.register import Register
from core.peer.secure import Contexts, IsRevoked, TlsStream, fault, holder
from core.peer.upgrade import Hello, ask, hello_from
from core.tls.identity import Identity

RECEIVED = 64 * 1024
"""Bytes of one read; more only within a frame that is larger."""
RECEIVED_MOST = 1024 * 1024
TURN = 64
"""Frames after which others get a turn."""


@dataclass(frozen=True)
class Connection:
    """An upgraded connection, owned by whoever holds it."""

    stream: trio.abc.Stream
    behind: bytes
    """What was read already."""
    hello: Hello
    """What the other side says of itself; checked."""
    serial: int | None
    """Of the other side's certificate; None: plain."""
    remote: str
    """The other side's address and port."""


@dataclass(frozen=True)
class Dialler:
    """Makes connections to members."""

    register: Register
    instance: str
    connect: Contexts | None
    is_revoked: IsRevoked
    limits: Limits

    async def dial(self, member: int, address: Address, url: Url, path: str) -> Connection:
        """An upgraded connection to a member; PeerError says why there is none."""
        if plain_fault(url):
            raise PeerError(plain_fault(url))
        with trio.move_on_after(self.limits.handshake_s):
            return await self._dial(member, address, url, path)
        raise PeerError(f"it does not answer within {self.limits.handshake_s:g} s")

    async def _dial(self, member: int, address: Address, url: Url, path: str) -> Connection:
        socket = await self._connect(url)
        stream: trio.abc.Stream = socket
        try:
            identity: Identity | None = None
            if url.secure:
                stream = tls = await self._secure(socket, url)
                identity = holder(tls, self.is_revoked)
                if address.name and identity.name != address.name:
                    raise PeerError(f"its certificate is that of {identity.name!r}, expected was {address.name!r}")
            hello = hello_from(self.register.identity, member, self.instance)
            found, behind = await ask(stream, str(url).partition("://")[2], path, hello)
            self._check(found, member, identity)
            serial = None if identity is None else identity.serial
            return Connection(stream, behind, found, serial, str(url))
        except BaseException:
            await trio.aclose_forcefully(socket)
            raise

    async def _connect(self, url: Url) -> trio.SocketStream:
        try:
            with trio.move_on_after(self.limits.connect_s):
                return await trio.open_tcp_stream(url.host, url.port)
        except (OSError, UnicodeError) as error:
            raise PeerError(_why(error)) from None
        raise PeerError(f"it cannot be connected to within {self.limits.connect_s:g} s")

    async def _secure(self, socket: trio.SocketStream, url: Url) -> TlsStream:
        if self.connect is None:
            raise PeerError(f"{url} needs TLS, and this member has no peer certificate; give it one")
        try:
            stream = TlsStream(socket, self.connect.current(), url.host)
        except ValueError as error:
            raise PeerError(f"{url.host} cannot be the name in a certificate: {error}") from error
        await stream.shake_hands()
        return stream

    def _check(self, found: Hello, member: int, certificate: Identity | None) -> None:
        """The answer must come from whom it was meant for."""
        mine = self.register.identity
        if (found.cluster, found.receiver) != (mine.cluster, mine.member):
            raise PeerRefusedError(Reason.WRONG_CLUSTER, "its answer is meant for somebody else")
        if found.sender != member or member not in self.register.members:
            raise PeerRefusedError(
                Reason.WRONG_MEMBER, f"it says that it is {found.name!r}, member {hexadecimal(found.sender)}"
            )
        self.register.check_name(found, certificate)
        if not mine.protocols[0] <= found.protocols[1] <= mine.protocols[1]:
            raise PeerRefusedError(Reason.PROTOCOL, f"it chose version {found.protocols[1]} of the protocol")


def _why(error: OSError | UnicodeError) -> str:
    """Why a connection could not be made."""
    inner: BaseException = error.__cause__ or error
    while isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    if isinstance(inner, OSError) and inner.errno is not None and inner.errno > 0:
        return f"it cannot be connected to: {os.strerror(inner.errno).lower()}"
    return f"it cannot be connected to: {inner}"  # names that cannot be found have numbers of their own


async def read_frames(
    stream: trio.abc.ReceiveStream, reader: FrameReader, data: bytes, take: Callable[[int, bytes], None]
) -> None:
    """Give every frame to `take`, until the other side closes. LinkLostError if it does so in the middle of one,
    FrameError if it sends something else."""
    count = 0
    while True:
        for kind, body in reader.feed(data):
            take(kind, body)
            count += 1
            if count % TURN == 0:
                await trio.lowlevel.checkpoint()
        try:
            data = bytes(await stream.receive_some(max(RECEIVED, min(reader.missing, RECEIVED_MOST))))
        except trio.BrokenResourceError as error:
            raise LinkLostError(fault(error) or "the connection broke") from error
        if not data:
            raise LinkLostError("it closed the connection" + ("" if reader.between else " in the middle of a frame"))
