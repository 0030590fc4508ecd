"""The connection this member makes to another, and makes again whenever it is lost."""

import logging
import random
from collections.abc import Callable

import trio

from core.peer import frames, plain
from core.peer.connection import Connection, Dialler, read_frames
from core.peer.errors import FrameError, LinkLostError, PeerError, PeerRefusedError
from core.peer.frames import FrameReader
from core.peer.identity import Address
from core.peer.outbox import Outbox
from core.peer.reasons import Reason
from core.peer.together import first_failure
from core.peer.upgrade import LINK

ANSWER_BYTES = 4096
"""Body of a frame on the way back: pongs, pulses and a farewell."""
PINGS = 8
"""Pings whose moment is remembered."""
FORBEARANCE_S = 1.0
"""How long a member may be out of reach before the log says so: members start together, and restart."""
TOLD = 16
"""Reasons remembered, so that each is logged once until a connection is there."""

_logger = logging.getLogger(__name__)


class Outgoing:
    """One member that this one dials and sends to."""

    def __init__(
        self, member: int, address: Address, dialler: Dialler, chance: random.Random, removed: Callable[[], None]
    ) -> None:
        self.member = member
        self.address = address
        self.scope = trio.CancelScope()
        """Around `keep`."""
        self.why_not = "not tried yet" if address.urls else "it has no peer URL"
        self.url = ""
        self.program = ""
        self.connected_since: float | None = None
        self.heard: float | None = None
        self.round_trip_s: float | None = None
        self.dropped = 0
        self._written = 0
        self._dialler = dialler
        self._limits = dialler.limits
        self._chance = chance
        self._removed = removed
        self._outbox: Outbox | None = None
        self._serial: int | None = None
        self._cut: trio.CancelScope | None = None
        self._alone_since = 0.0
        self._quiet = 0
        self._pings: dict[int, float] = {}
        self._told: set[str] = set()
        self._hurry = trio.lowlevel.ParkingLot()

    def send(self, frame: bytes) -> bool:
        """Send or queue a frame; False if it was dropped."""
        if self._outbox is None:
            self.dropped += 1
            return False
        size = len(frame) - frames.HEADER.size
        if size > self._limits.frame_bytes:
            _logger.error(
                "a message to a member is too large to be sent",
                extra={"member": self.address.name, "bytes": size, "limit": self._limits.frame_bytes},
            )
        elif self._outbox.put(frame):
            return True
        self.dropped += 1
        return False

    @property
    def queued(self) -> tuple[int, int]:
        """Bytes and frames that wait."""
        return (0, 0) if self._outbox is None else (self._outbox.bytes, len(self._outbox))

    @property
    def sent(self) -> int:
        """Frames written, of all connections, pings included."""
        return self._written + (0 if self._outbox is None else self._outbox.written)

    def hurry(self) -> None:
        """The member was heard from: try now, if an attempt waits for its time."""
        self._hurry.unpark_all()

    def recheck(self) -> None:
        """Cut the connection if the other side's certificate was revoked."""
        if self._cut is not None and self._serial is not None and self._dialler.is_revoked(self._serial):
            self._cut.cancel()

    async def keep(self) -> None:
        """Be connected, until cancelled or told that this member was removed."""
        failures = 0
        turn = 0
        urls = self.address.urls
        self._alone_since = trio.current_time()
        with self.scope:
            while urls:
                url = urls[turn % len(urls)]
                self.url = str(url)
                try:
                    connection = await self._dialler.dial(self.member, self.address, url, LINK)
                except PeerError as error:
                    turn += 1
                    if self._refused_for_good(error):
                        return
                else:
                    if await self._live(connection):
                        failures = 0
                await self._pause(failures)
                failures += 1

    def _refused_for_good(self, error: PeerError) -> bool:
        self.why_not = str(error)
        reason = error.reason if isinstance(error, PeerRefusedError) else ""
        removed = reason == Reason.REMOVED
        lately = trio.current_time() - self._alone_since < FORBEARANCE_S
        if self.why_not not in self._told and (reason or not lately):
            if len(self._told) >= TOLD:
                self._told.clear()
            self._told.add(self.why_not)
            _logger.warning(
                "no connection to a member" if not removed else "this member was removed, says another",
                extra={"member": self.address.name, "url": self.url, "why": self.why_not},
            )
        if removed:
            self._removed()
        return removed

    async def _pause(self, failures: int) -> None:
        limits = self._limits
        longest = min(limits.retry_first_s * 2 ** min(failures, 16), limits.retry_most_s)
        with trio.move_on_after(longest * self._chance.uniform(0.5, 1)):
            await self._hurry.park()

    async def _live(self, connection: Connection) -> bool:
        """Use a connection to its end. Whether it was a good one: it lasted, and the other side was heard on it."""
        outbox = self._outbox = Outbox(self._limits.queue_bytes, self._limits.queue_frames)
        self._serial = connection.serial
        since = self.connected_since = trio.current_time()
        self.program = connection.hello.program
        self.why_not = ""
        self._quiet = 0
        self._pings.clear()
        self._told.clear()
        reader = FrameReader(ANSWER_BYTES)
        stream = connection.stream
        _logger.info("connected to a member", extra={"member": self.address.name, "url": self.url})
        reason: PeerError = LinkLostError("its certificate was revoked")
        try:
            with trio.CancelScope() as self._cut:
                reason = await first_failure(
                    lambda: outbox.drain(stream),
                    lambda: read_frames(stream, reader, connection.behind, self._take),
                    lambda: self._beat(outbox),
                )
        finally:
            self._cut = self._outbox = self._serial = self.connected_since = self.round_trip_s = None
            self._written += outbox.written
            self.dropped += len(outbox)
            self.why_not = str(reason)
            self._alone_since = trio.current_time()
            await trio.aclose_forcefully(stream)
        _logger.warning(
            "connection to a member lost", extra={"member": self.address.name, "url": self.url, "why": str(reason)}
        )
        lasted = trio.current_time() - since >= self._limits.retry_most_s
        return lasted and self.heard is not None and self.heard >= since

    def _take(self, kind: int, body: bytes) -> None:
        self._quiet = 0
        self.heard = trio.current_time()
        if kind == frames.PONG:
            number = plain.decode(body)
            asked = self._pings.pop(number, None) if isinstance(number, int) else None
            if asked is not None:
                self.round_trip_s = self.heard - asked
        elif kind == frames.BYE:
            raise LinkLostError(f"it closed the connection: {plain.decode(body)!s}")
        elif kind != frames.PULSE:
            raise FrameError(f"it sent a frame of kind {kind}, which has no business here")

    async def _beat(self, outbox: Outbox) -> None:
        """Ping every beat. Beats are counted, not seconds: if this process was held up, it does not blame others."""
        number = 0
        while True:
            if self._quiet >= self._limits.silent_beats:
                raise LinkLostError(f"it has been silent for {self._limits.silent_beats * self._limits.beat_s:g} s")
            self._quiet += 1
            number += 1
            if len(self._pings) >= PINGS:
                del self._pings[next(iter(self._pings))]
            self._pings[number] = trio.current_time()
            outbox.put(frames.frame(frames.PING, plain.encode(number)))
            await trio.sleep(self._limits.beat_s)
