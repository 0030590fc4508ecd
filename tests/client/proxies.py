"""A proxy in front of a real server, that breaks connections as a test says."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import trio

from tests.whole.servers import HOST


class Proxy:
    """`fate` is asked at each connection how many bytes of answers pass before it is cut; None: all."""

    def __init__(self, port: int, fate: Callable[[], int | None]) -> None:
        self.url = ""
        self.connections = 0
        self.cuts = 0
        self._port = port
        self._fate = fate

    async def serve(self, client: trio.SocketStream) -> None:
        """One connection."""
        self.connections += 1
        allowed = self._fate()
        server = await trio.open_tcp_stream(HOST, self._port)
        async with client, server, trio.open_nursery() as nursery:
            nursery.start_soon(self._forward, client, server, nursery.cancel_scope)
            await self._answer(server, client, allowed)
            nursery.cancel_scope.cancel()

    async def _forward(self, client: trio.SocketStream, server: trio.SocketStream, all_: trio.CancelScope) -> None:
        try:
            async for piece in client:
                await server.send_all(piece)
        except trio.BrokenResourceError:
            pass
        all_.cancel()

    async def _answer(self, server: trio.SocketStream, client: trio.SocketStream, allowed: int | None) -> None:
        try:
            async for piece in server:
                if allowed is not None and len(piece) > allowed:
                    await client.send_all(piece[:allowed])
                    self.cuts += 1
                    return
                if allowed is not None:
                    allowed -= len(piece)
                await client.send_all(piece)
        except trio.BrokenResourceError:
            pass


@asynccontextmanager
async def proxy(port: int, fate: Callable[[], int | None]) -> AsyncIterator[Proxy]:
    """Listen on a free port, and pass on to another one."""
    made = Proxy(port, fate)
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, made.serve, 0, host=HOST))
        made.url = f"http://{HOST}:{listeners[0].socket.getsockname()[1]}"
        yield made
        nursery.cancel_scope.cancel()
