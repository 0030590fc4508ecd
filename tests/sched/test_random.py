"""Random clusters: after every change the plan ends, breaks no rule, leaves nothing undone, and moves nothing idly."""

import random
from collections.abc import Callable
from itertools import islice

import pytest

from core.sched import keys, planner, records, submission
from core.sched.explain import explain
from core.sched.planner import Planner
from core.sched.records import Desired, Drain, HostRecord
from core.sched.tasks import Move, Place, Task, Unplace, outcome
from core.sched.view import View
from tests.sched.oracle import Oracle
from tests.sched.world import World, machine_id

MACHINES = 5
SINGLES = [f"{letter}.service" for letter in "abcdef"]
TRIALS = 40
"""Clusters in a block."""
DESIRED: list[Desired] = ["launched", "launched", "launched", "loaded", "inactive"]
NAMES = [*SINGLES, "web@.service", "web@1.service", "web@2.service", "db@.service"]

GLOBS = ["a*", "*.service", "web@*", "?.service", "[b-d].service", "db@1.service", "%p*"]
CONDITIONS = ["zone=a", "zone=b", "zone!=a", "zone", "!zone", "size>=2", "zone in (a, b)"]
OTHERS = ["Global=yes", "MaxPerMachine=1", "Spread=zone", "MemoryRequest=300", "Weight=3"]
HOSTS = [None, None, HostRecord(cordoned="why"), HostRecord(metadata={"zone": "a"}), HostRecord(drain=Drain(at_once=2))]

Change = Callable[[World], object]


def wish(chance: random.Random) -> str:
    """A line of [X-Fleet]."""
    match chance.randrange(8):
        case 0 | 1:
            return f"Conflicts={chance.choice(GLOBS)}"
        case 2:
            return f"Replaces={chance.choice(GLOBS)}"
        case 3:
            return f"MachineMetadata={chance.choice(CONDITIONS)}"
        case 4:
            return f"MachineOf={chance.choice(SINGLES)}"
        case 5:
            return f"MachineID={machine_id(chance.randint(1, MACHINES))}"
        case 6:
            return f"Replicas={chance.randint(0, 5)}"
        case _:
            return chance.choice(OTHERS)


def submit(name: str, wishes: str, desired: Desired) -> Change:
    """As the API does: what is refused is not stored."""

    def step(world: World) -> None:
        try:
            submission.check(name, f"[X-Fleet]\n{wishes}\n".encode())
        except submission.SubmissionError:
            return
        world.submit(name, wishes, desired)

    return step


def change(chance: random.Random) -> Change:
    """Something that operators, machines or agents do."""
    number = chance.randint(1, MACHINES)
    match chance.randrange(11):
        case 0 | 1 | 2 | 3 | 4:
            name = chance.choice(NAMES)
            wishes = [wish(chance) for _ in range(chance.choice((0, 1, 1, 1, 2, 3)))]
            if "@." in name:
                wishes.append(f"Replicas={chance.randint(0, 5)}")
            return submit(name, "\n".join(wishes), chance.choice(DESIRED))
        case 5:
            name = chance.choice(NAMES)
            return lambda world: world.destroy(name)
        case 6 | 7:
            key, value = chance.choice((("zone", "a"), ("zone", "b"), ("zone", "c"), ("size", "1"), ("size", "3")))
            memory = chance.choice((0, 0, 500, 1000))
            return lambda world: world.machine(number, 0, memory, **{key: value})
        case 8:
            return lambda world: world.kill(number)
        case 9:
            record = chance.choice(HOSTS)
            return lambda world: world.host(number, record)
        case _:
            return lambda world: world.run_all()


def changes(chance: random.Random, most: int) -> list[Change]:
    return [change(chance) for _ in range(chance.randint(4, most))]


def stood(task: Task) -> str | None:
    """The machine a task takes a unit away from."""
    return task.source if isinstance(task, Move) else task.machine if isinstance(task, Unplace) else None


class Checked(World):
    """A world whose engine asks the oracle before each task."""

    def execute(self, task: Task) -> None:
        oracle = Oracle.read(self.store)
        source = stood(task)
        if source is not None:
            assert oracle.may_leave(task.unit, source), f"no reason for {task}"
        if isinstance(task, Place | Move):
            assert oracle.is_open(task.machine), task
        assert task.why
        super().execute(task)


def fresh(world: World) -> tuple[View, Planner]:
    """A view that has just read the store."""
    view = View()
    view.advance(world.view.now)
    for key, data in sorted(world.store.items()):
        view.apply(key, data, world.revision)
    return view, Planner(view)


def sums(view: View) -> dict[str, object]:
    """Everything the board adds up."""
    board = view.board
    patterns = {}
    for unit in board.units.values():
        for pattern in (*unit.conflicts, *unit.replaces):
            patterns[pattern.text] = (pattern.owners, pattern.matched, pattern.conflicting, pattern.replacing)
    slots = {
        slot.id: (slot.load, slot.memory, slot.cpus, slot.families, slot.units, slot.metadata)
        for slot in board.slots.values()
    }
    spread = {key: counts for key, counts in board.spread.items() if counts}
    return {"slots": slots, "patterns": patterns, "order": list(board.order), "spread": spread}


