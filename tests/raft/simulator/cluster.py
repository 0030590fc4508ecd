"""One run: a cluster from a seed, a minute of faults, then health and progress."""

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

from core.raft import log
from core.raft.founding import found
from core.raft.members import Members
from core.raft.messages import HardState
from tests.raft.simulator import plan as plans
from tests.raft.simulator.admin import Admin
from tests.raft.simulator.checker import Violation
from tests.raft.simulator.clients import Clients
from tests.raft.simulator.disk import Disk
from tests.raft.simulator.faults import KINDS, Faults
from tests.raft.simulator.hardware import Hardware
from tests.raft.simulator.letters import Query, Write
from tests.raft.simulator.network import SECONDS_LATE
from tests.raft.simulator.process import Process
from tests.raft.simulator.state import State
from tests.raft.simulator.totals import Totals
from tests.raft.simulator.world import World

MINUTE = 60.0
PATIENCE = 40
"""Elections' times within which a healed cluster must have made progress."""
STEADY = 6
"""Elections' times during which it must keep its leader then."""
SUPERVISED = 0.05
"""Seconds between two looks at who is down."""


NOTHING = State(0, 0, 0, 0, 0, Members())


def founded(plan: plans.Plan, founders: tuple[int, ...]) -> State:
    """What a cluster begins with: nothing, or what an older one left."""
    return State(plan.founded, 1, 0, 0, 0, Members(founders)) if plan.founded else NOTHING


def founding_disk(plan: plans.Plan, founders: tuple[int, ...]) -> Disk:
    """What each founder has on its disk before its first start."""
    if plan.founded:
        return Disk(founded(plan, founders), (), HardState(1, 0, plan.founded))
    entry, hard_state = found(founders)
    return Disk(NOTHING, (entry,), hard_state)


class Cluster:
    """All members of one run, with what happens to them."""

    def __init__(self, seed: int, *, traced: bool = False) -> None:
        random = Random(seed)
        plan = plans.draw(random, len(KINDS))
        founders = tuple(range(1, plan.voters + 1))
        self.world = World(random, plan, founded(plan, founders), traced=traced)
        self.hardware: dict[int, Hardware] = {}
        self.processes: dict[int, Process] = {}
        """The last one of each member."""
        self._watched: set[int] = set()
        for member in founders:
            self._add(member, founding_disk(plan, founders))
        self.clients = Clients(self.world, self.processes)
        self.admin = Admin(self.world, self.processes, self.join)
        self.faults = Faults(self)
        self.world.loop.at(SUPERVISED, self._restart_the_dead)

    def _add(self, member: int, disk: Disk) -> None:
        world, random = self.world, self.world.random
        world.checker.disks[member] = disk
        in_line = random.random() < 0.5
        self.hardware[member] = Hardware(member, disk, world.loop, random, world.plan.save, in_line)
        self.processes[member] = Process(self.hardware[member], world)

    def join(self) -> int:
        """A new member, that has nothing and knows of nobody."""
        member = len(self.hardware) + 1
        self._add(member, Disk(NOTHING, (), HardState()))
        return member

    def _restart_the_dead(self, _: None) -> None:
        """Whoever supervises them does so after a while."""
        random, chance = self.world.random, SUPERVISED / self.world.plan.down
        self.world.loop.at(SUPERVISED, self._restart_the_dead)
        for member, process in self.processes.items():
            if process.dead and not self.hardware[member].removed and random.random() < chance:
                self._restart(member)

    def _restart(self, member: int) -> None:
        self.world.note(f"{member} starts")
        self.processes[member] = Process(self.hardware[member], self.world)

    # The two phases

    def run(self) -> Totals:
        """Both; the figures. Violation, or whatever raft itself raises, if something is wrong."""
        world = self.world
        world.loop.run(MINUTE)
        self._heal()
        self._require_progress()
        world.totals.seeds = 1
        world.totals.seconds = world.loop.now
        world.totals.steps = world.loop.steps
        return world.totals

    def _heal(self) -> None:
        """Nothing goes wrong any more, and all members run. Those that were removed and live on do so, too."""
        self.world.note("heal")
        self.clients.stopped = self.admin.stopped = self.faults.stopped = True
        self.world.network.heal()
        self.world.channel.failure = 0.0
        for member, hardware in self.hardware.items():
            hardware.slowness = hardware.tick_factor = 1.0
            hardware.full = False
            process = self.processes[member]
            process.fuse = 0
            if not process.dead and process.asleep_until > self.world.loop.now:
                process.sleep(0.0)
            if process.dead and not hardware.removed:
                self._restart(member)

    def _require_progress(self) -> None:
        """A leader that stays, a write and reads that succeed, and all members as far as the leader; all that once
        what was late has come."""
        world = self.world
        election = world.plan.tick * world.plan.settings.election_ticks
        world.loop.run(world.loop.now + SECONDS_LATE)
        deadline = world.loop.now + PATIENCE * election
        index = 0
        while not (index and self._all_have(index)):
            if world.loop.now > deadline:
                raise Violation(f"healed, and yet no progress: {self._describe()}")
            if not index:
                index = self._try_to_write()
            world.loop.run(world.loop.now + world.plan.tick)
        terms = {process.raft.term for process in self._configured()}
        self._require_reads(deadline)
        world.loop.run(world.loop.now + STEADY * election)
        if len(terms) != 1 or {process.raft.term for process in self._configured()} != terms:
            raise Violation(f"healed, and yet the lead moves, from terms {terms}: {self._describe()}")

    def _try_to_write(self) -> int:
        """The index of an acknowledged write; 0: not yet."""
        leader, world = self.admin.leader(), self.world
        if leader is None:
            return 0
        before = world.totals.writes
        leader.receive(0, Write(world.number()))
        world.loop.run(world.loop.now + 3 * world.plan.tick)
        return world.checker.seen if world.totals.writes > before else 0

    def _configured(self) -> list[Process]:
        members = self.world.checker.states[-1].members.all
        return [self.processes[member] for member in members]

    def _all_have(self, index: int) -> bool:
        return all(process.state.index >= index for process in self._configured())

    def _require_reads(self, deadline: float) -> None:
        """One at each member."""
        world = self.world
        before, asked = world.totals.reads, self._configured()
        for process in asked:
            process.receive(0, Query(world.number()))
        while world.totals.reads < before + len(asked):
            if world.loop.now > deadline:
                raise Violation(f"healed, and yet {len(asked)} reads got {world.totals.reads - before} answers")
            world.loop.run(world.loop.now + world.plan.tick)

    def _describe(self) -> str:
        return "; ".join(
            f"{member}: {'dead' if process.dead else process.raft.role.value} term {process.raft.term} leader "
            f"{process.raft.leader} log {process.raft.last_index} commit {process.raft.commit} applied "
            f"{process.state.index} voters {process.raft.members.voters} learners {process.raft.members.learners}"
            for member, process in self.processes.items()
        )


@contextmanager
def kept_bytes(size: int) -> Iterator[None]:
    """How many bytes of saved entries members keep in memory: few, so that they read from their storage."""
    before = log.KEPT_BYTES
    log.KEPT_BYTES = size
    try:
        yield
    finally:
        log.KEPT_BYTES = before


def run(seed: int) -> Totals:
    """One seed from the beginning to the end."""
    cluster = Cluster(seed)
    with kept_bytes(cluster.world.plan.kept_bytes):
        return cluster.run()
