"""Callers of the peer port that are no members, or not quite."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import h11
import msgspec
import trio

from core.addresses import Url
from core.peer import Address
from core.peer.connection import read_frames
from core.peer.frames import FrameReader
from core.peer.secure import TlsStream
from core.peer.upgrade import LINK, UPGRADES, Hello, to_headers
from tests.peer.support import CLUSTER, Member


def hello(sender: int = 1, receiver: int = 2, **changes: object) -> Hello:
    """What member n1 would say to n2, with changes."""
    said = Hello(
        cluster=CLUSTER,
        sender=sender,
        name=f"n{sender}",
        receiver=receiver,
        protocols=(1, 1),
        program="0.1.0",
        instance="caller",
    )
    return msgspec.structs.replace(said, **changes)


def request(said: Hello, path: str = LINK) -> bytes:
    """The request of an upgrade."""
    lines = [f"GET {path} HTTP/1.1", "Host: a", "Connection: Upgrade", f"Upgrade: {UPGRADES[path]}"]
    lines += [f"{name}: {value}" for name, value in to_headers(said)]
    return "\r\n".join([*lines, "", ""]).encode()


class Caller:
    """One connection to a member's peer port, and what comes back on it."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.frames: list[tuple[int, bytes]] = []

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """One response: status, headers, body."""
        http = h11.Connection(h11.CLIENT)
        http.send(h11.Request(method="GET", target="/", headers=[("Host", "a"), ("Upgrade", "b")]))
        http.send(h11.EndOfMessage())
        status, headers, body = 0, {}, b""
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data(bytes(await self.stream.receive_some(65536)))
            elif isinstance(event, h11.Response | h11.InformationalResponse):
                status = event.status_code
                headers = {name.decode(): value.decode() for name, value in event.headers}
                if status == 101:
                    return status, headers, bytes(http.trailing_data[0])
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                return status, headers, body

    async def refusal(self) -> tuple[int, str, str]:
        """Status, reason and text of a refusal."""
        status, _, body = await self.answer()
        found = msgspec.json.decode(body)
        return status, found["reason"], found["message"]

    async def end(self) -> bytes:
        """All that comes before the connection is closed."""
        data = b""
        try:
            while piece := await self.stream.receive_some(65536):
                data += piece
        except trio.BrokenResourceError:
            pass
        return data

    async def collect(self, behind: bytes = b"") -> None:
        """Put frames into `frames`, until the connection ends (PeerError)."""
        await read_frames(
            self.stream, FrameReader(1 << 20), behind, lambda kind, body: self.frames.append((kind, body))
        )


@asynccontextmanager
async def calling(member: Member, context: ssl.SSLContext | None = None) -> AsyncIterator[Caller]:
    """A connection to a member, plain or over TLS."""
    async with await trio.open_tcp_stream("127.0.0.1", member.port) as socket:
        if context is None:
            yield Caller(socket)
        else:
            tls = TlsStream(socket, context, "127.0.0.1")
            await tls.shake_hands()
            yield Caller(tls)


def switching(said: Hello) -> bytes:
    """The answer that says yes."""
    return b"HTTP/1.1 101 Switching Protocols\r\n" + request(said).partition(b"\r\n")[2]


@asynccontextmanager
async def answering(
    converse: Callable[[Caller], Awaitable[None]], answer: bytes | None = None
) -> AsyncIterator[Address]:
    """A stranger that answers as member n2 does, or otherwise, and then does as it is told; its address."""

    async def serve(stream: trio.SocketStream) -> None:
        asked = b""
        while b"\r\n\r\n" not in asked:
            asked += await stream.receive_some(4096)
        await stream.send_all(switching(hello(sender=2, receiver=1)) if answer is None else answer)
        try:
            await converse(Caller(stream))
        except trio.BrokenResourceError:
            return

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        port = listeners[0].socket.getsockname()[1]
        yield Address("n2", (Url("http", "127.0.0.1", port),))
        nursery.cancel_scope.cancel()
