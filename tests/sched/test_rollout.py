"""Rollouts: so many at a time, back if the new text is not well. Rebalancing: few moves, each a better one. Words."""

from core.sched import rollout
from core.sched.explain import explain
from core.sched.rebalance import rebalance
from core.sched.records import Rollout, UnitState
from core.sched.rollout import Instance
from tests.sched.world import World, machine_id


def well(text: str, since: int = 0) -> UnitState:
    return UnitState(text, "loaded", "active", "running", since)


def test_a_rollout_goes_forward_as_instances_become_well() -> None:
    plan = Rollout("old", "new", max_parallel=2, started=0)
    texts = dict.fromkeys("abcde", "old")
    states = {key: well("old") for key in texts}
    now, most = 0, 0
    for _ in range(100):
        instances = [Instance(key, text, states[key]) for key, text in texts.items()]
        decision = rollout.decide(plan, instances, now)
        plan = decision.rollout or plan
        if plan.state == "done":
            break
        texts |= dict(decision.update)
        states |= {key: well(text, now) for key, text in decision.update}
        most = max(most, sum(text == "new" and key not in plan.done for key, text in texts.items()))
        now += 5
    assert plan.state == "done"
    assert plan.done == tuple("abcde")
    assert most == 2
    assert now >= 3 * plan.healthy_after


def test_a_rollout_returns_if_the_new_text_is_not_well() -> None:
    plan = Rollout("old", "new", max_parallel=1)
    failed = UnitState("new", "loaded", "failed", "failed", 5, why="exit status 1")
    instances = [Instance("a", "new", well("new")), Instance("b", "new", failed), Instance("c", "old", well("old"))]
    decision = rollout.decide(plan, instances, 100)
    assert decision.rollout is not None
    assert (decision.rollout.state, decision.rollout.why) == ("returning", "b is not well: exit status 1")
    assert decision.update == (("b", "old"),)
    instances = [Instance("a", "new", well("new")), Instance("b", "old", well("old"))]
    assert rollout.decide(decision.rollout, instances, 101).update == (("a", "old"),)
    over = rollout.decide(decision.rollout, [Instance("a", "old", None), Instance("b", "old", well("old"))], 102)
    assert over.restore == "old"
    assert over.rollout is not None
    assert over.rollout.state == "returned"


def test_a_step_that_takes_too_long_is_a_failure_and_a_paused_rollout_does_nothing() -> None:
    plan = Rollout("old", "new", stepped=1000)
    waiting = [Instance("a", "new", well("old"))]
    assert rollout.decide(plan, waiting, 1299).rollout is None or rollout.decide(plan, waiting, 1299).due == 1300
    late = rollout.decide(plan, waiting, 1300)
    assert late.rollout is not None
    assert late.rollout.state == "returning"
    paused = Rollout("old", "new", state="paused")
    assert rollout.decide(paused, waiting, 9999).update == ()


def test_a_rollout_leaves_texts_to_it_and_new_placements_get_the_old_one() -> None:
    world = World(3)
    old = world.submit("web@.service", "Replicas=3")
    world.plan()
    world.run_all()
    new = world.submit("web@.service", "Replicas=4\nWeight=2")
    world.rollout("web@.service", Rollout(old, new, started=world.view.now, stepped=world.view.now))
    world.plan()
    texts = {name: next(iter(places.values())).text for name, places in world.placements.items()}
    assert set(texts.values()) == {old}
    decision = rollout.decide(
        world.view.rollouts["web@.service"], rollout.instances(world.view, "web@.service"), world.view.now
    )
    (task,) = rollout.updates(world.view, "web@.service", decision)
    assert (task.unit, task.placement.text) == ("web@1.service", new)
    world.view.assume(task)
    world.execute(task)
    assert world.plan() == []
    world.rollout("web@.service", None)
    world.plan()
    assert {next(iter(places.values())).text for places in world.placements.values()} == {new}


def test_rebalancing_makes_few_moves_and_ends() -> None:
    world = World(1)
    for number in range(9):
        world.submit(f"a.{number}.service")
    world.submit("pinned.service", f"MachineID={machine_id(1)}")
    world.plan()
    world.machine(2)
    world.machine(3)
    assert world.plan() == []
    for most, loads in ((2, [8, 1, 1]), (100, [4, 3, 3]), (100, [4, 3, 3])):
        for step in rebalance(world.planner, most):
            for task in step.tasks:
                world.execute(task)
        assert [len(world.standing(number)) for number in (1, 2, 3)] == loads
        assert world.plan() == []


def test_explanations_say_why_here_why_not_there_and_what_is_waited_for() -> None:
    world = World()
    world.machine(1, zone="a")
    world.machine(2, zone="b")
    world.submit("a.service", "MachineMetadata=zone=a")
    world.submit("b.service", "MachineOf=c.service")
    world.submit("c.service", "MachineOf=b.service")
    world.submit("d.service", "MachineMetadata=zone=z")
    world.submit("e.service", desired="inactive")
    world.plan()
    found = explain(world.view, "a.service")
    assert [(verdict.here, verdict.qualifies) for verdict in found.verdicts] == [(True, True), (False, False)]
    assert found.verdicts[1].reason == "its metadata do not meet zone=a"
    assert found.placed[machine_id(1)].startswith("of the machines with zone=a the least loaded")
    assert "none of them can be first" in explain(world.view, "b.service").waits_for
    assert explain(world.view, "d.service").waits_for == (
        "a machine that can take it: 2 × its metadata do not meet zone=z"
    )
    assert explain(world.view, "e.service").waits_for == "nobody asked to load or start it"
    assert explain(world.view, "f.service").waits_for == "there is no unit of that name"
