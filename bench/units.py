"""Units on real nodes: how soon they run, how soon elsewhere, and what many hosts and many units cost.

    python -m bench.units [--only submit] [--hosts 1000] [--units 10000] [--dir build/bench] [--record]

Nodes on loopback, each with the embedded supervisor, HTTP over their unix sockets. fleet's bound stands beside each
figure that has one; README.md describes the method.
"""

import argparse
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import trio
from rich.console import Console
from rich.table import Table

from bench import history, schedule
from bench.fleet import Fleet, figures, longest_hold, nodes, observed
from bench.hosts import Following, host
from bench.programs import corenode
from bench.usage import anonymous_bytes, cpu_seconds
from core.client import Put, Store
from core.sched import keys
from core.sched.records import UnitState, encode
from core.sched.unit_text import digest
from tests.whole.servers import ROOT

SLEEPS = b"[Service]\nExecStart=/bin/sleep 1000\n"
TTL = "30s"
TUNED_TTL = "3s"
IDLE_SECONDS = 30.0
GOAL_HOLD = "goal 50 ms"
PUTS_AT_ONCE = 100
"""In one transaction; 128 are allowed."""


@dataclass(frozen=True)
class Figure:
    """One number, with the line to beat."""

    name: str
    value: float
    unit: str
    bound: str = ""
    """What fleet promised."""


@dataclass(frozen=True)
class Given:
    """How much of everything."""

    hosts: int
    units: int
    repeats: int


Row = Callable[[Path, Given], Awaitable[list[Figure]]]


# How soon


async def submit_one(home: Path, given: Given) -> list[Figure]:
    """A unit's way on one host."""
    return await _submit(home, 1, given)


async def submit_three(home: Path, given: Given) -> list[Figure]:
    """A unit's way on three."""
    return await _submit(home, 3, given)


async def _submit(home: Path, size: int, given: Given) -> list[Figure]:
    placed, ran = [], []
    async with nodes(home, size, executor="embedded", agent_ttl=TTL) as fleet:
        await _all_present(fleet, size)
        for number in range(given.repeats * 4):
            name = f"sleep{number}.service"
            began = time.monotonic()
            await fleet.submit(name, SLEEPS)
            await fleet.seen.until(lambda name=name: bool(fleet.seen.running.get(name)), f"{name} runs")  # type: ignore[misc]
            placed.append(next(iter(fleet.seen.placed[name].values())).at - began)
            ran.append(next(iter(fleet.seen.running[name].values())).at - began)
    hosts = "1 host" if size == 1 else f"{size} hosts"
    return [
        Figure(f"submit to placed, {hosts}, median", statistics.median(placed) * 1e3, "ms", "2 s"),
        Figure(f"submit to running, {hosts}, median", statistics.median(ran) * 1e3, "ms", "7 s and the start"),
        Figure(f"submit to running, {hosts}, longest", max(ran) * 1e3, "ms", "7 s and the start"),
    ]


async def death(home: Path, given: Given) -> list[Figure]:
    """A host dies that neither leads nor decides, with the default presence."""
    return [
        Figure("host dies to running elsewhere, presence 30 s", await _death(home, TTL), "s", "37 s and the start"),
    ]


async def death_tuned(home: Path, given: Given) -> list[Figure]:
    """The same with a short presence."""
    taken = [await _death(home / str(number), TUNED_TTL) for number in range(given.repeats)]
    return [
        Figure("host dies to running elsewhere, presence 3 s, median", statistics.median(taken), "s"),
        Figure("host dies to running elsewhere, presence 3 s, longest", max(taken), "s"),
    ]


async def _death(home: Path, ttl: str) -> float:
    async with nodes(home, 3, executor="embedded", agent_ttl=ttl) as fleet:
        await _all_present(fleet, 3)
        fleet.cluster.leader()
        names = [f"sleep{number}.service" for number in range(6)]
        for name in names:
            await fleet.submit(name, SLEEPS)
        await fleet.seen.until(lambda: all(fleet.seen.running.get(name) for name in names), "all run")
        victim = next(each for each in fleet.cluster.members[1:] if each.name != fleet.seen.engine.value)
        machine = fleet.machine_of(victim)
        theirs = [name for name in names if machine in fleet.seen.running[name]]
        async with observed(fleet):
            victim.kill()
            fleet.end_units(machine)
            killed = time.monotonic()
            await fleet.seen.until(
                lambda: all(_elsewhere(fleet, name, machine) for name in theirs), "they run elsewhere"
            )
            return max(_elsewhere(fleet, name, machine) for name in theirs) - killed


def _elsewhere(fleet: Fleet, name: str, machine: str) -> float:
    """Since when a unit runs on another machine; 0: it does not."""
    return next((told.at for where, told in fleet.seen.running.get(name, {}).items() if where != machine), 0.0)


