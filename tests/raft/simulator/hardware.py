"""The machine under a member: its disk, its clocks, how fast they are."""

from random import Random

from tests.raft.simulator.disk import Disk
from tests.raft.simulator.loop import Loop

SECOND = 1_000_000_000
EPOCH = 1_800_000_000.0


class Hardware:
    """Outlives the processes on it."""

    def __init__(self, member: int, disk: Disk, loop: Loop, random: Random, save_seconds: float, in_line: bool) -> None:
        self.member = member
        self.disk = disk
        self.save_seconds = save_seconds
        """How long a durable commit takes, about."""
        self.slowness = 1.0
        """By how much the disk is slower than it should be."""
        self.in_line = in_line
        """Whether the driver waits for the disk, or goes on meanwhile."""
        self.full = False
        self.removed = False
        """Whether its member left the cluster: nothing is started here any more."""
        self.tick_factor = 1.0
        """How long a tick takes here, compared to what it should."""
        self.wall_offset = random.uniform(-100, 100)
        self._drift = random.uniform(0.95, 1.05)
        self._booted = 0
        self._loop = loop
        self._random = random

    def reboot(self) -> None:
        """The monotonic clock begins anew, anywhere."""
        self._booted = self._random.getrandbits(50) - int(self._loop.now * self._drift * SECOND)

    def monotonic(self) -> int:
        """Nanoseconds since some point of its own, at a rate of its own."""
        return self._booted + int(self._loop.now * self._drift * SECOND)

    def wall(self) -> float:
        return EPOCH + self._loop.now + self.wall_offset
