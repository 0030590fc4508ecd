"""What fleet had not: replicas, spread, weights, requests, cordon, drain, failing units, and what stands twice."""

from core.sched import keys
from core.sched.records import Drain, HostRecord, Machine, Placement, UnitState
from core.sched.tasks import Move, Place, Unplace, Update
from tests.sched.world import World, machine_id


def test_replicas_are_made_kept_and_taken_back() -> None:
    world = World(3)
    world.submit("web@.service", "Replicas=4")
    world.plan()
    assert sorted(world.placements) == [f"web@{number}.service" for number in range(1, 5)]
    assert sorted(len(world.standing(number)) for number in (1, 2, 3)) == [1, 1, 2]
    world.submit("web@.service", "Replicas=4", replicas=2)
    tasks = world.plan()
    assert [(type(task), task.unit) for task in tasks] == [(Unplace, "web@3.service"), (Unplace, "web@4.service")]
    world.submit("web@.service", "Replicas=4", desired="inactive")
    world.plan()
    assert world.placements == {}


def test_replicas_stand_on_as_many_machines_as_they_can() -> None:
    """Also when one machine is much emptier than the others."""
    world = World(2)
    for number in range(8):
        world.submit(f"old.{number}.service")
    world.plan()
    world.machine(3)
    world.submit("web@.service", "Replicas=3")
    world.plan()
    assert sorted(world.on(f"web@{number}.service") for number in (1, 2, 3)) == [[1], [2], [3]]


def test_an_instance_with_a_record_of_its_own_is_not_its_templates() -> None:
    world = World(1)
    world.submit("web@.service", "Replicas=2")
    world.submit("web@1.service", "Weight=5", desired="inactive")
    world.plan()
    assert sorted(world.placements) == ["web@2.service"]
    world.destroy("web@1.service")
    world.plan()
    assert sorted(world.placements) == ["web@1.service", "web@2.service"]


def test_a_template_without_replicas_runs_nowhere() -> None:
    world = World(1)
    world.submit("web@.service")
    assert world.plan() == []


def test_spread_counts_before_load() -> None:
    world = World()
    for number, zone in enumerate(("a", "a", "a", "b"), 1):
        world.machine(number, zone=zone)
    world.submit("web@.service", "Replicas=4\nSpread=zone")
    world.plan()
    zones = [
        world.view.machines[machine_id(*world.on(f"web@{number}.service"))].metadata["zone"] for number in range(1, 5)
    ]
    assert sorted(zones) == ["a", "a", "b", "b"]


def test_max_per_machine_is_a_bound() -> None:
    world = World(2)
    world.submit("web@.service", "Replicas=5\nMaxPerMachine=2")
    world.plan()
    assert [len(world.standing(number)) for number in (1, 2)] == [2, 2]
    assert world.planner.waiting == ["web@5.service"]


def test_weight_is_what_load_is_made_of() -> None:
    world = World(2)
    world.submit("heavy.service", "Weight=3")
    world.plan()
    for number in range(3):
        world.submit(f"light.{number}.service")
    world.plan()
    assert (world.standing(1), len(world.standing(2))) == (["heavy.service"], 3)


def test_requests_are_held_against_what_a_machine_has() -> None:
    world = World()
    world.machine(1, memory=1 << 30, cpus=2)
    world.machine(2)  # says nothing of what it has, so nothing is reckoned
    for number in range(3):
        world.submit(f"pinned.{number}.service", f"MachineID={machine_id(1)}\nMemoryRequest=400M")
    world.submit("busy.service", f"MachineID={machine_id(1)}\nCPURequest=2.5")
    world.submit("any.service", "MemoryRequest=64G")
    world.plan()
    assert world.planner.waiting == ["busy.service", "pinned.2.service"]
    assert world.on("any.service") == [2]


def test_a_cordoned_machine_keeps_what_it_has_and_gets_nothing_new() -> None:
    world = World(2)
    world.submit("a.service")
    world.submit("everywhere.service", "Global=yes")
    world.plan()
    world.host(1, HostRecord(cordoned="a new disk"))
    assert world.plan() == []
    for number in range(3):
        world.submit(f"b.{number}.service")
    world.submit("everywhere2.service", "Global=yes")
    world.plan()
    assert world.standing(1) == ["a.service", "everywhere.service"]
    world.host(1, None)
    world.plan()
    assert world.on("everywhere2.service") == [1, 2]


def test_a_host_that_says_it_leaves_is_drained_until_it_says_nothing_of_it() -> None:
    world = World(2)
    for number in range(4):
        world.submit(f"a.{number}.service")
    world.plan()
    world.run_all()
    leaving = Machine(machine_id(1), "m1", leaving=Drain(at_once=4))
    world.write(keys.machine(leaving.id), leaving)
    world.plan()
    world.run_all()
    assert world.standing(1) == []
    world.submit("b.service")
    world.plan()
    assert world.on("b.service") == [2]
    world.machine(1)
    world.submit("c.service")
    world.plan()
    assert world.on("c.service") == [1]