async def engine(home: Path, given: Given) -> list[Figure]:
    """The host dies whose engine decides."""
    elected, placed = [], []
    for number in range(given.repeats):
        async with nodes(home / str(number), 3, executor="embedded", agent_ttl=TTL) as fleet:
            await _all_present(fleet, 3)
            await fleet.seen.until(lambda fleet=fleet: bool(fleet.seen.engine.value), "there is an engine")  # type: ignore[misc]
            victim = next(each for each in fleet.cluster.members if each.name == fleet.seen.engine.value)
            survivor = next(each for each in fleet.cluster.members if each is not victim)
            fleet.cluster.members.sort(key=lambda each, first=survivor: each is not first)  # type: ignore[misc]
            async with observed(fleet):
                victim.kill()
                killed = time.monotonic()
                await fleet.seen.until(
                    lambda fleet=fleet, dead=victim.name: fleet.seen.engine.value not in ("", dead),  # type: ignore[misc]
                    "another leads",
                )
                await _insist(fleet, "after.service")
                await fleet.seen.until(lambda fleet=fleet: bool(fleet.seen.placed.get("after.service")), "it is placed")  # type: ignore[misc]
                elected.append(fleet.seen.engine.at - killed)
                placed.append(next(iter(fleet.seen.placed["after.service"].values())).at - killed)
    return [
        Figure("engine's host dies to next engine, median", statistics.median(elected), "s", "12 s"),
        Figure("engine's host dies to placing again, median", statistics.median(placed), "s", "12 s"),
    ]


async def _insist(fleet: Fleet, name: str) -> None:
    """Submit although the cluster may be without a leader."""
    while True:
        try:
            await fleet.submit(name, SLEEPS)
        except ValueError:
            await trio.sleep(0.1)
        else:
            return


async def _all_present(fleet: Fleet, size: int) -> None:
    await fleet.seen.until(lambda: len(fleet.seen.machines) == size, f"{size} hosts are present")
    await trio.sleep(1.0)  # elections and first writes are over


# How much


async def idle(home: Path, given: Given) -> list[Figure]:
    """Agents that have nothing to do, all begun at once; then the node is killed and they all come back."""
    async with nodes(home, 1, executor="none", disable_engine="true") as fleet:
        node = fleet.door
        stores = [Following(f"unix://{node.socket}") for _ in range(given.hosts)]
        empty = anonymous_bytes(node.pid)
        async with trio.open_nursery() as hosts:
            cpu, began, before = cpu_seconds(node.pid), time.monotonic(), figures(node)
            for number, store in enumerate(stores):
                hosts.start_soon(host, number, store, 30)
            await fleet.seen.until(lambda: len(fleet.seen.machines) == given.hosts, "all are present")
            came, cost, hold = (
                time.monotonic() - began,
                cpu_seconds(node.pid) - cpu,
                longest_hold(before, figures(node)),
            )
            await trio.sleep(5.0)
            memory = anonymous_bytes(node.pid) - empty
            cpu, began, before = cpu_seconds(node.pid), time.monotonic(), figures(node)
            await trio.sleep(IDLE_SECONDS)
            after, seconds = figures(node), time.monotonic() - began
            load = (cpu_seconds(node.pid) - cpu) / seconds
            entries = (after["corenode_raft_applied_index"] - before["corenode_raft_applied_index"]) / seconds
            back, back_cost, back_hold = await _return(fleet, stores)
            hosts.cancel_scope.cancel()
    return [
        Figure(f"{given.hosts:,} hosts come at once: until all are present", came, "s"),
        Figure(f"{given.hosts:,} hosts come at once: the node's CPU", cost, "s"),
        Figure(f"{given.hosts:,} hosts come at once: longest hold of the loop", hold * 1e3, "ms of CPU", GOAL_HOLD),
        Figure(f"{given.hosts:,} idle hosts: the node's CPU", load * 100, "% of a core", "100 hosts"),
        Figure(
            f"{given.hosts:,} idle hosts: longest hold of the loop",
            longest_hold(before, after) * 1e3,
            "ms of CPU",
            GOAL_HOLD,
        ),
        Figure(f"{given.hosts:,} idle hosts: log entries", entries, "/s"),
        Figure("an idle host: memory of the node", memory / given.hosts / 1024, "KiB"),
        Figure(f"the node is killed and back: until {given.hosts:,} hosts watch again", back, "s"),
        Figure(f"the node is killed and back: its CPU until {given.hosts:,} hosts watch again", back_cost, "s"),
        Figure("the node is killed and back: longest hold of the loop", back_hold * 1e3, "ms of CPU", GOAL_HOLD),
    ]


