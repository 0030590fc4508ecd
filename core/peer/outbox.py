"""What waits to be sent on one connection."""

from collections import deque

import trio

COALESCED = 256 * 1024
"""Bytes that go into one write, if there are so many; a larger frame goes alone."""


class Outbox:
    """A bounded queue of frames and the task that writes them, all that wait in one write."""

    def __init__(self, bytes_max: int, frames_max: int) -> None:
        self._bytes_max = bytes_max
        self._frames_max = frames_max
        self._frames: deque[bytes] = deque()
        self._waiting = trio.lowlevel.ParkingLot()
        self.bytes = 0
        """Queued or being written."""
        self.written = 0
        """Frames."""

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, frame: bytes) -> bool:
        """Queue a frame; False if it does not fit."""
        size = len(frame)
        if len(self._frames) >= self._frames_max or (self.bytes and self.bytes + size > self._bytes_max):
            return False
        self._frames.append(frame)
        self.bytes += size
        self._waiting.unpark()
        return True

    async def drain(self, stream: trio.abc.SendStream) -> None:
        """Write what is queued, for ever. trio.BrokenResourceError when the connection is broken."""
        while True:
            while not self._frames:
                await self._waiting.park()
            parts: list[bytes] = []
            size = 0
            while self._frames and (not size or size + len(self._frames[0]) <= COALESCED):
                parts.append(self._frames.popleft())
                size += len(parts[-1])
            await stream.send_all(parts[0] if len(parts) == 1 else b"".join(parts))
            self.bytes -= size
            self.written += len(parts)