def test_a_drain_moves_so_many_at_a_time_and_what_is_everywhere_last() -> None:
    world = World(2)
    world.submit("everywhere.service", "Global=yes")
    for number in range(10):
        world.submit(f"a.{number}.service")
    world.plan()
    world.run_all()
    here = len(world.standing(1)) - 1
    world.drain(1, at_once=2)
    while here:
        tasks = world.plan()
        moved = min(here, 2)
        assert [type(task) for task in tasks[:moved]] == [Move] * moved
        assert all(" is drained; " in task.why for task in tasks[:moved])
        here -= moved
        assert len(tasks) == moved + (here == 0)
        if here:
            assert world.plan() == [], "nothing else moves before these run"
            world.run_all()
    assert isinstance(tasks[-1], Unplace)
    assert world.standing(1) == []


def test_two_replicas_are_never_moved_at_the_same_time_by_one_drain_or_by_two() -> None:
    world = World(4)
    world.submit("web@.service", "Replicas=2\nConflicts=web@*.service")
    world.plan()
    world.run_all()
    first, second = (world.on(f"web@{i}.service")[0] for i in (1, 2))
    world.drain(first, at_once=9)
    world.plan()
    assert world.on("web@1.service") != [first]
    world.drain(second, at_once=9)
    assert world.plan() == [], "the first one does not serve yet where it went"
    world.run_all()
    world.view.advance(world.view.now + 2)
    world.plan()
    assert world.on("web@2.service") != [second]
    world.submit("pair@.service", "Replicas=2\nMachineMetadata=pair=yes")
    both = world.machine(7, pair="yes")
    world.plan()
    world.run_all()
    assert world.on("pair@1.service") == world.on("pair@2.service") == [7]
    world.machine(8, pair="yes")
    world.drain(7, at_once=9)
    moved = world.plan()
    assert [type(task) for task in moved] == [Move], f"{both}: one of the two stays until the other one is up"


def test_at_its_deadline_a_drain_moves_everything_and_stops_what_cannot_move() -> None:
    world = World(2)
    world.submit("pinned.service", f"MachineID={machine_id(1)}")
    for number in range(6):
        world.submit(f"a.{number}.service")
    world.plan()
    world.run_all()
    world.drain(1, at_once=1, deadline=world.view.now + 60)
    assert len(world.plan()) == 1
    assert world.view.next_due == world.view.now + 60
    world.at(60)
    world.plan()
    assert world.standing(1) == []
    assert world.planner.waiting == ["pinned.service"]
    world.host(1, None)
    world.plan()
    assert world.standing(1) == ["pinned.service"]


def test_a_follower_moves_behind_the_unit_it_follows_out_of_a_drained_machine() -> None:
    world = World(2)
    world.submit("z-ping.service", "MachineMetadata=zone!=b")
    world.submit("a-pong.service", "MachineOf=z-ping.service")
    world.plan()
    world.run_all()
    world.drain(1)
    tasks = world.plan()
    assert [(type(task), task.unit) for task in tasks] == [(Move, "z-ping.service"), (Move, "a-pong.service")]


FAILED = UnitState(load="loaded", active="failed", sub="failed", since=1_000_000, why="exit status 1")
RESTARTING = "[Service]\nExecStart=/bin/false\nRestart=always\n"


def test_a_unit_that_keeps_failing_goes_elsewhere_with_growing_patience() -> None:
    world = World(3)
    world.submit("a.service", service=RESTARTING)
    world.plan()
    patience = []
    for _ in range(2):
        (here,) = world.on("a.service")
        begin = world.view.now
        world.state(here, "a.service", UnitState(load="loaded", active="failed", since=begin, why="exit status 1"))
        assert world.plan() == []
        due = world.view.next_due
        assert due is not None
        world.at(due - begin)
        (task,) = world.plan()
        assert isinstance(task, Move)
        assert "exit status 1" in task.why
        assert task.machine not in task.placement.shun
        patience.append(due - begin)
        world.state(here, "a.service", None)
        assert [told.why for told in world.plan()] == ["it may start now"]
    assert patience == [30, 60]
    assert world.on("a.service") == [3]


def test_a_unit_that_fails_stays_if_nobody_asked_for_restarts_or_there_is_nowhere_else() -> None:
    world = World(2)
    world.submit("once.service")
    world.submit("pinned.service", f"MachineID={machine_id(1)}", service=RESTARTING)
    world.plan()
    for name in ("once.service", "pinned.service"):
        world.state(world.on(name)[0], name, FAILED)
    for _ in range(5):
        world.at(1000)
        assert world.plan() == []


