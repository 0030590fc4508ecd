"""Engines and agents on a store that fails, hosts that die, networks that part: whole worlds from a seed.

    .venv/bin/python -m tests.units.simulator --seeds 100 [--first 1] [--bad NAME]

A world lives through some minutes of trouble, then is healed, and is given time to come to rest. What must hold:
1. every unit that can be placed runs in the end, once (a global one on every host), with its present text;
2. nothing was stopped without a reason: an operator's word, a host that counted as gone, a drain, an old snapshot;
3. whoever did not lead changed no placement, header or generation, and no unit was placed twice;
4. no unit was started while it ran elsewhere, unless that host was away or had its time to stop it.
A world is reproduced by its seed.
"""

import argparse
import logging
import random
import sys
import time
from collections.abc import Callable

import msgspec
import trio
from trio.testing import MockClock

from core.agent.agent import Agent
from core.agent.options import Options
from core.client import Delete, Event, Put
from core.engine.engine import Engine
from core.engine.term import Term
from core.sched import keys, unit_text
from core.sched.records import Drain, HostRecord, Machine, Placement, UnitRecord, decode, encode
from tests.units.executor import Deed, FakeExecutor, FakeHost, FakeMemory
from tests.units.store import Cluster, Door, Trouble

TTL = 30
GRACE = 45.0
"""Seconds that a unit may run twice after its host was heard of again: a lease, another reading of placements, a
round."""
TROUBLE_SECONDS = 400.0
REST_SECONDS = 330.0
HOSTS = 5
ENGINES = 3
MISFORTUNES = (
    "kill", "cut", "crash", "part-engine", "restart-engine", "compact", "watches", "election", "operator", "operator",
    "drain", "systemd", "shaky", "restore",
)  # fmt: skip


class Kinds(msgspec.Struct, frozen=True):
    """What runs in a world; a broken variant replaces one of them."""

    agent: type[Agent] = Agent
    term: type[Term] = Term
    wipe: bool = False
    """Whether the registry is emptied near the end."""
    misfortunes: tuple[str, ...] = MISFORTUNES
    """What may happen."""
    pace: float = 40.0
    """Seconds between two misfortunes, at most."""
    late: float = 4.0
    """How many seconds late a write whose answer was lost may be carried out."""


class Node:
    """A host with its agent, which may be dead, cut off, or ending."""

    def __init__(self, world: "World", number: int) -> None:
        self.world = world
        self.host = FakeHost(f"{number:032x}", world.ledger, world.chance)
        self.door = Door(world.cluster, world.chance, world.nursery, world.trouble)
        self.scope = trio.CancelScope()
        self.agent: Agent | None = None
        self.up = False
        self.uneasy = -1e9
        """When it was last cut off, dead, or without an agent."""

    async def run_agent(self) -> None:
        machine = Machine(self.host.machine, name=self.host.machine[-2:], boot_id=str(self.host.boot))
        options = Options(machine=machine, ttl=TTL, on_stop="leave")
        seed = random.Random(self.world.chance.random())
        self.agent = self.world.kinds.agent(
            self.door, FakeExecutor(self.host), options, FakeMemory(self.host), chance=seed
        )
        self.up = True
        with trio.CancelScope() as self.scope:
            await self.agent.run()

    def start(self) -> None:
        self.world.nursery.start_soon(self.run_agent)

    def end(self) -> None:
        self.up = False
        self.scope.cancel()


