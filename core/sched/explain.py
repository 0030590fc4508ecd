"""Why a unit is where it is, why not elsewhere, and what it waits for: the same rules as the plan's, in words."""

from collections.abc import Generator
from operator import itemgetter

import msgspec

from core.sched.board import Slot, Unit
from core.sched.circles import circle
from core.sched.obstacles import obstacle, words
from core.sched.view import View, is_failing

SLICE = 100
"""Machines looked at in one slice: about a millisecond."""


class Verdict(msgspec.Struct, frozen=True):
    """One machine, as a unit finds it."""

    machine: str
    name: str
    """The host's name, as far as it is known."""
    here: bool
    """Whether the unit stands there."""
    qualifies: bool
    reason: str
    """What keeps it away; or, of a machine that would do, its load and what speaks for it."""


class Explanation(msgspec.Struct, frozen=True):
    """What there is to say about one unit."""

    unit: str
    desired: str
    """Empty if there is no such unit."""
    placed: dict[str, str]
    """Machines it stands on, and why it was put there."""
    waits_for: str
    """What it waits for; empty if it stands where it is wanted."""
    verdicts: tuple[Verdict, ...]
    """Every machine: where it stands first, then those that qualify, the best first, then the others by id."""


def explain(view: View, name: str) -> Explanation:
    """Look at every machine. Changed records should be taken in first (`view.take_in`)."""
    work = explaining(view, name)
    while True:
        try:
            next(work)
        except StopIteration as end:
            found: Explanation = end.value
            return found


def explaining(view: View, name: str) -> Generator[None, None, Explanation]:
    """The same in slices. What changes between them is seen by the machines that are looked at later."""
    unit = view.board.units.get(name)
    placed = {machine: placement.why for machine, placement in sorted(view.board.places.get(name, {}).items())}
    if unit is None:
        record = view.units.get(name)
        return Explanation(name, "" if record is None else record.desired, placed, _why_nowhere(view, name), ())
    found = []
    for number, slot in enumerate(list(view.board.slots.values()), 1):
        verdict = _verdict(view, unit, slot)
        found.append((_order(slot, verdict), verdict))
        if number % SLICE == 0:
            yield
    verdicts = tuple(verdict for _, verdict in sorted(found, key=itemgetter(0)))
    return Explanation(name, unit.desired, placed, _waits_for(view, unit, verdicts), verdicts)


def _verdict(view: View, unit: Unit, slot: Slot) -> Verdict:
    problem = obstacle(view.board, unit, slot)
    reason = words(view.board, unit, slot, problem) if problem is not None else _merits(view, unit, slot)
    name = slot.machine.name if slot.machine is not None else ""
    return Verdict(slot.id, name, unit.name in slot.units, problem is None, reason)


def _order(slot: Slot, verdict: Verdict) -> tuple[bool, bool, int, str]:
    return not verdict.here, not verdict.qualifies, slot.load if verdict.qualifies else 0, slot.id


def _merits(view: View, unit: Unit, slot: Slot) -> str:
    parts = [f"load {slot.load / 1000:g}"]
    for key in unit.rules.spread:
        value = slot.metadata.get(key, "")
        number = view.board.spread.get((unit.family, key), {}).get(value, 0)
        parts.append(f"{number} of {unit.family} where {key} is {value or 'not set'}")
    if unit.replica:
        parts.append(f"{slot.families.get(unit.family, 0)} of {unit.family} here")
    for machine, placement in view.board.places.get(unit.name, {}).items():
        if placement.shun.get(slot.id, 0) > view.now:
            parts.append(f"it failed here before it went to {machine[:8]}")
    return ", ".join(parts)


def _why_nowhere(view: View, name: str) -> str:
    """Of a unit that is not wanted anywhere, or cannot be read."""
    if name in view.unreadable:
        return f"its text cannot be used: {view.unreadable[name]}"
    record = view.units.get(name)
    if record is None:
        return "there is no unit of that name"
    if record.desired == "inactive":
        return "nobody asked to load or start it"
    if "@." in name:
        return "a template runs nowhere itself; its instances do, and Replicas= or scaling it makes some"
    return "the next plan"


def _waits_for(view: View, unit: Unit, verdicts: tuple[Verdict, ...]) -> str:
    standing = [verdict for verdict in verdicts if verdict.here]
    if unit.rules.is_global:
        return ""
    if standing and all(verdict.qualifies for verdict in standing):
        return _waits_here(view, unit)
    if not verdicts:
        return "a machine: there is none"
    if any(verdict.qualifies for verdict in verdicts if not verdict.here):
        return "the next plan"
    circle = _circle(view, unit)
    if circle:
        return f"{' waits for '.join(circle)}: none of them can be first, so one MachineOf= has to go"
    for peer in unit.rules.machine_of:
        if peer not in view.board.units:
            return f"{peer}, which it wants to be with, and which nobody started"
        if peer not in view.board.places:
            return f"{peer}, which it wants to be with, and which waits itself"
    return _counted(verdicts)


def _waits_here(view: View, unit: Unit) -> str:
    """What a unit that stands well waits for: that another machine has stopped it, and that it becomes well."""
    for machine, placement in view.board.places.get(unit.name, {}).items():
        if placement.after and unit.desired == "launched":
            names = " and ".join(each[:8] for each in placement.after)
            return f"{names} to stop it, {max(placement.until - view.now, 0)} s at most"
        state = view.states.get((machine, unit.name))
        if state is not None and is_failing(state) and unit.desired == "launched":
            return f"it is not well on {machine[:8]}: {state.why or state.health or state.sub or state.active}"
    return ""


def _counted(verdicts: tuple[Verdict, ...]) -> str:
    """Equal reasons once, the most frequent first."""
    counts: dict[str, int] = {}
    for verdict in verdicts:
        counts[verdict.reason] = counts.get(verdict.reason, 0) + 1
    listed = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    words_ = [f"{number} × {reason}" if number > 1 else reason for reason, number in listed[:3]]
    more = f"; and {len(listed) - 3} other reasons" if len(listed) > 3 else ""
    return f"a machine that can take it: {'; '.join(words_)}{more}"


def _circle(view: View, unit: Unit) -> list[str]:
    """Units that wait for each other in a circle through this one; empty if there is none."""
    return circle(unit.name, lambda name: view.board.units[name].rules.machine_of if name in view.board.units else ())
