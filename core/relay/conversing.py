"""A watch passed on while its request's body stays open: messages go to a member as they come, and its words back.

Between the front end, which calls, and a member's connection, which waits, stands one task. Neither side is read while
the other does not take what is there. When the member's connection breaks, the client is told so by an error line of
the dialect, after which it asks anew; nothing is repeated here, because the messages are gone by then.
"""

from collections.abc import Callable
from contextlib import suppress

import h11
import msgspec
import trio

from core.api.http import Request
from core.api.http.message import Line
from core.api.plain import JSON
from core.relay.upstreams import Upstream, Upstreams

CHUNK = 1 << 16
MOST_WAITING = 1 << 16
"""Bytes of messages that wait for the member to take them; then no more is read."""
_UNAVAILABLE = 14


class Passing:
    """The client's half, a `core.api.http.message.Talk`, and the task of the member's half. `run` once."""

    def __init__(
        self,
        request: Request,
        headers: list[tuple[bytes, bytes]],
        upstreams: Upstreams,
        kept: Callable[[list[tuple[bytes, bytes]]], bytes],
        start: Callable[["Passing"], None],
    ) -> None:
        """`headers` go to the member; `kept` makes what the client gets of those that come back; `start` begins the
        task."""
        self._target = request.path
        self._headers = headers
        self._upstreams = upstreams
        self._kept = kept
        self._start = start
        self._scope = trio.CancelScope()
        self._line: Line | None = None
        self._waiting = bytearray()
        self._last = False
        self._more = trio.Event()
        self._free = trio.Event()

    # For the front end

    @property
    def hungry(self) -> bool:
        """Whether more messages are taken."""
        return len(self._waiting) < MOST_WAITING

    def begin(self, line: Line) -> None:
        """See `Talk`."""
        self._line = line
        self._start(self)

    def received(self, data: bytes, *, last: bool) -> None:
        """See `Talk`."""
        self._waiting += data
        self._last = self._last or last
        self._more.set()

    def ready(self) -> None:
        """See `Talk`."""
        self._free.set()

    def gone(self) -> None:
        """See `Talk`."""
        self._scope.cancel()

    # For the member

    async def run(self) -> bool:
        """Pass on until either side ends; whether the member's ended well, or the client went."""
        good = True
        with self._scope:
            why = await self._pass()
            good = not why
            await self._end(why)
        return good

    async def _pass(self) -> str:
        """Why it ended before its end; empty if it did not."""
        why = "none is known"
        for upstream in self._upstreams.in_order():
            try:
                stream = await upstream.connect()
            except (OSError, trio.TooSlowError, trio.BrokenResourceError) as error:
                why = f"{upstream.endpoint.text}: {str(error) or 'no connection in time'}"
                self._upstreams.avoid(upstream, why)
                continue
            async with stream:
                why = await self._converse(stream, upstream)
            if why:
                self._upstreams.avoid(upstream, why)
            return why
        return f"no member of the cluster answers this worker: {why}"

    async def _converse(self, stream: trio.abc.Stream, upstream: Upstream) -> str:
        connection = h11.Connection(h11.CLIENT)
        host = upstream.endpoint.origin.partition("://")[2].encode()
        head = h11.Request(
            method=b"POST",
            target=self._target,
            headers=[(b"Host", host), (b"Transfer-Encoding", b"chunked"), *self._headers],
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send, connection, stream, head)
            try:
                why = await self._receive(connection, stream)
            except (OSError, trio.BrokenResourceError, h11.RemoteProtocolError) as error:
                why = f"the connection broke: {error}"
            nursery.cancel_scope.cancel()
        return why and f"{upstream.endpoint.text}: {why}"

    async def _send(self, connection: h11.Connection, stream: trio.abc.Stream, head: h11.Request) -> None:
        """Messages, as they come, until the last. If the connection breaks, who receives tells."""
        with suppress(OSError, trio.BrokenResourceError, h11.LocalProtocolError):
            await stream.send_all(connection.send(head) or b"")
            while self._waiting or not self._last:
                if not self._waiting:
                    self._more = trio.Event()
                    await self._more.wait()
                    continue
                data = bytes(self._waiting)
                self._waiting.clear()
                await stream.send_all(connection.send(h11.Data(data=data)) or b"")
                if self._line is not None:
                    self._line.wake()  # it is hungry again
            await stream.send_all(connection.send(h11.EndOfMessage()) or b"")

    async def _receive(self, connection: h11.Connection, stream: trio.abc.Stream) -> str:
        """What the member says, to its end; why it ended before that."""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(bytes(await stream.receive_some(CHUNK)))
            elif isinstance(event, h11.Response):
                await self._tell(event.status_code, self._kept(list(event.headers)))
            elif isinstance(event, h11.Data):
                await self._tell(0, bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                return ""
            elif not isinstance(event, h11.InformationalResponse):
                return "the connection was closed"

    async def _tell(self, status: int, data: bytes) -> None:
        """A piece to the client, or with a status the head, when it has taken what came before."""
        line = self._line
        while line is not None and not line.free:
            self._free = trio.Event()
            line.wake()
            await self._free.wait()
        if line is not None:
            line.start(status, data) if status else line.send(data)

    async def _end(self, why: str) -> None:
        if self._line is None:
            return
        if why:
            if not self._line.begun:
                await self._tell(200, JSON)
            error = {"grpc_code": _UNAVAILABLE, "http_code": 503, "message": why, "http_status": "Service Unavailable"}
            await self._tell(0, msgspec.json.encode({"error": error}) + b"\n")
        self._line.end()
