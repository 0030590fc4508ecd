"""Members that serve images over plain sockets, as honest as a test says."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial

import trio

from core.client.endpoints import Endpoint, parse
from core.client.images import BASE
from core.trust.errors import NotFoundError
from tests.whole.servers import HOST

Behaviour = Callable[[trio.SocketStream, str], Awaitable[None]]
"""What is done about the request for a path of the repository. The connection is closed after it."""


class Member:
    """One of them."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.asked: list[str] = []
        self.endpoint: Endpoint
        self._behaviour = behaviour

    async def serve(self, stream: trio.SocketStream) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            piece = await stream.receive_some()
            if not piece:
                return
            head += piece
        path = head.split()[1].decode().removeprefix(f"{BASE}/")
        self.asked.append(path)
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # whoever asked has heard enough
            await self._behaviour(stream, path)


@asynccontextmanager
async def members(*behaviours: Behaviour) -> AsyncIterator[Sequence[Member]]:
    """Start them; the first is the one that is asked first."""
    made = [Member(each) for each in behaviours]
    async with trio.open_nursery() as nursery:
        for member in made:
            listeners = await nursery.start(partial(trio.serve_tcp, member.serve, 0, host=HOST))
            member.endpoint = parse(f"http://{HOST}:{listeners[0].socket.getsockname()[1]}")
        yield made
        nursery.cancel_scope.cancel()


def says(status: str, body: bytes = b"", length: int | None = None, more: str = "") -> bytes:
    """An answer, its length what one likes."""
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\nConnection: close\r\n{more}\r\n".encode() + body


def gives(serve: Callable[[str], bytes]) -> Behaviour:
    """An honest one, as far as HTTP goes; NotFoundError is a 404."""

    async def behave(stream: trio.SocketStream, path: str) -> None:
        try:
            answer = says("200 OK", serve(path))
        except NotFoundError:
            answer = says("404 Not Found", b"404 page not found\n")
        await stream.send_all(answer)

    return behave


def sends(answer: bytes) -> Behaviour:
    """These bytes, whatever is asked for, and the end."""

    async def behave(stream: trio.SocketStream, path: str) -> None:
        await stream.send_all(answer)

    return behave


def stalls(beginning: bytes = b"") -> Behaviour:
    """These bytes, and nothing more for ever."""

    async def behave(stream: trio.SocketStream, path: str) -> None:
        await stream.send_all(beginning)
        await trio.sleep_forever()

    return behave


def endless(beginning: bytes, piece: bytes) -> Behaviour:
    """Without end, as fast as it is taken."""

    async def behave(stream: trio.SocketStream, path: str) -> None:
        await stream.send_all(beginning)
        while True:
            await stream.send_all(piece)

    return behave


def drips(beginning: bytes, seconds: float) -> Behaviour:
    """A byte now and then, so that it never is silent."""

    async def behave(stream: trio.SocketStream, path: str) -> None:
        await stream.send_all(beginning)
        while True:
            await stream.send_all(b"x")
            await trio.sleep(seconds)

    return behave
