"""Pauses that grow: what failed is tried again later each time. Pure; times are of one clock, in seconds."""

import msgspec

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 60.0
QUIET_SECONDS = 600.0
"""After so long without a failure, the next one is the first again."""


class Backoff(msgspec.Struct):
    """The failures of one thing."""

    first: float = FIRST_SECONDS
    longest: float = LONGEST_SECONDS
    count: int = 0
    until: float = 0.0
    """It is not tried before."""
    _last: float = 0.0

    def failed(self, now: float) -> None:
        """It failed once more."""
        if now - self._last > QUIET_SECONDS:
            self.count = 0
        self._last = now
        self.until = now + min(self.first * 2**self.count, self.longest)
        self.count = min(self.count + 1, 32)

    def waits(self, now: float) -> bool:
        return now < self.until