async def _return(fleet: Fleet, stores: list[Following]) -> tuple[float, float, float]:
    """Kill and start the node; seconds, and its own CPU seconds, until all watches are open again, and the longest hold
    meanwhile."""
    node = fleet.door
    node.kill()
    await trio.sleep(3.0)
    with trio.fail_after(120):
        while any(store.open for store in stores):  # noqa: ASYNC110 - some are late to notice
            await trio.sleep(0.1)
        node.start(fleet.cluster.names)
        began = time.monotonic()
        while not all(store.open for store in stores):  # noqa: ASYNC110
            await trio.sleep(0.1)
    return time.monotonic() - began, cpu_seconds(node.pid), longest_hold({}, figures(node))


async def many(home: Path, given: Given) -> list[Figure]:
    """Many units on many hosts that are records only: a whole plan, readings, a death, another engine."""
    found: list[Figure] = []
    async with nodes(home, 1, executor="none", disable_engine="true") as fleet:
        async with fleet.store() as store:
            await _fill(store, given)
        fleet.door.kill()
    # The engine begins on a full store.
    environment = dict(fleet.cluster.program.environment) | {"CORENODE_DISABLE_ENGINE": "false"}
    object.__setattr__(fleet.cluster.program, "environment", environment)
    with fleet.cluster:
        found += await _first_plan(fleet, given)
        async with fleet.store() as store:
            await _tell_states(store, fleet)
            found += await _readings(fleet, given)
            found += await _deaths(store, fleet)
        fleet.door.kill()
        found += await _take_over(fleet)
    return found


async def _fill(store: Store, given: Given) -> None:
    """Machines of no lease and units, as `bench.schedule` makes them."""
    await _put(store, schedule.contents(given.hosts, given.units, "mixed"))


async def _put(store: Store, rows: Iterable[tuple[bytes, bytes]]) -> None:
    part: list[Put] = []
    for key, value in rows:
        part.append(Put(key, value))
        if len(part) == PUTS_AT_ONCE:
            await store.txn(then=part)
            part = []
    if part:
        await store.txn(then=part)


async def _first_plan(fleet: Fleet, given: Given) -> list[Figure]:
    fleet.cluster.until_healthy()
    node = fleet.door
    async with observed(fleet):
        await fleet.seen.until(lambda: bool(fleet.seen.engine.value), "an engine leads")
        began, before = fleet.seen.engine.at, figures(node)
        wanted = given.units * 9 // 10
        await fleet.seen.until(lambda: sum(map(bool, fleet.seen.placed.values())) >= wanted, "units are placed")
        await _quiet(fleet)
        last = max(told.at for places in fleet.seen.placed.values() for told in places.values())
        placed = sum(map(bool, fleet.seen.placed.values()))
        after = figures(node)
    return [
        Figure(f"{placed:,} units placed and written, from the engine's election", last - began, "s", "1,000 units"),
        Figure("meanwhile: longest hold of the loop", longest_hold(before, after) * 1e3, "ms of CPU", GOAL_HOLD),
        Figure("meanwhile: elections", after["corenode_raft_term"] - before["corenode_raft_term"], ""),
    ]


async def _quiet(fleet: Fleet) -> None:
    """Nothing was told for a second."""
    revision = -1
    while revision != fleet.seen.revision:
        revision = fleet.seen.revision
        await trio.sleep(1.0)


async def _tell_states(store: Store, fleet: Fleet) -> None:
    """As agents would: everything runs where it is placed."""
    async with observed(fleet):
        placed = {name: list(at) for name, at in fleet.seen.placed.items()}
    state = encode(UnitState(digest(SLEEPS), "loaded", "active", "running", int(time.time()), pid=0))
    await _put(store, ((keys.state(machine, name), state) for name, at in placed.items() for machine in at))


async def _readings(fleet: Fleet, given: Given) -> list[Figure]:
    name = "app1-8.service"
    found = []
    for what, target, times in (
        ("unit list", "/corenode/fleet/units", 3),
        ("unit list, fleet's first page", "/fleet/v1/units", 3),
        ("state list, fleet's first page", "/fleet/v1/state", 3),
        ("one unit", f"/corenode/fleet/units/{name}", 20),
        ("one unit, fleet's", f"/fleet/v1/units/{name}", 20),
        ("one unit's state, fleet's", f"/fleet/v1/state?unitName={name}", 20),
        ("explain", f"/corenode/fleet/units/{name}/explain", 3),
    ):
        node, taken = fleet.door, []
        before, cpu = figures(node), cpu_seconds(node.pid)
        for _ in range(times):
            began = time.monotonic()
            await fleet.ask("GET", target)
            taken.append(time.monotonic() - began)
        spent = (cpu_seconds(node.pid) - cpu) / times
        hold = longest_hold(before, figures(node))
        found += [
            Figure(f"{given.units:,} units, {what}: median", statistics.median(taken) * 1e3, "ms"),
            Figure(f"{given.units:,} units, {what}: the node's CPU", spent * 1e3, "ms"),
            Figure(f"{given.units:,} units, {what}: longest hold of the loop", hold * 1e3, "ms of CPU", GOAL_HOLD),
        ]
    return found


