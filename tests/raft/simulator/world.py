"""What all parts of one run share."""

from collections import deque
from random import Random

from tests.raft.simulator.checker import Checker
from tests.raft.simulator.loop import Loop
from tests.raft.simulator.network import Network
from tests.raft.simulator.plan import Plan
from tests.raft.simulator.snapshots import SnapshotChannel
from tests.raft.simulator.state import State
from tests.raft.simulator.totals import Totals

TRACED = 400
"""Steps a trace keeps."""


class World:
    """One run's time, chance, network, checks and figures."""

    def __init__(self, random: Random, plan: Plan, founded: State, *, traced: bool) -> None:
        self.random = random
        self.plan = plan
        self.loop = Loop()
        self.network = Network(self.loop, random, plan)
        self.channel = SnapshotChannel(self.loop, self.network, random, plan)
        self.totals = Totals()
        self.checker = Checker(founded, self.totals)
        self.trace: deque[str] | None = deque(maxlen=TRACED) if traced else None
        self._numbers = 0

    def number(self) -> int:
        """A number that never comes again: for writes and for reads."""
        self._numbers += 1
        return self._numbers

    def note(self, what: str) -> None:
        """Into the trace, if there is one. Where it costs to say what, look at `trace` first."""
        if self.trace is not None:
            self.trace.append(f"{self.loop.now:9.4f} {what}")