def test_a_unit_that_restarts_for_ever_is_not_waited_for() -> None:
    world = World(2)
    world.submit("a.service", service=RESTARTING)
    world.plan()
    for restarts in range(100, 105):
        state = UnitState(
            load="loaded", active="activating", sub="auto-restart", since=world.view.now, restarts=restarts
        )
        world.state(1, "a.service", state)
        assert world.plan() == []
        world.at(20)
    world.state(1, "a.service", UnitState(load="loaded", active="activating", sub="auto-restart", restarts=105))
    (task,) = world.plan()
    assert isinstance(task, Move)


def test_metadata_of_an_operator_stand_in_place_of_the_machines() -> None:
    world = World()
    world.machine(1, zone="a")
    world.submit("a.service", "MachineMetadata=zone=a")
    world.submit("b.service", "MachineMetadata=zone=b")
    world.submit("n.service", "MachineMetadata=!zone")
    world.plan()
    assert world.standing(1) == ["a.service"]
    world.host(1, HostRecord(metadata={"zone": "b"}))
    world.plan()
    assert world.standing(1) == ["b.service"]
    world.host(1, HostRecord(metadata={"zone": None}))
    world.plan()
    assert world.standing(1) == ["n.service"]
    world.kill(1)
    world.host(1, HostRecord(metadata={"zone": "a"}))
    world.machine(1, zone="c")
    world.plan()
    assert world.standing(1) == ["a.service"]


def test_a_unit_that_stands_twice_is_left_where_it_runs() -> None:
    world = World(3)
    digest = world.submit("a.service")
    for number in (1, 2, 3):
        world.write(keys.placement(machine_id(number), "a.service"), Placement(digest))
    world.state(2, "a.service", UnitState(digest, "loaded", "active", "running", 1))
    tasks = world.plan()
    assert {type(task) for task in tasks} == {Unplace}
    assert world.on("a.service") == [2]


def test_records_that_cannot_be_read_stop_nothing() -> None:
    world = World(2)
    world.submit("a.service")
    world.plan()
    world.write(keys.unit("a.service"), b"{")
    assert world.plan() == []
    assert list(world.view.faults) == [keys.unit("a.service")]
    world.write(keys.machine(machine_id(1)), b"[]")
    assert world.plan() == []
    digest = world.submit("a.service", "Replicas=3")  # for templates only
    assert world.plan() == []
    assert "for templates" in world.view.unreadable["a.service"]
    world.write(keys.unit("a.service"), b'{"text":"00","desired":"launched"}')
    assert world.plan() == []
    assert "not in the store" in world.view.unreadable["a.service"]
    world.write(keys.placement(machine_id(1), "a.service"), b"{")
    (task,) = world.plan()
    assert isinstance(task, Update), "it is written again, with the last text that could be read"
    world.submit("a.service", "Weight=1")
    (task,) = world.plan()
    assert world.view.unreadable == {}
    assert task.unit == "a.service"
    assert digest not in {placement.text for places in world.placements.values() for placement in places.values()}


def test_a_move_is_preferred_to_a_stop_when_metadata_change() -> None:
    world = World()
    world.machine(1, zone="a")
    world.machine(2, zone="b")
    world.submit("z.service", "MachineMetadata=zone=a")
    world.submit("f.service", "MachineOf=z.service\nMachineMetadata=zone=a")
    world.plan()
    world.write(keys.host(machine_id(2)), HostRecord(metadata={"zone": "a"}))
    world.plan()
    world.write(keys.host(machine_id(1)), HostRecord(metadata={"zone": "b"}))
    tasks = world.plan()
    assert {type(task) for task in tasks} == {Move}
    assert (world.on("z.service"), world.on("f.service")) == ([2], [2])


def test_many_units_that_can_never_be_placed_cost_one_look() -> None:
    world = World(20)
    for number in range(1000):
        world.submit(f"never.{number}.service", "MachineMetadata=zone=nowhere")
    world.plan()
    assert len(world.planner.waiting) == 1000
    world.view.board.effort = 0
    world.submit("hello.service")
    steps = list(world.planner.plan())
    assert [type(task) for step in steps for task in step.tasks] == [Place]
    assert world.view.board.effort < 100


def test_of_units_that_wait_together_one_is_kept_away_by_a_later_unit_and_the_other_is_not() -> None:
    world = World(1)
    world.submit("a.service", "MachineMetadata=zone=x")
    world.submit("b.service", "MachineMetadata=zone=x")
    world.plan()
    world.submit("c.service", "Conflicts=a.service")
    world.plan()
    world.machine(1, zone="x")
    world.plan()
    assert world.standing(1) == ["b.service", "c.service"]
