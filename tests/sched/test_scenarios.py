"""fleet's functional tests of scheduling, by their names, on paper; and the templates of its test of metadata."""

import pytest

from core.sched.explain import explain
from core.sched.tasks import Move, Unplace, Update
from tests.sched.world import World, machine_id


def test_schedule_machine_of() -> None:
    """Each pong runs beside its ping, wherever that goes."""
    world = World(3)
    for number in range(4):
        world.submit(f"ping.{number}.service")
        world.submit(f"pong.{number}.service", f"MachineOf=ping.{number}.service")
    world.plan()
    for number in range(4):
        assert world.on(f"ping.{number}.service") == world.on(f"pong.{number}.service") != []
    world.kill(1)
    world.plan()
    for number in range(4):
        assert world.on(f"ping.{number}.service") == world.on(f"pong.{number}.service")
        assert world.on(f"ping.{number}.service") != [1]


def test_schedule_conflicts() -> None:
    """Five units that conflict, on three machines: three run, and two wait until there is room."""
    world = World(3)
    for number in range(5):
        world.submit(f"conflict.{number}.service", "Conflicts=conflict.*.service")
    world.plan()
    assert [len(world.standing(number)) for number in (1, 2, 3)] == [1, 1, 1]
    assert len(world.planner.waiting) == 2
    world.destroy("conflict.0.service")
    world.plan()
    assert [len(world.standing(number)) for number in (1, 2, 3)] == [1, 1, 1]
    assert len(world.planner.waiting) == 1


def test_schedule_one_way_conflict() -> None:
    """A pattern keeps away units that say nothing themselves, whoever came first."""
    world = World(1)
    world.submit("conflict-with-hello.service", "Conflicts=hello.service")
    world.plan()
    world.submit("hello.service")
    assert world.plan() == []
    assert world.planner.waiting == ["hello.service"]
    world.destroy("conflict-with-hello.service")
    world.plan()
    assert world.on("hello.service") == [1]
    world.submit("conflict-with-hello.service", "Conflicts=hello.service")
    assert world.plan() == []


def test_schedule_multiple_conflicts() -> None:
    world = World(1)
    world.submit("hello.service")
    world.submit("world.service")
    world.plan()
    world.submit("both.service", "Conflicts=hello.service world.service\nConflicts=other.service")
    assert world.plan() == []
    world.destroy("hello.service")
    world.plan()
    assert world.planner.waiting == ["both.service"]
    world.destroy("world.service")
    world.plan()
    assert world.standing(1) == ["both.service"]


def test_schedule_replace() -> None:
    """A unit takes the place of another, which goes elsewhere."""
    world = World(2)
    world.submit("replace.0.service")
    world.plan()
    assert world.on("replace.0.service") == [1]
    world.submit("kick.service", "Replaces=replace.0.service")
    world.plan()
    assert world.on("kick.service") == [1]
    assert world.on("replace.0.service") == [2]
    assert world.plan() == []


def test_schedule_circular_replace() -> None:
    """Units that replace each other, in a ring of two or of three, leave each other alone."""
    for ring in (2, 3):
        world = World(2)
        for number in range(ring):
            world.submit(f"ring.{number}.service", f"Replaces=ring.{(number + 1) % ring}.service")
        world.plan()
        assert world.planner.waiting == []
        before = world.placements
        world.kill(2)
        world.machine(2)
        world.plan()
        assert set(world.placements) == set(before)


@pytest.mark.parametrize("option", ["MachineID", "X-ConditionMachineID"])
@pytest.mark.parametrize("length", [8, 32])
def test_schedule_condition_machine_id(option: str, length: int) -> None:
    world = World(3)
    world.submit("pinned.service", f"{option}={machine_id(2)[:length]}")
    world.plan()
    assert world.on("pinned.service") == [2]
    world.kill(2)
    assert world.plan() == [], "its place is kept: there is no better one"
    assert explain(world.view, "pinned.service").waits_for.startswith("a machine that can take it")
    world.machine(2)
    assert world.plan() == []
    assert world.on("pinned.service") == [2]


def test_schedule_condition_machine_boot_id() -> None:
    world = World(2)
    world.submit("pinned.service", "X-ConditionMachineBootID=no-such-boot")
    assert world.plan() == []


def test_schedule_global_units() -> None:
    world = World(3)
    world.submit("everywhere.service", "Global=true")
    world.plan()
    assert world.on("everywhere.service") == [1, 2, 3]
    world.machine(4)
    world.plan()
    assert world.on("everywhere.service") == [1, 2, 3, 4]
    world.submit("everywhere.service", "Global=true\nMachineMetadata=zone=a")
    tasks = world.plan()
    assert world.on("everywhere.service") == []
    assert {task.why for task in tasks if isinstance(task, Unplace)} == {"its metadata do not meet zone=a"}
    world.machine(2, zone="a")
    world.plan()
    assert world.on("everywhere.service") == [2]


def test_schedule_global_conflicts() -> None:
    """Of two global units that conflict the first by name runs, on every machine."""
    world = World(3)
    world.submit("b-global.service", "Global=true\nConflicts=a-global.service")
    world.submit("a-global.service", "Global=true")
    world.plan()
    assert world.on("a-global.service") == [1, 2, 3]
    assert world.on("b-global.service") == []


def test_templates_with_specifiers_in_metadata() -> None:
    world = World()
    world.machine(1, hostname="one")
    world.machine(2, hostname="two")
    for name in ("web@two.service", "web@one.service", "web@three.service"):
        world.submit(name, "MachineMetadata=hostname=%i")
    world.plan()
    assert (world.on("web@one.service"), world.on("web@two.service")) == ([1], [2])
    assert world.planner.waiting == ["web@three.service"]


def test_dynamic_cluster_new_member_unit_migration() -> None:
    """A machine that dies loses its units to the others; when it returns, nothing goes back."""
    world = World(3)
    for number in range(6):
        world.submit(f"hello.{number}.service")
    world.plan()
    lost = world.standing(3)
    world.kill(3)
    tasks = world.plan()
    assert sorted(task.unit for task in tasks) == lost
    assert all(isinstance(task, Move) and task.why.startswith("the machine is gone; ") for task in tasks)
    world.machine(3)
    assert world.plan() == []
    assert world.standing(3) == []


def test_unit_submit_load_start_stop_and_destroy() -> None:
    world = World(1)
    world.submit("hello.service", desired="inactive")
    assert world.plan() == []
    world.submit("hello.service", desired="loaded")
    world.plan()
    assert world.placements["hello.service"][machine_id(1)].desired == "loaded"
    world.submit("hello.service", desired="launched")
    (task,) = world.plan()
    assert isinstance(task, Update)
    assert task.why == "its desired state is launched"
    world.submit("hello.service", "Weight=2", restarted=1)
    (task,) = world.plan()
    assert task.why == "its text was replaced, a restart was asked for"
    world.destroy("hello.service")
    (task,) = world.plan()
    assert isinstance(task, Unplace)
    assert world.placements == {}