class World:
    """One life of a cluster."""

    def __init__(self, seed: int, kinds: Kinds, nursery: trio.Nursery) -> None:
        self.chance = random.Random(seed)
        self.kinds = kinds
        self.nursery = nursery
        self.cluster = Cluster()
        self.trouble = Trouble(late=kinds.late)
        self.ledger: list[Deed] = []
        self.faults: list[str] = []
        self.nodes = [Node(self, number) for number in range(1, HOSTS + 1)]
        self.engines = [Door(self.cluster, self.chance, nursery, self.trouble) for _ in range(ENGINES)]
        self.scopes = [trio.CancelScope() for _ in self.engines]
        self.units: dict[str, str] = {}
        """By name: the text the operator wants."""
        self.touched: dict[str, float] = {}
        """By unit: when the operator last said something about it."""
        self.shaken: dict[str, float] = {}
        """By machine: when there last was a reason to move its units."""
        self.doubled: dict[str, float] = {}
        """By unit: when it was last seen on more than one host."""
        self.left_behind: set[tuple[str, str]] = set()
        """Units on machines they were moved away from when those were away, or had had their time to stop them."""
        self.restored = -1e9
        self.wiped = -1e9
        self.done: list[str] = []

    def fault(self, what: str) -> None:
        self.faults.append(f"at {trio.current_time():.1f} s: {what}")

    # What operators do

    def write(self, key: bytes, value: bytes | None) -> None:
        self.cluster.execute(Delete(key) if value is None else Put(key, value))

    def submit(self, name: str, text: str) -> None:
        digest = unit_text.digest(text.encode())
        self.write(keys.text(digest), text.encode())
        self.write(keys.unit(name), encode(UnitRecord(digest, "launched")))
        self.units[name] = text
        self.touched[name] = trio.current_time()

    def destroy(self, name: str) -> None:
        self.write(keys.unit(name), None)
        self.touched[name] = trio.current_time()
        del self.units[name]

    def populate(self) -> None:
        for number in range(self.chance.randrange(6, 16)):
            self.submit(f"u{number}.service", self.text())
        self.submit("all.service", self.text("Global=true"))
        self.submit("stubborn.service", self.text())
        self.submit("here.service", self.text(f"MachineID={self.nodes[0].host.machine}"))
        self.submit("with.service", self.text("MachineOf=here.service"))
        self.submit("never.service", self.text("MachineMetadata=nobody=has"))

    def text(self, more: str = "") -> str:
        return f"[Service]\nExecStart=/bin/x {self.chance.randrange(10**6)}\n[X-Fleet]\n{more}\n"

    # Trouble

    async def engine(self, number: int) -> None:
        name = f"engine{number}"
        one = Engine(self.engines[number], name, "c1", now=trio.current_time, term=self.kinds.term)
        with trio.CancelScope() as self.scopes[number]:
            await one.run()

    async def misfortune(self) -> None:
        """One thing goes wrong."""
        node = self.chance.choice(self.nodes)
        number = self.chance.randrange(ENGINES)
        what = self.chance.choice(self.kinds.misfortunes)
        self.done.append(f"{trio.current_time():.1f} {what} {node.host.machine[-2:]} {number}")
        match what:
            case "kill":
                await self.kill(node)
            case "cut":
                await self.cut(node)
            case "crash":
                if node.up:
                    node.end()
                    await trio.sleep(self.chance.random() * 10)
                    node.start()
            case "part-engine":
                self.engines[number].cut = True
                await trio.sleep(self.chance.random() * 60)
                self.engines[number].cut = False
            case "restart-engine":
                self.scopes[number].cancel()
                await trio.sleep(self.chance.random() * 20)
                self.nursery.start_soon(self.engine, number)
            case "compact":
                self.cluster.compact()
            case "watches":
                for door in [each.door for each in self.nodes] + self.engines:
                    door.break_watches()
            case "election":
                self.cluster.election()
            case "operator":
                self.operate()
            case "drain":
                self.shaken[node.host.machine] = trio.current_time()
                self.write(keys.host(node.host.machine), encode(HostRecord({}, "", Drain(0, 2))))
                await trio.sleep(self.chance.random() * 100)
                self.shaken[node.host.machine] = trio.current_time()
                self.write(keys.host(node.host.machine), None)
            case "systemd":
                node.host.gone = True
                await trio.sleep(self.chance.random() * 30)
                node.host.gone = False
            case "shaky":
                self.trouble.unknown = self.trouble.lost = 0.3
                await trio.sleep(self.chance.random() * 40)
                self.trouble.unknown = self.trouble.lost = 0.02
            case "restore":
                await self.restore()

    async def kill(self, node: Node) -> None:
        if not node.up:
            return
        node.end()
        node.host.kill()
        self.uneasy(node)
        await trio.sleep(self.chance.random() * 90)
        self.uneasy(node)
        node.start()

    async def cut(self, node: Node) -> None:
        node.door.cut = True
        end = trio.current_time() + self.chance.random() * 120
        while trio.current_time() < end:
            self.uneasy(node)
            await trio.sleep(1)
        node.door.cut = False
        self.uneasy(node)

    def uneasy(self, node: Node) -> None:
        node.uneasy = self.shaken[node.host.machine] = trio.current_time()

    def operate(self) -> None:
        name = self.chance.choice(sorted(name for name in self.units if name.startswith("u")) or ["u0.service"])
        match self.chance.randrange(3):
            case 0:
                if name in self.units and len(self.units) > 8:
                    self.destroy(name)
            case 1:
                self.submit(name, self.text())
            case _:
                self.submit(f"u{self.chance.randrange(100, 999)}.service", self.text())

    async def restore(self) -> None:
        """The store goes back some time; what operators said since is lost, and they know it."""
        old, units = self.cluster.snapshot(), dict(self.units)
        await trio.sleep(self.chance.random() * 60 + 5)
        for name in set(units) ^ set(self.units) | {n for n in units if units.get(n) != self.units.get(n)}:
            self.touched[name] = trio.current_time() + story_seconds()
        self.units = units
        self.cluster.restore(old)
        self.restored = trio.current_time()

    # What must hold

    def observe(self, event: Event) -> None:
        """Each change, as it is made. Only who leads writes what is the engine's."""
        place = keys.parse(event.kv.key)
        if place and place.kind in (keys.Kind.PLACEMENT, keys.Kind.HEADER, keys.Kind.GENERATION):
            writer = self.cluster.writer
            leader = self.leader()
            if writer is None or writer not in self.engines:
                return
            if leader is None or leader != f"engine{self.engines.index(writer)}".encode():
                self.fault(f"{event.kv.key!r} was written by engine{self.engines.index(writer)}, but {leader!r} leads")
            if place.kind is keys.Kind.PLACEMENT and event.kind == "put" and place.name != "all.service":
                behind = b"/" + place.name.encode()
                both = [key for key in self.cluster.kvs if key.startswith(keys.PLACEMENTS) and key.endswith(behind)]
                if len(both) > 1:
                    self.fault(f"{place.name} was placed twice")
                if event.previous is not None:
                    before, now = decode(Placement, event.previous.value), decode(Placement, event.kv.value)
                    for machine in set(before.after) - set(now.after):
                        if before.until <= trio.current_time() or keys.machine(machine) not in self.cluster.kvs:
                            self.left_behind.add((place.name, machine))
            if event.kind == "delete" and keys.machine(place.machine) not in self.cluster.kvs:
                self.left_behind.add((place.name, place.machine))

    def leader(self) -> bytes | None:
        stand = [kv for key, kv in self.cluster.kvs.items() if key.startswith(keys.LEADER + b"/")]
        return min(stand, key=lambda kv: kv.create_revision).value if stand else None

    async def watch_over(self) -> None:
        """Units that stop, and units that run twice."""
        seen = 0
        running: dict[str, set[str]] = {}
        while True:
            await trio.sleep(0.5)
            for deed in self.ledger[seen:]:
                where = running.setdefault(deed.name, set())
                match deed.what:
                    case "up":
                        self.judge_start(deed, where)
                        where.add(deed.machine)
                    case "down":
                        self.judge_stop(deed)
                        where.discard(deed.machine)
                    case "killed":
                        where.discard(deed.machine)
            seen = len(self.ledger)
            twice = [name for name, where in running.items() if len(where) > 1]
            self.doubled.update(dict.fromkeys(twice, trio.current_time()))

    def judge_start(self, deed: Deed, where: set[str]) -> None:
        """A unit is started where it runs nowhere else, but on a host that was away when it was placed elsewhere, or
        that has had its time to stop it."""
        now = trio.current_time()
        self.left_behind.discard((deed.name, deed.machine))
        if deed.name == "all.service" or now - self.restored < 2 * story_seconds():
            return
        for machine in sorted(where - {deed.machine}):
            if (deed.name, machine) not in self.left_behind:
                here, there = deed.machine[-2:], machine[-2:]
                self.fault(f"{deed.name} was started on {here} at {deed.at:.1f} s while it ran on {there}")

    def judge_stop(self, deed: Deed) -> None:
        """A stop has a reason: an operator's word, or one to move it."""
        now = trio.current_time()
        reasons = [
            now - self.touched.get(deed.name, -1e9) < 200,
            now - self.shaken.get(deed.machine, -1e9) < 200,
            now - self.restored < 200 and now - self.doubled.get(deed.name, -1e9) < 100,  # a slow stop takes 90 s
            deed.name not in self.units,
            deed.name == "with.service" and now - self.touched.get("here.service", -1e9) < 200,
        ]
        if not any(reasons):
            self.fault(f"{deed.name} was stopped on {deed.machine[-2:]} at {deed.at:.1f} s without a reason")

    def judge_end(self) -> None:
        for name, text in sorted(self.units.items()):
            digest = unit_text.digest(text.encode())
            where = [node for node in self.nodes if name in node.host.running()]
            wanted = HOSTS if name == "all.service" else 0 if name == "never.service" else 1
            if len(where) != wanted:
                self.fault(f"{name} runs on {len(where)} hosts in the end, not on {wanted}: {self.story_of(name)}")
            elif any(node.host.units[name].text != digest for node in where):
                self.fault(f"{name} does not run its present text in the end")
            for node in where:
                if keys.state(node.host.machine, name) not in self.cluster.kvs:
                    self.fault(f"{name} runs on {node.host.machine[-2:]} in the end, and its host does not say so")
        extra = {name for node in self.nodes for name in node.host.units} - set(self.units)
        if extra:
            self.fault(f"{', '.join(sorted(extra))} run in the end although nobody wants them")

    def story_of(self, name: str) -> str:
        found = []
        for key, kv in sorted(self.cluster.kvs.items()):
            place = keys.parse(key)
            if place and place.name == name and place.kind is keys.Kind.PLACEMENT:
                found.append(f"placed on {place.machine[-2:]} ({decode(Placement, kv.value).why})")
        doubts = [node.agent.figures.doubt for node in self.nodes if node.agent and node.agent.figures.doubt]
        return "; ".join(found + doubts) or "placed nowhere"

    # A life

    async def live(self) -> None:
        self.cluster.observers.append(self.observe)
        self.nursery.start_soon(self.cluster.run)
        for number in range(ENGINES):
            self.nursery.start_soon(self.engine, number)
        for node in self.nodes:
            self.uneasy(node)
            node.start()
        self.populate()
        await trio.sleep(20)
        self.trouble.unknown = self.trouble.lost = 0.02
        self.nursery.start_soon(self.watch_over)
        async with trio.open_nursery() as troubles:
            end = trio.current_time() + TROUBLE_SECONDS
            while trio.current_time() < end:
                await trio.sleep(self.chance.random() * self.kinds.pace)
                troubles.start_soon(self.misfortune)
        self.trouble.unknown = self.trouble.lost = 0.0
        for node in self.nodes:
            self.write(keys.host(node.host.machine), None)
        if self.kinds.wipe:
            await self.wipe()
        await trio.sleep(REST_SECONDS)
        self.judge_end()

    async def wipe(self) -> None:
        """Everything of ours vanishes from the store, and is written again by hand much later."""
        await trio.sleep(200)
        self.done.append(f"{trio.current_time():.1f} wipe")
        before = {node: node.host.running() for node in self.nodes}
        for key in [key for key in self.cluster.kvs if key.startswith(keys.PREFIX)]:
            self.write(key, None)
        await trio.sleep(200)
        for node, names in before.items():
            if names - node.host.running():
                self.fault(f"{', '.join(sorted(names - node.host.running()))} stopped because the registry was emptied")
        for name, text in list(self.units.items()):
            self.submit(name, text)