async def _deaths(store: Store, fleet: Fleet) -> list[Figure]:
    """A machine's record is deleted."""
    taken = []
    async with observed(fleet):
        before = figures(fleet.door)
        for number in range(5):
            machine = schedule.machine_id(number)
            lost = [name for name, at in fleet.seen.placed.items() if machine in at]
            began = time.monotonic()
            await store.delete(keys.machine(machine))
            await fleet.seen.until(lambda machine=machine: _left(fleet, machine), "its placements are rewritten")  # type: ignore[misc]
            last = [told.at for name in lost for told in fleet.seen.placed[name].values()]
            taken.append(max(last, default=time.monotonic()) - began)
        after = figures(fleet.door)
    return [
        Figure(
            f"a host with {len(lost)} units dies: all rewritten, median", statistics.median(taken) * 1e3, "ms", "2 s"
        ),
        Figure("a host dies: longest hold of the loop", longest_hold(before, after) * 1e3, "ms of CPU", GOAL_HOLD),
    ]


def _left(fleet: Fleet, machine: str) -> bool:
    return not any(machine in at for at in fleet.seen.placed.values())


async def _take_over(fleet: Fleet) -> list[Figure]:
    """The node was killed; it reads everything and goes on where it was."""
    node = fleet.door
    node.start(fleet.cluster.names)
    fleet.cluster.until_healthy()
    before = figures(node)
    async with observed(fleet):
        await fleet.ask("PUT", "/corenode/fleet/units/new.service/text?desired=launched", SLEEPS)
        await fleet.seen.until(lambda: bool(fleet.seen.placed.get("new.service")), "the new unit is placed")
        placed = next(iter(fleet.seen.placed["new.service"].values())).at
        hold = longest_hold(before, figures(node))
    return [
        Figure("an engine takes over: from its election to its first placement", (placed - fleet.seen.engine.at), "s"),
        Figure("an engine takes over: longest hold of the loop", hold * 1e3, "ms of CPU", GOAL_HOLD),
    ]


async def plans(home: Path, given: Given) -> list[Figure]:
    """The planner alone, in CPU seconds."""
    found = []
    for mix in schedule.MIXES:
        for what, plan in schedule.plans(given.hosts, given.units, mix):
            bound = "goal 2 s" if what == "everything at once" else "goal 200 ms" if "dies" in what else ""
            found.append(Figure(f"plan, {mix}: {what}", plan.plan * 1e3, "ms of CPU", bound))
            found.append(Figure(f"plan, {mix}: {what}, longest slice", plan.longest * 1e3, "ms of CPU", "goal 5 ms"))
    return found


ROWS: dict[str, Row] = {
    "submit, one host": submit_one,
    "submit, three hosts": submit_three,
    "death": death,
    "death, tuned": death_tuned,
    "engine": engine,
    "idle hosts": idle,
    "many units": many,
    "plans": plans,
}


def table(name: str, found: list[Figure]) -> Table:
    shown = Table(title=name)
    for heading in ("", "this node", "fleet"):
        shown.add_column(heading, justify="right" if heading else "left")
    for each in found:
        shown.add_row(each.name, f"{each.value:,.1f} {each.unit}".strip(), each.bound)
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(description="Units on real nodes, beside fleet's bounds.")
    parser.add_argument("--only", action="append", help="rows whose name has this in it")
    parser.add_argument("--list", action="store_true", help="the names of the rows")
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--units", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5, help="of what is measured by the clock (default 5)")
    parser.add_argument("--dir", type=Path, default=ROOT / "build" / "bench", help="the disk to measure on")
    parser.add_argument("--record", action="store_true", help="append every figure to bench/history.jsonl")
    given = parser.parse_args()
    if given.list:
        print("\n".join(ROWS))
        return 0
    given.dir.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(filename=given.dir / "hosts.log", filemode="w")
    chosen = {name: row for name, row in ROWS.items() if not given.only or any(part in name for part in given.only)}
    program = corenode()
    for name, row in chosen.items():
        load = round(os.getloadavg()[0], 2)
        with tempfile.TemporaryDirectory(dir=given.dir) as home, Console(stderr=True).status(name):
            found = trio.run(row, Path(home), Given(given.hosts, given.units, given.repeats))
        Console().print(table(name, found))
        if given.record:
            now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            line = {"time": now, "server": program.name, "version": program.version, "load": load, "units": name}
            history.append(line | {"figures": [asdict(each) for each in found]})
    return 0


if __name__ == "__main__":
    sys.exit(main())
