"""Replacing a unit's text step by step: what to do next, given how its instances fare.

Whoever starts a rollout writes the record with the old and the new text, and the new text into the unit's record. From
then on the planner leaves the texts of placements alone, and this decides: at most `max_parallel` instances at a time
get the new text; one counts as done when it runs it and has been well for `healthy_after` seconds; if one is not well,
or a step takes longer than `deadline`, all go back to the old text, those that are not well at once, and in the end the
unit's record does too. Machines that are gone are not waited for: what returns is brought up to date like any other.
"""

from collections.abc import Iterable

import msgspec

from core.sched.records import Placement, Rollout, UnitState
from core.sched.tasks import Update
from core.sched.view import View, is_failing


class Instance(msgspec.Struct, frozen=True):
    """One placement of the unit."""

    key: str
    """The name of a replica or of the unit; of a global unit the machine."""
    text: str
    """What it has been told to run."""
    state: UnitState | None
    """What its agent says of it."""
    launched: bool = True
    pending: bool = False
    """Whether a task for it is under way."""


class Decision(msgspec.Struct, frozen=True):
    """The next step."""

    update: tuple[tuple[str, str], ...]
    """Instances that get another text now, and which."""
    rollout: Rollout | None
    """The record as it is from now on; None if it stays as it is."""
    restore: str = ""
    """The text that the unit's record gets back; empty if it stays."""
    due: int = 0
    """When to decide again although nothing changed; 0: nothing to wait for but changes."""


def decide(rollout: Rollout, instances: Iterable[Instance], now: int) -> Decision:
    """What to do next in a rollout. Nothing, in one that is paused or over."""
    ordered = sorted(instances, key=lambda instance: instance.key)
    match rollout.state:
        case "running":
            return _forward(rollout, ordered, now)
        case "returning":
            return _back(rollout, ordered)
        case _:
            return Decision((), None)


def _forward(rollout: Rollout, instances: list[Instance], now: int) -> Decision:
    ill = next((one for one in instances if one.text == rollout.new and _is_ill(one, rollout.new)), None)
    if ill is not None and ill.state is not None:
        why = f"{ill.key} is not well: {ill.state.why or ill.state.health or ill.state.sub or ill.state.active}"
        return _turn_back(rollout, instances, why)
    done, under_way, due = [], [], []
    for one in instances:
        if one.text != rollout.new:
            continue
        well_at = _well_at(one, rollout)
        if well_at is not None and well_at <= now:
            done.append(one.key)
        else:
            under_way.append(one.key)
            due += [well_at] if well_at is not None else []
    began = rollout.stepped or rollout.started
    if under_way and began + rollout.deadline <= now:
        why = f"{under_way[0]} was not well {rollout.deadline} s after it got the new text"
        return _turn_back(rollout, instances, why)
    free = rollout.max_parallel - len(under_way)
    waiting = [one for one in instances if one.text != rollout.new and not one.pending]
    chosen = tuple((one.key, rollout.new) for one in waiting[: max(free, 0)])
    over = not waiting and not under_way and not any(one.pending for one in instances)
    renewed = msgspec.structs.replace(
        rollout,
        done=tuple(done),
        state="done" if over else "running",
        why=f"{len(done)} of {len(instances)} run the new text and are well",
        stepped=now if chosen or set(done) - set(rollout.done) else rollout.stepped,
    )
    if under_way or chosen:
        due.append(max(renewed.stepped or renewed.started, now if chosen else 0) + rollout.deadline)
    return Decision(chosen, None if renewed == rollout else renewed, due=min(due, default=0))


def _turn_back(rollout: Rollout, instances: list[Instance], why: str) -> Decision:
    returning = msgspec.structs.replace(rollout, state="returning", why=why)
    step = _back(returning, instances)
    return msgspec.structs.replace(step, rollout=step.rollout or returning)


def _back(rollout: Rollout, instances: list[Instance]) -> Decision:
    new = [one for one in instances if one.text == rollout.new]
    if not new and not any(one.pending for one in instances):
        over = msgspec.structs.replace(rollout, state="returned", done=())
        return Decision((), over, restore=rollout.old)
    ill = [one for one in new if _is_ill(one, rollout.new) or not _is_well(one, rollout.new)]
    well = [one for one in new if one not in ill and not one.pending]
    on_the_way = sum(one.text == rollout.old and not _is_well(one, rollout.old) for one in instances)
    free = max(rollout.max_parallel - on_the_way - len(ill), 0)
    chosen = [one for one in ill if not one.pending] + well[:free]
    return Decision(tuple((one.key, rollout.old) for one in chosen), None)


def _is_ill(one: Instance, text: str) -> bool:
    return one.state is not None and one.launched and one.state.text == text and is_failing(one.state)


def _is_well(one: Instance, text: str) -> bool:
    state = one.state
    if state is None or state.text != text:
        return False
    if not one.launched:
        return state.load == "loaded"
    return state.active == "active" and state.health in ("", "healthy")


def _well_at(one: Instance, rollout: Rollout) -> int | None:
    """When it counts as done, if it stays as it is; None if it is not well."""
    if one.pending or one.state is None or not _is_well(one, rollout.new):
        return None
    return one.state.since + (rollout.healthy_after if one.launched else 0)


def instances(view: View, name: str) -> list[Instance]:
    """The placements that a rollout of that unit or template is about, but for those on machines that are gone."""
    found = []
    for unit_name in view.made(name):
        unit = view.board.units.get(unit_name)
        for machine, placement in sorted(view.board.places.get(unit_name, {}).items()):
            if unit is None or machine not in view.machines:
                continue
            found.append(
                Instance(
                    machine if unit.rules.is_global else unit_name,
                    placement.text,
                    view.states.get((machine, unit_name)),
                    placement.desired == "launched",
                    (machine, unit_name) in view.pending,
                )
            )
    return found


def updates(view: View, name: str, decision: Decision) -> list[Update]:
    """The tasks of a decision. They are to be assumed, and confirmed or refused, like those of a plan."""
    wanted = dict(decision.update)
    found = []
    for unit_name in view.made(name):
        unit = view.board.units.get(unit_name)
        for machine, placement in sorted(view.board.places.get(unit_name, {}).items()):
            key = machine if unit is not None and unit.rules.is_global else unit_name
            if key in wanted and (machine, unit_name) not in view.pending:
                found.append(_update(unit_name, machine, placement, wanted[key]))
    return found


def _update(unit: str, machine: str, placement: Placement, text: str) -> Update:
    return Update(unit, machine, msgspec.structs.replace(placement, text=text), "its turn in a rollout")
