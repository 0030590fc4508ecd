"""What goes wrong, and when it ends."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.raft.simulator.process import Process

if TYPE_CHECKING:
    from tests.raft.simulator.cluster import Cluster


class Faults:
    """Lets things go wrong until told to stop. What it broke by then, the cluster repairs when it heals."""

    def __init__(self, cluster: "Cluster") -> None:
        self.stopped = False
        self._cluster = cluster
        self._world = cluster.world
        self._random = cluster.world.random
        kinds = [KINDS[kind] for kind in sorted(cluster.world.plan.faults)]
        self._kinds = kinds or [KINDS[0]]
        self._wait()

    def _wait(self) -> None:
        self._world.loop.at(self._world.plan.between_faults * 2 * self._random.random(), self._act)

    def _act(self, _: None) -> None:
        if self.stopped:
            return
        self._wait()
        kind = self._random.choice(self._kinds)
        self._world.note(f"fault: {kind.__name__}")
        kind(self)

    def _somebody(self) -> Process | None:
        """A process that runs; often the leader, where faults are most interesting."""
        alive = [process for process in self._cluster.processes.values() if not process.dead]
        leaders = [process for process in alive if process.raft.lead]
        if leaders and self._random.random() < 0.4:
            return self._random.choice(leaders)
        return self._random.choice(alive) if alive else None

    def _seconds(self, most: float) -> float:
        """Mostly short."""
        return most * self._random.random() ** 2

    # Processes

    def crash(self) -> None:
        """Die at some point of the turns that come; start again later."""
        process = self._somebody()
        if process is None:
            return
        if self._random.random() < 0.3:
            process.crash()
        else:
            process.fuse = self._random.randrange(1, 30)

    def contest(self) -> None:
        """The leader dies, and the others at some point of the election that follows."""
        self._disturb(3.0, loss=0.05, late=0.5)
        for process in list(self._cluster.processes.values()):
            if process.dead:
                continue
            if process.raft.lead:
                process.crash()
            elif self._random.random() < 0.7:
                process.fuse = self._random.randrange(1, 12)

    def power_cut(self) -> None:
        """All die at once."""
        for process in self._cluster.processes.values():
            if not process.dead:
                process.crash()

    def pause(self) -> None:
        process = self._somebody()
        if process is not None and not process.busy:
            process.sleep(self._seconds(8.0))
            self._world.totals.pauses += 1

    # Network

    def _cut(self, links: list[tuple[int, int]]) -> None:
        network = self._world.network
        fresh = [] if self.stopped else [link for link in links if link not in network.cut]
        network.cut.update(fresh)
        self._world.totals.partitions += 1
        self._world.note(f"cut: {fresh}")
        for sender, receiver in fresh:
            if (sender + receiver) % 3 == 0:  # some connections break, others fall silent
                network.break_off(sender, receiver)
        self._world.loop.at(0.2 + self._seconds(10.0), lambda _: network.cut.difference_update(fresh))

    def split(self) -> None:
        """Two sides, and nothing between them."""
        side = {member for member in self._cluster.processes if self._random.random() < 0.5}
        self._cut(
            [(a, b) for a in self._cluster.processes for b in self._cluster.processes if (a in side) != (b in side)]
        )

    def isolate(self) -> None:
        process = self._somebody()
        if process is not None:
            others = [member for member in self._cluster.processes if member != process.member]
            self._cut([(process.member, other) for other in others] + [(other, process.member) for other in others])

    def deafen(self) -> None:
        """It is heard and hears nothing, or the other way round."""
        process = self._somebody()
        if process is not None:
            others = [member for member in self._cluster.processes if member != process.member]
            deaf = self._random.random() < 0.5
            self._cut([(other, process.member) if deaf else (process.member, other) for other in others])

    def strand(self) -> None:
        """A leader is heard no more, or hears nothing either, and is asked all the time before and after."""
        leaders = [process for process in self._cluster.processes.values() if not process.dead and process.raft.lead]
        if not leaders:
            return
        leader = self._random.choice(leaders)
        others = [member for member in self._cluster.processes if member != leader.member]
        links = [(leader.member, other) for other in others]
        if self._random.random() < 0.3:
            links += [(other, leader.member) for other in others]
        self._world.loop.at(0.5, lambda _: self._cut(links))
        self._cluster.clients.question(leader, self._random.randrange(40, 100))

    def cut_links(self) -> None:
        """Some links, each direction for itself."""
        members = list(self._cluster.processes)
        self._cut([(a, b) for a in members for b in members if a != b and self._random.random() < 0.3])

    def storm(self) -> None:
        """For a while much is lost, and much comes late or twice."""
        self._disturb(self._seconds(6.0), loss=0.3, late=0.1)

    def _disturb(self, seconds: float, loss: float, late: float) -> None:
        network, plan = self._world.network, self._world.plan
        network.loss, network.late, network.duplicate = loss, late, 0.1

        def calm(_: None) -> None:
            if not self.stopped:
                network.loss, network.late, network.duplicate = plan.loss, plan.late, plan.duplicate

        self._world.loop.at(seconds, calm)

    # Machines

    def slow_disk(self) -> None:
        process = self._somebody()
        if process is not None:
            hardware = process.hardware
            hardware.slowness = 0.8 / hardware.save_seconds * self._random.random()
            self._world.loop.at(self._seconds(8.0), lambda _: setattr(hardware, "slowness", 1.0))

    def full_disk(self) -> None:
        process = self._somebody()
        if process is not None:
            hardware = process.hardware
            hardware.full = True
            self._world.loop.at(self._seconds(6.0), lambda _: setattr(hardware, "full", False))

    def step_clock(self) -> None:
        """Somebody sets the wall clock."""
        process = self._somebody()
        if process is not None:
            process.hardware.wall_offset += self._random.uniform(-5000, 5000)
            process.clock.follow_wall()

    def uneven_ticks(self) -> None:
        process = self._somebody()
        if process is not None:
            hardware = process.hardware
            hardware.tick_factor = self._random.uniform(0.3, 3.0)
            self._world.loop.at(self._seconds(10.0), lambda _: setattr(hardware, "tick_factor", 1.0))

    # People

    def burst(self) -> None:
        self._cluster.clients.burst()

    def move_lead(self) -> None:
        leader = self._cluster.admin.leader()
        if leader is not None:
            self._cluster.admin.move_lead(leader)


KINDS: tuple[Callable[[Faults], None], ...] = (
    Faults.crash, Faults.contest, Faults.power_cut, Faults.pause, Faults.split, Faults.isolate, Faults.deafen,
    Faults.strand, Faults.cut_links, Faults.storm, Faults.slow_disk, Faults.full_disk, Faults.step_clock,
    Faults.uneven_ticks, Faults.burst, Faults.move_lead,
)  # fmt: skip
