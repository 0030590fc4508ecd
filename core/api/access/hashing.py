"""Slow work on passwords: one piece at a time in a thread, in order, and not many waiting."""

from collections import deque
from collections.abc import Callable
from typing import Any

import trio

WAITING = 32
"""Pieces of work that may wait: some seconds' worth."""


class Hashing:
    """`run` is a task of the daemon that outlives the front end. Cancelled: what waits is never done, and its callers,
    whose connections are gone by then, are not told."""

    def __init__(self) -> None:
        self._jobs: deque[tuple[Callable[[], Any], Callable[[Any], None]]] = deque()
        self._wake = trio.Event()

    def submit(self, work: Callable[[], Any], done: Callable[[Any], None]) -> bool:
        """Queue `work` for the thread; `done` gets what it returns, on the loop. False if too many wait."""
        if len(self._jobs) >= WAITING:
            return False
        self._jobs.append((work, done))
        self._wake.set()
        return True

    async def run(self) -> None:
        """Work until cancelled."""
        limiter = trio.CapacityLimiter(1)
        while True:
            while self._jobs:
                work, done = self._jobs.popleft()
                done(await trio.to_thread.run_sync(work, limiter=limiter))
            await self._wake.wait()
            self._wake = trio.Event()
