"""How fast tokens may be guessed: slower with each failure from one address, and bounded for all addresses together.

A token has 160 random bits, so this protects the node's time and the audit log more than the token. The bound for all
lets strangers with many addresses hold up joins, for as long as they keep it up; keys are served meanwhile.
"""

from collections import deque

from core.api.access.throttle import Throttle

FAILURES = 120
"""From all addresses together, within SECONDS."""
SECONDS = 60.0


class Guesses:
    """An attempt counts as a failure from its beginning, until it is told to be none. Times in seconds."""

    def __init__(self) -> None:
        self._each = Throttle()
        self._all: deque[float] = deque()

    def begin(self, token: str, address: str, now: float) -> float:
        """Begin an attempt; how many seconds it is too early (0: go on), and then it is not counted."""
        while self._all and self._all[0] <= now - SECONDS:
            self._all.popleft()
        if len(self._all) >= FAILURES:
            return self._all[0] + SECONDS - now
        wait = self._each.begin(token, address, now)
        if wait <= 0:
            self._all.append(now)
        return wait

    def succeeded(self, token: str, address: str) -> None:
        """The attempt was none of guessing."""
        self._each.succeeded(token, address)
        if self._all:
            self._all.pop()