def check(world: World) -> None:
    assert world.view.unreadable == {}
    oracle = Oracle.read(world.store)
    assert oracle.complaints() == []
    view, anew = fresh(world)
    tasks = [task for step in anew.plan() for task in step.tasks]
    assert tasks == [], "a planner that reads everything anew finds nothing to do either"
    assert sums(view) == sums(world.view)
    assert anew.waiting == world.planner.waiting
    for name in oracle.rules:
        for verdict in explain(world.view, name).verdicts:
            fits = oracle.fits(name, verdict.machine)
            here = verdict.machine in oracle.places(name)
            assert verdict.qualifies == (fits and (here or oracle.is_open(verdict.machine))), (name, verdict)


def trial(seed: int) -> int:
    """Make changes, and plan and check after each, or in the end; how many tasks that came to."""
    chance = random.Random(seed)
    world, each = Checked(3), chance.random() < 0.7
    for step in changes(chance, 40):
        step(world)
        if each:
            world.plan()
            check(world)
    world.plan()
    check(world)
    return len(world.done)


@pytest.mark.parametrize("block", range(4))
def test_every_change_ends_in_a_plan_that_keeps_to_the_rules(
    block: int, record_property: Callable[[str, object], None]
) -> None:
    tasks = 0
    for seed in range(block * TRIALS, (block + 1) * TRIALS):
        try:
            tasks += trial(seed)
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise
    record_property("checked", f"{TRIALS} clusters, {tasks:,} tasks")


@pytest.mark.parametrize("seed", range(100))
def test_the_same_changes_give_the_same_plan_also_in_short_slices(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One world plans without a break; in the other every plan is dropped after a slice, and slices are short."""
    chance = random.Random(seed)
    one, other = World(3), World(3)
    for step in changes(chance, 40):
        step(one)
        step(other)
        with monkeypatch.context() as patch:
            patch.setattr(planner, "SLICE", 1_000_000)
            one.plan()
        with monkeypatch.context() as patch:
            patch.setattr(planner, "SLICE", chance.choice((3, 7, 30)))
            plan_in_pieces(other)
        assert one.placements == other.placements
    assert sums(one.view) == sums(other.view)


@pytest.mark.parametrize("seed", range(100))
def test_who_looks_between_two_slices_disturbs_no_plan(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changes come in the middle of plans, and somebody who looks takes them in there, some or all of them."""
    chance = random.Random(seed)
    world = World(3)
    monkeypatch.setattr(planner, "SLICE", chance.choice((3, 7, 30)))
    monkeypatch.setattr("core.sched.view._SLICE", 1)
    for step in changes(chance, 60):
        step(world)
        for _ in range(chance.randrange(4)):
            found = next(world.planner.plan(), None)
            for task in found.tasks if found is not None else ():
                world.execute(task)
            for _ in islice(world.view.take_in(), chance.randrange(4)):
                explain(world.view, chance.choice(NAMES))
    plan_in_pieces(world)
    check(world)


def plan_in_pieces(world: World) -> None:
    for _ in range(10_000):
        step = next(world.planner.plan(), None)
        for task in step.tasks if step is not None else ():
            world.execute(task)
        if step is None and world.view.settled:
            return
    raise AssertionError("plans go on and on")


@pytest.mark.parametrize("seed", range(3))
def test_late_and_failed_transactions_confuse_nobody(seed: int) -> None:
    """Half of the transactions fail; events come late, and after their confirmation."""
    chance = random.Random(seed)
    world = World(4)
    late: list[tuple[bytes, bytes | None, int]] = []
    for turn in range(60):
        number = chance.randrange(1, 5)
        if turn % 3 == 0:
            world.kill(number) if machine_id(number) in world.view.machines else world.machine(number)
        wish = chance.choice(["", "Conflicts=a*", "Replaces=c*", "Conflicts=b*"])
        world.submit(f"{chance.choice('abcd')}.service", wish)
        world.submit(f"{chance.choice('efgh')}.service", chance.choice(["", "MachineOf=b.service"]))
        for step in world.planner.plan():
            for task in step.tasks:
                if chance.random() < 0.5:
                    world.view.refuse(task)
                    continue
                world.revision += 1
                for machine, placement in outcome(task).items():
                    key = keys.placement(machine, task.unit)
                    data = None if placement is None else records.encode(placement)
                    if data is None:
                        world.store.pop(key)
                    else:
                        world.store[key] = data
                    late.append((key, data, world.revision))
                if chance.random() < 0.5:
                    while late:
                        world.view.apply(*late.pop(0))
                world.view.confirm(task, world.revision)
            if chance.random() < 0.3:
                break
    for event in late:
        world.view.apply(*event)
    world.plan()
    check(world)
