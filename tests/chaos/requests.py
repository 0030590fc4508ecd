"""A client that knows what it does not know: whether a request was answered, may have arrived, or never left."""

import json
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import h11
import trio

CHUNK = 65536


class NotSentError(Exception):
    """No connection: the request never left."""


class LostError(Exception):
    """It was sent, and no whole answer came."""


@dataclass(frozen=True)
class Answer:
    """Status, headers (lower-case names) and body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def refused(self) -> bool:
        """Whether it says that nothing was done: no leader, a full queue, a full disk (never 504)."""
        return self.status in (503, 507)


class Connection:
    """One connection to one node, opened when it is first needed and again after it broke. Repeats nothing."""

    def __init__(self, host: str, port: int) -> None:
        """`host` may be the path of a unix socket."""
        self.host = host
        self.port = port
        self._stream: trio.SocketStream | None = None
        self._http = h11.Connection(h11.CLIENT)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._stream is not None:
            self._stream.socket.close()
            self._stream = None

    async def ask(self, method: str, target: str, form: dict[str, str] | None = None, *, seconds: float) -> Answer:
        """One request and its answer. NotSentError, LostError."""
        body = urlencode(form).encode() if form is not None else b""
        return await self.send(method, target, body, "application/x-www-form-urlencoded", seconds)

    async def send(self, method: str, target: str, body: bytes, content_type: str, seconds: float) -> Answer:
        """One request with any body."""
        try:
            with trio.move_on_after(seconds):
                await self._open()
                await self._send(method, target, body, content_type)
                return await self._receive()
        except (OSError, trio.BrokenResourceError, h11.RemoteProtocolError) as error:
            raise LostError(str(error)) from error
        finally:
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                self.close()
        raise LostError("no answer in time")

    async def lines(self, target: str, seconds: float) -> "Lines":
        """Begin a request whose answer is a line at a time. NotSentError, LostError."""
        self.close()
        try:
            with trio.move_on_after(seconds):
                await self._open()
                await self._send("GET", target, b"", "")
                while not isinstance(event := await self._event(), h11.Response):
                    pass
                return Lines(self, event.status_code)
        except (OSError, trio.BrokenResourceError, h11.RemoteProtocolError) as error:
            raise LostError(str(error)) from error
        raise LostError("no answer in time")

    async def piece(self) -> bytes:
        """The next bytes of a body; empty at its end. LostError."""
        try:
            event = await self._event()
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError) as error:
            raise LostError(str(error)) from error
        return bytes(event.data) if isinstance(event, h11.Data) else b""

    async def _open(self) -> None:
        if self._stream is None:
            try:
                if self.host.startswith("/"):
                    self._stream = await trio.open_unix_socket(self.host)
                else:
                    self._stream = await trio.open_tcp_stream(self.host, self.port)
            except OSError as error:
                raise NotSentError(str(error)) from error
            self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
        else:
            self._http.start_next_cycle()

    async def _send(self, method: str, target: str, body: bytes, content_type: str) -> None:
        host = "localhost" if self.host.startswith("/") else f"{self.host}:{self.port}"
        headers = [("Host", host), ("Content-Length", str(len(body)))]
        if content_type:
            headers.append(("Content-Type", content_type))
        whole = self._http.send(h11.Request(method=method, target=target, headers=headers)) or b""
        whole += (self._http.send(h11.Data(body)) or b"") if body else b""
        whole += self._http.send(h11.EndOfMessage()) or b""
        await self._connected.send_all(whole)

    async def _receive(self) -> Answer:
        status, headers, body = 0, {}, bytearray()
        while not isinstance(event := await self._event(), h11.EndOfMessage):
            if isinstance(event, h11.Response):
                status = event.status_code
                headers = {name.decode().lower(): value.decode() for name, value in event.headers}
            elif isinstance(event, h11.Data):
                body += event.data
        return Answer(status, headers, bytes(body))

    async def _event(self) -> Any:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._connected.receive_some(CHUNK))
        if isinstance(event, h11.ConnectionClosed):
            raise h11.RemoteProtocolError("closed before the answer")
        return event

    @property
    def _connected(self) -> trio.SocketStream:
        if self._stream is None:
            raise trio.ClosedResourceError("not connected")
        return self._stream


class Lines:
    """An answer that arrives a JSON line at a time."""

    def __init__(self, connection: Connection, status: int) -> None:
        self.status = status
        self._connection = connection
        self._rest = b""

    async def next(self, seconds: float) -> list[Any]:
        """The lines that came; empty at the end. LostError if none did in time."""
        while True:
            with trio.move_on_after(seconds):
                piece = await self._connection.piece()
                if not piece:
                    return []
                *whole, self._rest = (self._rest + piece).split(b"\n")
                if whole:
                    return [json.loads(line) for line in whole if line.strip()]
                continue
            raise LostError("silent")
