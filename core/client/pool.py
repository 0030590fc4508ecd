"""Connections to one endpoint, as httpcore keeps them."""

import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

import httpcore
import trio

from core.client.endpoints import Endpoint

CONNECT_SECONDS = 2.0
"""How long one endpoint may take to accept, before the next is tried."""
IDLE_CONNECTIONS = 10
"""Connections kept open to each endpoint when nothing is asked."""

KEEPALIVE = (  # a watch may be silent for days: notice within a minute that the other host is gone
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 20),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
)

Trace = Callable[[str, dict[str, Any]], Awaitable[None]]


class Pool:
    """Connections to one endpoint that trust and show the same."""

    def __init__(self, endpoint: Endpoint, tls: ssl.SSLContext | None) -> None:
        self.tls = tls
        self._requests = 0
        self._retired = False
        self._connections = httpcore.AsyncConnectionPool(
            ssl_context=tls,
            uds=endpoint.socket,
            max_connections=None,  # each watch holds one for as long as it lasts
            max_keepalive_connections=IDLE_CONNECTIONS,
            keepalive_expiry=30.0,
            socket_options=None if endpoint.socket else KEEPALIVE,
        )

    @asynccontextmanager
    async def stream(
        self, method: str, url: str, body: bytes, headers: Sequence[tuple[bytes, bytes]], trace: Trace
    ) -> AsyncIterator[httpcore.Response]:
        """Send a request; httpcore tells `trace` of its steps. The errors of httpcore."""
        extensions = {"timeout": {"connect": CONNECT_SECONDS}, "trace": trace}
        length = [(b"Content-Length", b"%d" % len(body))] if body else []
        content = _Content(body) if body else None
        self._requests += 1
        try:
            async with self._connections.stream(
                method, url, content=content, headers=[*headers, *length], extensions=extensions
            ) as response:
                yield response
        finally:
            self._requests -= 1
            if self._retired:
                await self.retire()

    async def retire(self) -> None:
        """Close the connections, if there is no request on them, else when the last one has ended."""
        self._retired = True
        if not self._requests:
            await self.close()

    async def close(self) -> None:
        """Close them now."""
        with trio.CancelScope(shield=True):
            await self._connections.aclose()


class _Content:
    """The body of a request. Of bytes httpcore makes a generator, which a cancelled request leaves unfinished."""

    def __init__(self, body: bytes) -> None:
        self._bodies = [body]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._bodies:
            raise StopAsyncIteration
        return self._bodies.pop()
