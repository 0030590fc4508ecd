"""The slow channel that carries snapshots with their state: it may fail, and bring one twice."""

from random import Random

from core.raft.messages import InstallSnapshot, Snapshot
from tests.raft.simulator.letters import Outcome, Parcel
from tests.raft.simulator.loop import Loop
from tests.raft.simulator.network import Network
from tests.raft.simulator.plan import Plan
from tests.raft.simulator.state import State


class SnapshotChannel:
    """Connections of their own beside the network's, cut by the same partitions."""

    def __init__(self, loop: Loop, network: Network, random: Random, plan: Plan) -> None:
        self.failure = plan.snapshot_failure
        self.seconds = 1.5
        """How long a transfer takes, at most."""
        self._loop = loop
        self._network = network
        self._random = random

    def carry(self, sender: int, receiver: int, parcel: Parcel) -> None:
        """Bring it, or not, and tell the sender how it ended."""
        self._loop.at(self.seconds * self._random.random(), self._arrive, (sender, receiver, parcel))

    def _arrive(self, transfer: tuple[int, int, Parcel]) -> None:
        sender, receiver, parcel = transfer
        receive = self._network.inboxes.get(receiver)
        cut = (sender, receiver) in self._network.cut
        arrived = receive is not None and not cut and self._random.random() >= self.failure
        if arrived and receive is not None:
            receive(sender, parcel)
            if self._random.random() < self.failure:
                self._loop.at(self._random.random(), self._bring_again, transfer)
        self._loop.at(self._random.random() * 0.1, self._tell, (sender, Outcome(receiver, arrived)))

    def _bring_again(self, transfer: tuple[int, int, Parcel]) -> None:
        sender, receiver, parcel = transfer
        receive = self._network.inboxes.get(receiver)
        if receive is not None:
            receive(sender, parcel)

    def _tell(self, told: tuple[int, Outcome]) -> None:
        sender, outcome = told
        receive = self._network.inboxes.get(sender)
        if receive is not None:
            receive(sender, outcome)


def parcel(message: InstallSnapshot, state: State) -> Parcel:
    """The message with a state, which may be newer than what it was written for."""
    return Parcel(InstallSnapshot(message.term, Snapshot(state.index, state.term, state.members)), state)