def story_seconds() -> float:
    """How long a restored store is given until all have noticed."""
    return 120.0


def run(seed: int, kinds: Kinds = Kinds()) -> tuple[list[str], World]:  # noqa: B008 - frozen
    """The faults of one world, and what became of it."""
    worlds: list[World] = []

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            world = World(seed, kinds, nursery)
            worlds.append(world)
            await world.live()
            nursery.cancel_scope.cancel()

    monkey = trio._core._run
    setattr(monkey, "_ALLOW_DETERMINISTIC_SCHEDULING", True)  # noqa: B010 - Trio has no other switch for it
    monkey._r.seed(seed)
    trio.run(main, clock=MockClock(autojump_threshold=0))
    return worlds[0].faults, worlds[0]


def survey(seeds: range, kinds: Kinds, tell: Callable[[str], None]) -> int:
    """Run worlds; how many of them had faults. Ends with the line of figures."""
    began, bad, deeds, writes, trouble = time.perf_counter(), 0, 0, 0, 0
    for seed in seeds:
        faults, world = run(seed, kinds)
        deeds += len(world.ledger)
        writes += world.cluster.revision
        trouble += len(world.done)
        if faults:
            bad += 1
            tell(f"seed {seed}: " + "\n  ".join(faults[:5]) + "\n  after: " + "; ".join(world.done))
    spent = time.perf_counter() - began
    tell(
        f"{len(seeds)} worlds from seed {seeds.start} ({HOSTS} hosts, {ENGINES} engines each): {trouble} misfortunes,"
        f" {writes} revisions, {deeds} loads, starts and stops, {bad} worlds with faults, {spent:.1f} s"
    )
    return bad


def main() -> None:
    parser = argparse.ArgumentParser(description="Worlds of engines, agents and failing stores.")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--wipe", action="store_true", help="empty the registry near the end of each world")
    parser.add_argument("--verbose", action="store_true", help="the log of engines and agents, on stderr")
    arguments = parser.parse_args()
    if arguments.verbose:
        logging.basicConfig(level=logging.INFO, format="%(name)s %(message)s")
    else:
        logging.disable(logging.CRITICAL)
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    sys.exit(bool(survey(seeds, Kinds(wipe=arguments.wipe), print)))


if __name__ == "__main__":
    main()
