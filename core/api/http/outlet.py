"""The sending half of a streamed response."""

from typing import TYPE_CHECKING

import trio

from core.api.http.hub import Produce
from core.api.http.wire import chunk

if TYPE_CHECKING:
    from core.api.http.connection import Connection


class StreamOutlet:
    """An `Outlet` on a connection. At most one piece waits for the client; `scope` ends when the client goes."""

    __slots__ = ("_begun", "_connection", "_drained", "scope")

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self._begun = False
        self._drained: trio.Event | None = None
        self.scope = trio.CancelScope()

    async def run(self, produce: Produce) -> None:
        """The task of this stream."""
        connection = self._connection
        with self.scope:
            await produce(self)
            if not self._begun and not self.scope.cancel_called:
                raise RuntimeError("a stream ended without a response")
        connection.end_stream(begun=self._begun, whole=not self.scope.cancelled_caught)

    async def start(self, status: int, headers: bytes) -> None:
        """Send the head. RuntimeError the second time."""
        if self._begun:
            raise RuntimeError("a stream was started twice")
        self._begun = True
        self._connection.begin_stream(status, headers)
        if self._connection.head_only:
            self.scope.cancel()
        await self._wait()

    async def send(self, piece: bytes) -> None:
        """Send one piece. Returns at once if the kernel takes it, without giving others a turn."""
        if not self._begun:
            raise RuntimeError("a stream must be started before a piece is sent")
        connection = self._connection
        connection.transmit(chunk(piece) if connection.http_1_1 else piece)
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
