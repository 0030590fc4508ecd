"""Simulated time: what is due, in order."""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any


class Crash(Exception):  # noqa: N818 - an event, not an error
    """A process reached the point at which it was to die."""

    def __init__(self, crash: Callable[[], None]) -> None:
        super().__init__()
        self.crash = crash


class Loop:
    """Runs what is due, one thing after another. Times are seconds since the start."""

    def __init__(self) -> None:
        self.now = 0.0
        self.steps = 0
        self._queue: list[tuple[float, int, Callable[[Any], None], Any]] = []
        self._number = 0

    def at(self, delay: float, action: Callable[[Any], None], argument: Any = None) -> None:
        """Do it `delay` seconds from now; what is due at the same time is done in the order it was asked for."""
        self._number = number = self._number + 1
        heappush(self._queue, (self.now + delay, number, action, argument))

    def run(self, until: float) -> None:
        """Let time pass."""
        queue = self._queue
        while queue and queue[0][0] <= until:
            self.now, _, action, argument = heappop(queue)
            self.steps += 1
            try:
                action(argument)
            except Crash as crash:
                crash.crash()
        self.now = until
