"""A small HTTP/1.1 client on Trio for many connections at once: heads, chunks, pipelines, and nothing hidden."""

import json
from types import TracebackType
from typing import Any, Self

import trio

from tests.whole.servers import HOST


class ClosedEarlyError(Exception):
    """The server closed the connection in the middle of what was to come."""


class Wire:
    """One connection. Use it in an `async with`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._rest = b""
        self.stream: trio.SocketStream

    async def __aenter__(self) -> Self:
        self.stream = await trio.open_tcp_stream(HOST, self._port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await trio.aclose_forcefully(self.stream)

    async def send(self, method: str, target: str, body: bytes | None = None) -> None:
        """Send one request; a body is a form."""
        await self.stream.send_all(request(method, target, body))

    async def head(self) -> tuple[int, dict[str, str]]:
        """Read the head of a response: status and headers by lower-case name."""
        lines = (await self._until(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.split(": ", 1) for line in lines[1:] if line)
        return int(lines[0].split(" ")[1]), {name.lower(): value for name, value in pairs}

    async def chunk(self) -> bytes:
        """Read one chunk of a chunked body; empty: its end."""
        size = int(await self._until(b"\r\n"), 16)
        return (await self._exactly(size + 2))[:-2]

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Read one whole response."""
        status, headers = await self.head()
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while piece := await self.chunk():
                body += piece
            return status, headers, body
        return status, headers, await self._exactly(int(headers.get("content-length", "0")))

    async def ask(self, method: str, target: str, body: bytes | None = None) -> tuple[int, Any]:
        """Send one request and read its JSON answer."""
        await self.send(method, target, body)
        status, _, text = await self.answer()
        return status, json.loads(text)

    async def _until(self, end: bytes) -> bytes:
        while end not in self._rest:
            await self._more()
        found, self._rest = self._rest.split(end, 1)
        return found

    async def _exactly(self, size: int) -> bytes:
        while len(self._rest) < size:
            await self._more()
        found, self._rest = self._rest[:size], self._rest[size:]
        return found

    async def _more(self) -> None:
        piece = await self.stream.receive_some(65536)
        if not piece:
            raise ClosedEarlyError(f"closed after {self._rest[-200:]!r}")
        self._rest += piece


def request(method: str, target: str, body: bytes | None = None) -> bytes:
    """The bytes of one request; a body is a form."""
    head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n"
    if body is None:
        return f"{head}\r\n".encode()
    form = f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
    return f"{head}{form}".encode() + body
