"""A front end on a loopback port, and a client that reads replies with h11."""

import os
import struct
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager

import h11
import msgspec
import trio

from core.api.http import Caller, Frontend, Handler, Limits, Listener, Reply, Request, Response, Statistics, open_tcp

PATIENCE_S = 20.0
"""No step of a test takes so long unless it hangs."""

QUICK = Limits(
    idle_s=0.1, request_s=0.2, handshake_s=0.2, write_s=0.2, write_rate_min=1 << 40, linger_s=0.2, sweep_s=0.02
)
"""Every time short."""

GET = b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n"


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what has no event, such as a count."""
    while not condition():  # noqa: ASYNC110
        await trio.sleep(0.001)


class Answer(msgspec.Struct):
    """A response as the client read it."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()


class Client:
    """One connection. Sends whatever it is told; reads with h11."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._rest = b""

    async def send(self, data: bytes) -> None:
        """Send raw bytes."""
        await self.stream.send_all(data)

    def send_nowait(self, data: bytes) -> None:
        """Send a little without giving the server a turn."""
        if not isinstance(self.stream, trio.SocketStream):
            raise TypeError("only on a TCP connection")
        os.write(self.stream.socket.fileno(), data)

    async def ask(self, data: bytes, method: bytes = b"GET") -> Answer:
        """Send raw bytes and read one response."""
        await self.send(data)
        return await self.answer(method)

    async def answer(self, method: bytes = b"GET") -> Answer:
        """Read one response to a request of that method; 1xx are skipped."""
        connection = h11.Connection(h11.CLIENT)
        connection.send(h11.Request(method=method, target=b"/", headers=[(b"Host", b"a")]))
        connection.send(h11.EndOfMessage())
        if self._rest:
            connection.receive_data(self._rest)
        answer = Answer(0, {}, b"")
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(bytes(await self.stream.receive_some(65536)))
            elif isinstance(event, h11.Response):
                answer = Answer(event.status_code, dict(event.headers), b"")
            elif isinstance(event, h11.Data):
                answer.body += event.data
            elif isinstance(event, h11.EndOfMessage):
                self._rest = bytes(connection.trailing_data[0])
                return answer
            elif isinstance(event, h11.ConnectionClosed):
                raise AssertionError("closed without an answer")

    def reset_on_close(self) -> None:
        """Let `aclose` send a reset instead of an orderly end."""
        if not isinstance(self.stream, trio.SocketStream):
            raise TypeError("only a TCP connection can be reset")
        self.stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def until(self, mark: bytes) -> bytes:
        """Read raw bytes until they hold `mark`; returns all of them."""
        while mark not in self._rest:
            piece = await self.stream.receive_some(65536)
            if not piece:
                raise AssertionError(f"closed before {mark!r}; got {self._rest!r}")
            self._rest += piece
        data, self._rest = self._rest, b""
        return data

    async def end(self) -> bytes:
        """Read raw bytes to the end of the connection."""
        data, self._rest = self._rest, b""
        try:
            while piece := await self.stream.receive_some(65536):
                data += piece
        except trio.BrokenResourceError:
            pass
        return data


class Served:
    """A front end that serves."""

    def __init__(self, frontend: Frontend, listeners: Sequence[Listener]) -> None:
        self.frontend = frontend
        self.port = listeners[0].port

    @property
    def statistics(self) -> Statistics:
        """The counts as of now."""
        return self.frontend.statistics()

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """A connection to the first listener."""
        async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream:
            yield Client(stream)

    async def settle(self, connections: int) -> None:
        """Wait until so many connections are left."""
        await until(lambda: self.statistics.connections == connections)


@asynccontextmanager
async def serving(
    handler: Handler,
    limits: Limits | None = None,
    listeners: Sequence[Listener] | None = None,
    paths: Collection[bytes] = (),
) -> AsyncIterator[Served]:
    """Serve for the time of a block, which must not take longer than PATIENCE_S. Requests for `paths` come with their
    head."""
    opened = listeners if listeners is not None else open_tcp("127.0.0.1", 0)
    frontend = Frontend(handler, limits, opened=paths)
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(frontend.serve, opened)
            yield Served(frontend, opened)
            nursery.cancel_scope.cancel()


def echo(request: Request, reply: Reply) -> None:
    """Say what was asked."""
    text = b"%b %b ? %b\n" % (request.method, request.path, request.query)
    headers = b"".join(b"%b=%b\n" % header for header in request.headers)
    reply.send(Response(200, b"Content-Type: text/plain\r\n", text + headers + b"\n" + request.body))


class Desk:
    """A handler that keeps what it was asked, to be answered later."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Request, Reply]] = []
        self._came, self._comes = trio.open_memory_channel[None](10_000)

    def __call__(self, request: Request, reply: Reply) -> None:
        self.waiting.append((request, reply))
        self._came.send_nowait(None)

    async def next(self) -> tuple[Request, Reply]:
        """Wait for the next request."""
        await self._comes.receive()
        return self.waiting.pop(0)


def put(path: bytes, body: bytes) -> bytes:
    """A plain PUT."""
    return b"PUT %b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (path, len(body), body)


HERE = Caller("127.0.0.1:1")
