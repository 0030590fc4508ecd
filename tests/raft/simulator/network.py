"""The network: messages get lost, late, twice, out of order, or nowhere."""

from collections.abc import Callable
from random import Random

from tests.raft.simulator.letters import Miss
from tests.raft.simulator.loop import Loop
from tests.raft.simulator.plan import Plan

Receive = Callable[[int, object], None]

SECONDS_LATE = 3.0
NOTICED_AFTER = 0.002
"""When a member notices that a connection broke."""


class Network:
    """Links between members, each direction for itself."""

    def __init__(self, loop: Loop, random: Random, plan: Plan) -> None:
        self.inboxes: dict[int, Receive] = {}
        """Who is there to receive."""
        self.cut: set[tuple[int, int]] = set()
        """Links that bring nothing, each as (sender, receiver)."""
        self.loss = plan.loss
        self.duplicate = plan.duplicate
        self.late = plan.late
        self.delay = plan.delay
        self.jitter = plan.jitter
        self._loop = loop
        self._random = random

    def send(self, sender: int, receiver: int, message: object, *, once: bool = False) -> None:
        """Bring it, or not; `once`: never twice."""
        if self.cut and (sender, receiver) in self.cut:
            return
        random = self._random.random
        chance = random()
        if chance < self.loss:
            return
        chance -= self.loss
        letter = (sender, receiver, message)
        delay = self.delay + self.jitter * random()
        if chance < self.late:
            delay += SECONDS_LATE * random()
        elif chance < self.late + self.duplicate and not once:
            self._loop.at(delay + self.jitter * random() + 0.5 * random(), self._deliver, letter)
        self._loop.at(delay, self._deliver, letter)

    def _deliver(self, letter: tuple[int, int, object]) -> None:
        sender, receiver, message = letter
        receive = self.inboxes.get(receiver)
        if receive is not None:
            receive(sender, message)

    def break_off(self, member: int, receiver: int = 0) -> None:
        """The connection on which `member` is heard by `receiver` breaks, or (0) by all."""
        for each in self.inboxes:
            if each != member and receiver in (0, each):
                self._loop.at(NOTICED_AFTER, self._deliver, (member, each, Miss(member)))

    def heal(self) -> None:
        """From now on every message arrives, once, soon."""
        self.cut.clear()
        self.loss = self.duplicate = self.late = 0.0
