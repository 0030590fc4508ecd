"""Clients: they write and read at whatever member they happen to find."""

from tests.raft.simulator.letters import Query, Write
from tests.raft.simulator.process import Process
from tests.raft.simulator.world import World

READS = 0.4
"""Their share of the requests."""


class Clients:
    """Ask until told to stop."""

    def __init__(self, world: World, processes: dict[int, Process]) -> None:
        self.stopped = False
        self._world = world
        self._processes = processes
        self._ask(None)

    def _ask(self, _: None) -> None:
        if self.stopped:
            return
        world, random = self._world, self._world.random
        world.loop.at(world.plan.between_requests * 2 * random.random(), self._ask)
        process = self._processes[random.choice(list(self._processes))]
        if process.dead:
            return
        if random.random() < READS:
            process.receive(0, Query(world.number()))
        else:
            process.receive(0, Write(world.number()))

    def question(self, process: Process, times: int) -> None:
        """Read at one member again and again, and write at another one."""
        if times and not process.dead and not self.stopped:
            process.receive(0, Query(self._world.number()))
            other = self._processes[self._world.random.choice(list(self._processes))]
            if not other.dead and times % 4 == 0:
                other.receive(0, Write(self._world.number()))
            self._world.loop.at(0.1 * self._world.random.random(), lambda _: self.question(process, times - 1))

    def burst(self) -> None:
        """Many writes at once, at the leader if there is one."""
        random = self._world.random
        leaders = [process for process in self._processes.values() if not process.dead and process.raft.lead]
        if leaders:
            process = random.choice(leaders)
            for _ in range(random.randrange(5, 60)):
                process.receive(0, Write(self._world.number()))
                if process.dead:
                    break
