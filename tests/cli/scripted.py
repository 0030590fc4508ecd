"""A server that answers as a test says, connection by connection, over real sockets."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import trio

from core.client.endpoints import Endpoint, parse

Serve = Callable[["Peer"], Awaitable[None]]


class Peer:
    """One connection of a client, and what it asked."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._buffer = b""

    async def request(self) -> str:
        """The next whole request as text; empty when the client has gone."""
        while True:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            length = 0
            for line in head.split(b"\r\n"):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            if end and len(rest) >= length:
                self._buffer = rest[length:]
                return (head + end + rest[:length]).decode()
            try:
                piece = await self._stream.receive_some()
            except trio.BrokenResourceError:
                return ""
            if not piece:
                return ""
            self._buffer += piece

    async def send(self, data: str) -> None:
        """Bytes as they are."""
        await self._stream.send_all(data.encode())

    async def answer(self, body: str, status: str = "200 OK", headers: str = "X-Etcd-Index: 7\r\n") -> None:
        """A whole answer."""
        await self.send(f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body.encode())}\r\n\r\n{body}")


@asynccontextmanager
async def server(serve: Serve) -> AsyncIterator[Endpoint]:
    """Listen on a free port; `serve` handles each connection, which is closed when it returns."""

    async def one(stream: trio.SocketStream) -> None:
        async with stream:
            await serve(Peer(stream))

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, one, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        yield parse(f"http://127.0.0.1:{port}")
        nursery.cancel_scope.cancel()
