"""The connection another member made to this one: it sends, this one listens."""

import logging
from collections.abc import Callable

import trio

from core.peer import frames, plain
from core.peer.connection import Connection, read_frames
from core.peer.errors import FrameError, LinkLostError, PeerError
from core.peer.frames import FrameReader
from core.peer.identity import Address
from core.peer.limits import Limits
from core.peer.outbox import Outbox
from core.peer.plain import Plain
from core.peer.together import close_gently, first_failure

Receive = Callable[[int, int, Plain], None]

OUTBOX_BYTES = 64 * 1024
OUTBOX_FRAMES = 256
"""Pongs and pulses that wait; more are dropped, and cost only who sends so many pings and reads no answers."""

_logger = logging.getLogger(__name__)


class Incoming:
    """One accepted link."""

    def __init__(self, connection: Connection, address: Address, receive: Receive, limits: Limits) -> None:
        self.connection = connection
        self.sender = connection.hello.sender
        self.heard = trio.current_time()
        self._address = address
        self._receive = receive
        self._limits = limits
        self._outbox = Outbox(OUTBOX_BYTES, OUTBOX_FRAMES)
        self._quiet = 0
        self._cut = trio.CancelScope()
        self._why = ""

    def cut(self, why: str) -> None:
        """End it: nothing more is received, from this moment on."""
        if not self._why:
            self._why = why
            self._cut.cancel()

    async def run(self) -> None:
        """Listen to the end of the connection."""
        stream = self.connection.stream
        reader = FrameReader(self._limits.frame_bytes)
        extra = {"member": self._address.name, "from": self.connection.remote}
        _logger.info("a member connected", extra=extra)
        reason: PeerError | None = None
        try:
            with self._cut:
                reason = await first_failure(
                    lambda: read_frames(stream, reader, self.connection.behind, self._take),
                    lambda: self._outbox.drain(stream),
                    self._beat,
                )
            why = self._why or str(reason)
            if isinstance(reason, FrameError):
                _logger.warning("a member's connection is closed: it cannot be trusted", extra=extra | {"why": why})
            else:
                _logger.info("a member's connection ended", extra=extra | {"why": why})
            if self._why or isinstance(reason, FrameError):
                await self._farewell(why)
        finally:
            await trio.aclose_forcefully(stream)

    async def _farewell(self, why: str) -> None:
        """Tell the other side why, if it can still be told."""
        with trio.move_on_after(self._limits.linger_s):
            try:
                await self.connection.stream.send_all(frames.frame(frames.BYE, plain.encode(why)))
                await close_gently(self.connection.stream, self._limits.linger_s)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return

    def _take(self, kind: int, body: bytes) -> None:
        if self._why:
            return
        self._quiet = 0
        self.heard = trio.current_time()
        if kind < frames.OWN:
            self._receive(self.sender, kind, plain.decode(body))
        elif kind == frames.PING:
            self._outbox.put(frames.frame(frames.PONG, body))
        else:
            raise FrameError(f"it sent a frame of kind {kind}, which has no business here")

    async def _beat(self) -> None:
        while True:
            if self._quiet >= self._limits.silent_beats:
                raise LinkLostError(f"it has been silent for {self._limits.silent_beats * self._limits.beat_s:g} s")
            self._quiet += 1
            self._outbox.put(frames.frame(frames.PULSE, b""))
            await trio.sleep(self._limits.beat_s)
