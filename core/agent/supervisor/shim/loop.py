"""What the shim waits for: descriptors, children, and a deadline. Whoever asks for the next event drives it."""

from __future__ import annotations

import os
import select
import time

from core.agent.supervisor.shim import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

Event = tuple[str, int, str]
"""What happened (`exit`, `executed`, `told`, `asked`), to which process or under which number, and the rest."""


class Loop:
    """Level-triggered; one read a turn from each descriptor, so that a flood of log holds up nothing else."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._readers: dict[int, Callable[[], None]] = {}
        self.events: list[Event] = []
        self._wake = signals.wake()
        self.watch(self._wake, self._signalled)

    def watch(self, file: int, reader: Callable[[], None]) -> None:
        """Call this whenever there is something to read."""
        self._readers[file] = reader
        self._epoll.register(file, select.EPOLLIN)

    def forget(self, file: int) -> None:
        """No longer; and close it."""
        self._epoll.unregister(file)
        del self._readers[file]
        os.close(file)

    def next(self, until: float) -> Event | None:
        """The next event; None when the monotonic clock reaches `until`."""
        while not self.events:
            left = until - time.monotonic()
            if left <= 0:
                return None
            for file, _ in self._epoll.poll(min(left, 86400.0)):
                reader = self._readers.get(file)
                if reader is not None:
                    reader()
        return self.events.pop(0)

    def _signalled(self) -> None:
        for number in os.read(self._wake, 512):
            if number == signals.TERM:
                self.events.append(("asked", 0, "stop"))
        self.reap()

    def reap(self) -> bool:
        """Take what children left behind; False when there is none any more, dead or alive."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if not pid:
                return True
            self.events.append(("exit", pid, str(status)))
