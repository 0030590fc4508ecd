"""What the connections of one front end share: the epoll set, who is ready to go on, limits, counters, the date."""

import math
import os
import select
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING

from core.api.http.limits import Limits
from core.api.http.message import Handler, Outlet
from core.api.http.statistics import Counters
from core.api.http.turned_away import Kind, TurnedAway
from core.api.http.wire import Heads

if TYPE_CHECKING:
    from core.api.http.connection import Connection

NEVER = float("inf")

Admit = Callable[[bytes], str]
"""Why the holder of a verified certificate, DER, is not let in; an empty text lets it in."""

Produce = Callable[[Outlet], Awaitable[None]]

INTEREST = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
"""Edge-triggered, registered once: to leave a connection unread costs no system call and no wake-up."""


Spawn = Callable[[Callable[[Produce], Awaitable[None]], Produce], None]
"""Start a task in the nursery of streams: the function and its argument."""


Crowd = dict["Connection", None]
"""Connections in the order in which they came."""


class Hub:
    """Shared state. `now` and the date are as of the last sweep: exact enough for limits of seconds."""

    def __init__(
        self, handler: Handler, limits: Limits, counters: Counters, wall: float, spawn: Spawn, admit: Admit
    ) -> None:
        self.handler = handler
        self.opened: Collection[bytes] = frozenset()
        """Paths whose requests are handed over with their head."""
        self.admit = admit
        self.spawn = spawn
        self.limits = limits
        self.heads = Heads(wall)
        self._turned_away = TurnedAway()
        self.counters = counters
        self.connections: dict[int, Connection] = {}
        self.newcomers: Crowd = {}
        """Those that have not sent a whole request yet."""
        self.ready: deque[Connection] = deque()
        self.held = 0
        self.draining = False
        self.now = 0.0
        self.idle_deadline = 0.0
        self.parked = False
        """The loop waits for the epoll set; what it must see at once has to wake it."""
        self.epoll = select.epoll()
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.epoll.register(self._wake_fd, select.EPOLLIN | select.EPOLLET)

    def set_time(self, now: float, wall: float) -> None:
        """Called by the sweep: loop time and Unix time, seconds."""
        self.now = now
        self.idle_deadline = self.deadline(self.limits.idle_s)
        self.heads.set_date(wall)
        self._turned_away.summarise(now)

    def deadline(self, seconds: float) -> float:
        """The loop time in so many seconds, later by the sweep that `now` may be old."""
        return self.now + seconds + self.limits.sweep_s

    def write_deadline(self, size: int) -> float:
        """When a client must have taken so many bytes."""
        return self.deadline(self.limits.write_s + size / self.limits.write_rate_min)

    def resume(self, connection: "Connection") -> None:
        """Let a connection go on with what it has, after the others had their turn."""
        if not connection.queued:
            connection.queued = True
            self.ready.append(connection)
            self.wake()

    def turned_away(self, kind: Kind, address: str, cause: str) -> None:
        """Say in the log who was not let in, and why."""
        self._turned_away.say(kind, address, cause, self.now)

    def forget(self, fd: int) -> None:
        """A connection is closed."""
        del self.connections[fd]
        if self.draining and not self.connections:
            self.wake()

    def wake(self) -> None:
        """Make the loop look again. The counter is never read: each write is an edge."""
        if self.parked:
            self.parked = False
            os.eventfd_write(self._wake_fd, 1)

    def close(self) -> None:
        """Close every connection and the epoll set."""
        for connection in list(self.connections.values()):
            connection.close()
        self._turned_away.summarise(math.inf)
        self.epoll.close()
        os.close(self._wake_fd)
