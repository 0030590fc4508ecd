"""The pace at which a snapshot must be read: as long as it is, the disk cannot reuse a page that is freed."""

import trio

from core.api.http.message import Outlet

BYTES_PER_SECOND = 64 * 1024
ARREARS_SECONDS = 60.0
"""How far a reader may fall behind that pace. Who takes nothing is there after so long, who takes half after twice."""


class Pace:
    """That of one reader. Only the time it is waited for counts, not the time to make what it reads."""

    def __init__(self) -> None:
        self._left = ARREARS_SECONDS

    async def send(self, outlet: Outlet, piece: bytes) -> bool:
        """Send a piece; False once the reader is too slow."""
        begun = trio.current_time()
        left = self._left + len(piece) / BYTES_PER_SECOND
        with trio.move_on_after(left) as scope:
            await outlet.send(piece)
        self._left = min(left - (trio.current_time() - begun), ARREARS_SECONDS)
        return not scope.cancelled_caught and self._left > 0
