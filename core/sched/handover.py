"""A unit that changes machines is started on the new one when the old one has it no more.

The placement on the new machine names those that may still have it, and its agent loads the unit and waits. The engine
takes a name away when that machine's agent tells of the unit no more, or is gone itself; all of them when the time has
passed that stopping may take. A machine that is gone is not waited for, whatever still runs there: that is what moved
the unit. What is everywhere is never handed over.
"""

import msgspec

from core.sched.board import Unit
from core.sched.records import Placement
from core.sched.view import View

SILENCE = 5
"""Seconds within which a machine that had told nothing of a unit would do so if it had begun to start it."""


def begin(view: View, unit: Unit, machine: str, placement: Placement, source: str = "") -> Placement:
    """The placement of a unit that comes to a machine, from `source` or from nowhere, with what it waits for."""
    held = dict.fromkeys(each for each in sorted(view.leaving.get(unit.name, ())) if _has(view, unit.name, each))
    before = view.board.places.get(unit.name, {}).get(source)
    if before is not None:
        held.update(dict.fromkeys(each for each in before.after if _has(view, unit.name, each)))
        if _has(view, unit.name, source):
            held[source] = None
        elif source in view.machines and before.desired == "launched" and not (held or before.after):
            return _waits(placement, (source,), view.now + SILENCE, unheard=True)
    held.pop(machine, None)
    return _waits(placement, tuple(held), view.now + unit.stopping) if held else placement


def go_on(view: View, unit: Unit, machine: str, placement: Placement) -> Placement:
    """A placement that waits, as it is now."""
    if not placement.after:
        return placement
    if placement.until <= view.now:
        return _waits(placement, (), 0)
    held = tuple(each for each in placement.after if _has(view, unit.name, each))
    if placement.unheard:
        if held:
            return _waits(placement, held, view.now + unit.stopping)
        held = tuple(each for each in placement.after if each in view.machines)
    if held:
        view.wake(placement.until, unit.name)
        return placement if held == placement.after else msgspec.structs.replace(placement, after=held)
    return _waits(placement, (), 0)


def _has(view: View, name: str, machine: str) -> bool:
    """Whether a machine that is there tells of a unit."""
    return machine in view.machines and (machine, name) in view.states


def _waits(placement: Placement, after: tuple[str, ...], until: int, *, unheard: bool = False) -> Placement:
    return msgspec.structs.replace(placement, after=after, until=until, unheard=unheard)
