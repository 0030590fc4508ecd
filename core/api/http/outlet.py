"""The sending half of a streamed response."""

from typing import TYPE_CHECKING

import trio

from core.api.http.hub import Produce
from core.api.http.wire import chunk

if TYPE_CHECKING:
    from core.api.http.connection import Connection


class StreamOutlet:
    """An `Outlet` on a connection. At most one piece waits for the client; `scope` ends when the client goes."""

    __slots__ = ("_begun", "_connection", "_drained", "_left", "scope")

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self._begun = False
        self._drained: trio.Event | None = None
        self._left: int | None = None
        """Bytes that were announced and not sent; None: none were."""
        self.scope = trio.CancelScope()

    async def run(self, produce: Produce) -> None:
        """The task of this stream."""
        connection = self._connection
        with self.scope:
            await produce(self)
            if not self._begun and not self.scope.cancel_called:
                raise RuntimeError("a stream ended without a response")
            if self._left and not self.scope.cancel_called:
                raise RuntimeError(f"a stream ended {self._left} bytes before the length that it announced")
        whole, chunked = not self.scope.cancelled_caught, self._left is None
        connection.end_stream(begun=self._begun, whole=whole, chunked=chunked)

    async def start(self, status: int, headers: bytes, length: int | None = None) -> None:
        """Send the head. RuntimeError the second time."""
        if self._begun:
            raise RuntimeError("a stream was started twice")
        self._begun = True
        self._left = length
        self._connection.begin_stream(status, headers, length)
        if self._connection.head_only:
            self.scope.cancel()
        await self._wait()

    async def send(self, piece: bytes) -> None:
        """Send one piece. Returns at once if the kernel takes it, without giving others a turn."""
        if not self._begun:
            raise RuntimeError("a stream must be started before a piece is sent")
        connection = self._connection
        if self._left is None:
            connection.transmit(chunk(piece) if connection.http_1_1 else piece)
        else:
            self._left -= len(piece)
            if self._left < 0:
                raise RuntimeError("a stream sends more than the length that it announced")
            connection.transmit(piece)
        await self._wait()

    def cancel(self) -> None:
        """The client has gone, or the server stops."""
        self.scope.cancel()

    async def abort(self) -> None:
        """Break the connection."""
        self.scope.cancel()
        await trio.lowlevel.checkpoint()

    def resume(self) -> None:
        """All that was sent is taken."""
        if self._drained is not None:
            self._drained.set()

    async def _wait(self) -> None:
        connection = self._connection
        if connection.out is None:
            await trio.lowlevel.checkpoint_if_cancelled()
            return
        self._drained = trio.Event()
        connection.limit_write()
        await self._drained.wait()
