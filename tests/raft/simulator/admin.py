"""An operator: adds, promotes, removes and replaces members, and moves the lead, whatever else is going on."""

from collections.abc import Callable

from core.raft.members import Members, Standing
from tests.raft.simulator.letters import Change, HandOver
from tests.raft.simulator.process import Process
from tests.raft.simulator.world import World

MOST = 14
"""Members there ever are in one run."""


class Admin:
    """Acts until told to stop."""

    def __init__(self, world: World, processes: dict[int, Process], add: Callable[[], int]) -> None:
        """`add` starts a member that belongs to no cluster yet, and returns its id."""
        self.stopped = False
        self._world = world
        self._processes = processes
        self._add = add
        self._wait()

    def leader(self) -> Process | None:
        """Who leads in the highest term."""
        leaders = [process for process in self._processes.values() if not process.dead and process.raft.lead]
        return max(leaders, key=lambda process: process.raft.term, default=None)

    def _wait(self) -> None:
        self._world.loop.at(self._world.plan.between_changes * (0.5 + self._world.random.random()), self._act)

    def _act(self, _: None) -> None:
        if self.stopped:
            return
        self._wait()
        leader, random = self.leader(), self._world.random
        if leader is None:
            return
        members = leader.raft.members
        if random.random() < 0.25:
            self.move_lead(leader)
            return
        leader.receive(0, self._next(members))
        if random.random() < 0.2 and not leader.dead:
            leader.receive(0, self._next(members))  # at once: it must be refused

    def move_lead(self, leader: Process) -> None:
        """To anybody; a learner must be refused."""
        members = leader.raft.members
        leader.receive(0, HandOver(self._world.random.choice(members.all)))

    def _next(self, members: Members) -> Change:
        """One step from these members towards as many voters as there should be."""
        random, wanted = self._world.random, self._world.plan.target
        if members.learners and random.random() < 0.7:
            learner = random.choice(members.learners)
            return Change(learner, Standing.VOTER if random.random() < 0.85 else Standing.NONE)
        voters, too_many = len(members.voters), len(self._processes) >= MOST
        if voters > 1 and (too_many or voters > wanted or (voters == wanted and random.random() < 0.5)):
            return Change(random.choice(members.voters), Standing.NONE)
        if too_many:
            return Change(random.choice(members.voters), Standing.VOTER)
        return Change(self._add(), Standing.LEARNER if random.random() < 0.8 else Standing.VOTER, joins=True)
