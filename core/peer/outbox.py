"""What waits to be sent on one connection."""

from collections import deque

import trio

from core.peer.secure import TlsStream, write_now

COALESCED = 256 * 1024
"""Bytes that go into one write, if there are so many; a larger frame goes alone."""
AT_ONCE = 2 * 1024 * 1024
"""A frame up to this size, whose encryption takes about a millisecond, is written by whoever puts it if nothing waits
and the kernel takes it: no task has to be woken for it, and it is on its way before the next commit."""


class Outbox:
    """A bounded queue of frames and the task that writes them, all that wait in one write."""

    def __init__(self, bytes_max: int, frames_max: int) -> None:
        self._bytes_max = bytes_max
        self._frames_max = frames_max
        self._frames: deque[bytes] = deque()
        self._waiting = trio.lowlevel.ParkingLot()
        self._idle: trio.abc.Stream | None = None
        """The connection, while its task waits for something to write."""
        self.bytes = 0
        """Queued or being written."""
        self.written = 0
        """Frames."""

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, frame: bytes) -> bool:
        """Write or queue a frame; False if it does not fit."""
        if self._idle is not None and not self._frames and len(frame) <= AT_ONCE:
            left = _write(self._idle, frame)
            if left is None:
                self.written += 1
                return True
            frame = left
        size = len(frame)
        if len(self._frames) >= self._frames_max or (self.bytes and self.bytes + size > self._bytes_max):
            return False
        self._frames.append(frame)
        self.bytes += size
        self._waiting.unpark()
        return True

    async def drain(self, stream: trio.abc.Stream) -> None:
        """Write what is queued, for ever. trio.BrokenResourceError when the connection is broken."""
        while True:
            self._idle = stream
            while not self._frames:
                await self._waiting.park()
            self._idle = None
            parts: list[bytes] = []
            size = 0
            while self._frames and (not size or size + len(self._frames[0]) <= COALESCED):
                parts.append(self._frames.popleft())
                size += len(parts[-1])
            await stream.send_all(parts[0] if len(parts) == 1 else b"".join(parts))
            self.bytes -= size
            self.written += len(parts)


def _write(stream: trio.abc.Stream, data: bytes) -> bytes | None:
    """Write without waiting what can be: what is left for `send_all`, or None if nothing is. An error is left to it."""
    if isinstance(stream, TlsStream):
        return stream.send_now(data)
    if isinstance(stream, trio.SocketStream):
        sent = write_now(stream, data)
        return data[sent:] if sent < len(data) else None
    return data
