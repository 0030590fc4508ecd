"""HTTP/1.1 for a load: as little work a request as can be, so that the server is what is measured.

The client library is for programs: it pools, tries other endpoints, judges everything that comes. This only knows a
conversation of whole answers on a connection that stays open.
"""

import re
import ssl
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import trio

from core.client.endpoints import Endpoint

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection:[ \t]*close", re.IGNORECASE)
_PIECE = 65536
CONNECT_SECONDS = 5.0


class NotConnectedError(Exception):
    """No connection came about: nothing was sent."""


class LostError(Exception):
    """The connection broke after something was sent, and no whole answer came."""


class Talk:
    """One connection. It is of no use after any error, and after a cancelled request."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._read = b""
        self.closed = False
        """Whether the server said that it will close."""

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """One request; status and body of its answer. LostError."""
        try:
            await self._stream.send_all(request)
            status, head = await self._head()
            found = _LENGTH.search(head)
            if found is not None:
                return status, await self._exactly(int(found[1]))
            if status in (204, 304):
                return status, b""
            return status, b"".join([chunk async for chunk in self._chunks(head)])
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise LostError(str(error) or "the connection broke") from None

    async def stream(self, request: bytes) -> AsyncIterator[bytes]:
        """A request whose answer has no end; its lines as they come. LostError at an end, or with a status but 200."""
        try:
            await self._stream.send_all(request)
            status, head = await self._head()
            if status != 200:
                raise LostError(f"a watch was answered with status {status}")
            rest = b""
            async for chunk in self._chunks(head):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield line
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise LostError(str(error) or "the connection broke") from None
        raise LostError("the server ended a watch")

    async def aclose(self) -> None:
        """Close without farewell."""
        await trio.aclose_forcefully(self._stream)

    async def _head(self) -> tuple[int, bytes]:
        """Status and header lines."""
        while (end := self._read.find(b"\r\n\r\n")) < 0:
            await self._more()
        head, self._read = self._read[: end + 2], self._read[end + 4 :]
        self.closed = _CLOSE.search(head) is not None
        try:
            return int(head[9:12]), head
        except ValueError:
            raise LostError("the answer is not HTTP") from None

    async def _chunks(self, head: bytes) -> AsyncIterator[bytes]:
        if not _CHUNKED.search(head):
            raise LostError("the answer has no length")
        while True:
            while (end := self._read.find(b"\r\n")) < 0:
                await self._more()
            size = int(self._read[:end].partition(b";")[0], 16)
            self._read = self._read[end + 2 :]
            chunk = await self._exactly(size + 2)
            if size == 0:
                return
            yield chunk[:-2]

    async def _exactly(self, size: int) -> bytes:
        if len(self._read) < size:
            pieces, missing = [self._read], size - len(self._read)
            self._read = b""
            while missing > 0:
                await self._more()
                pieces.append(self._read[:missing])
                self._read, missing = self._read[missing:], missing - len(self._read)
            return b"".join(pieces)
        found, self._read = self._read[:size], self._read[size:]
        return found

    async def _more(self) -> None:
        data = await self._stream.receive_some(_PIECE)
        if not data:
            raise LostError("the server closed the connection")
        self._read += data


async def connect(endpoint: Endpoint, tls: ssl.SSLContext | None) -> Talk:
    """A connection to an endpoint, over TLS if its URL says so. NotConnectedError."""
    try:
        with trio.fail_after(CONNECT_SECONDS):
            return Talk(await _open(endpoint, tls))
    except trio.TooSlowError:
        raise NotConnectedError(f"no connection within {CONNECT_SECONDS:g} s") from None
    except OSError as error:
        raise NotConnectedError(error.strerror or str(error)) from None
    except trio.BrokenResourceError as error:
        raise NotConnectedError(str(error.__cause__ or "TLS failed")) from None


async def _open(endpoint: Endpoint, tls: ssl.SSLContext | None) -> trio.abc.Stream:
    if endpoint.socket is not None:
        return await trio.open_unix_socket(endpoint.socket)
    url = urlsplit(endpoint.origin)
    if url.hostname is None or url.port is None:
        raise NotConnectedError(f"{endpoint.text} names no host and port")
    stream = await trio.open_tcp_stream(url.hostname, url.port)
    if not endpoint.secure:
        return stream
    secured = trio.SSLStream(stream, tls or ssl.create_default_context(), server_hostname=url.hostname)
    try:
        await secured.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return secured
