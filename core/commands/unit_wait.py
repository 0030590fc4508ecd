"""Waiting until units are as they should be, and saying why they are not."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from core.commands import output
from core.commands.failure import Failure
from core.commands.machine_names import called, short

if TYPE_CHECKING:
    from core.client.units import Place, Unit, Units
    from core.sched.records import Desired

POLL_SECONDS = 0.25
ENDED = "has run, and ended well"


async def until(units: "Units", names: list[str], desired: "Desired", seconds: float) -> None:
    """Wait until it is so, and tell of each unit when it is. Failure, with the reason, if it is not in time."""
    import trio

    waiting, machines = list(names), await called(units)
    with trio.move_on_after(seconds):
        while True:
            for name in list(waiting):
                found = await _family(units, name)
                said = _reached(found, desired, machines)
                if said is not None:
                    waiting.remove(name)
                    output.note(f"{name} {said}")
            if not waiting:
                return
            _progress(f"waiting for {', '.join(waiting)}")
            await trio.sleep(POLL_SECONDS)
    _progress("")
    raise Failure("\n".join([await _why_not(units, name, desired, seconds) for name in waiting]))


async def _family(units: "Units", name: str) -> "list[Unit]":
    """A unit, or all instances that a template keeps."""
    found = await units.get(name)
    if found is None:
        return []
    if "@." not in name:
        return [found]
    kept = [unit for unit in await units.list() if unit.of == name]
    return kept if len(kept) >= (found.replicas or 1) else []


def _machines(found: "list[Unit]", machines: "Mapping[str, str]") -> str:
    ids = {place.machine for unit in found for place in unit.places}
    return ", ".join(machines.get(each, short(each)) for each in sorted(ids))


def _reached(found: "list[Unit]", desired: "Desired", machines: "Mapping[str, str]") -> str | None:
    """What can be said of it if it is so, None if it is not yet."""
    places = [place for unit in found for place in unit.places]
    if desired == "inactive":
        return None if places else "has no machine"
    if not found or not all(unit.places for unit in found):
        return None
    if not all(is_reached(place, desired) for place in places):
        return None
    how = "runs" if any(_is_as_wanted(place, desired) for place in places) else ENDED + ","
    return f"{'is loaded' if desired == 'loaded' else how} on {_machines(found, machines)}"


def has_ended(place: "Place") -> bool:
    """Whether its machine says that it was started as wanted and is through with its work."""
    return place.state is not None and place.state.ended and place.state.text == place.text


def is_reached(place: "Place", desired: "Desired") -> bool:
    """Whether a unit has come on a machine where it should: it is as wanted there, or through with its work."""
    return _is_as_wanted(place, desired) or (desired == "launched" and has_ended(place))


def _is_as_wanted(place: "Place", desired: "Desired") -> bool:
    """Whether a unit is on a machine as it should be: what is to run runs, is healthy, and with the right text."""
    state = place.state
    if state is None or place.desired != desired or state.text != place.text:
        return False
    if desired == "launched":
        return state.active == "active" and state.health in ("", "healthy")
    return state.load == "loaded" and state.active in ("inactive", "failed")


async def _why_not(units: "Units", name: str, desired: "Desired", seconds: float) -> str:
    for unit in await _family(units, name):
        for place in unit.places:
            state = place.state
            if state is not None and not is_reached(place, desired):
                health = f", {state.health}" if state.health else ""
                why = f": {state.why}" if state.why else ""
                how = f"{state.active} ({state.sub}{health}) on {short(place.machine)}"
                return f"{unit.name} is {how} after {seconds:g} s{why}. Its log: corenode unit logs {unit.name}"
    return f"{name} is not {desired} after {seconds:g} s. {await _explained(units, name)}"


async def _explained(units: "Units", name: str) -> str:
    from core.client.errors import RefusedError

    try:
        waits_for = (await units.explain(name)).waits_for
    except RefusedError:
        waits_for = ""
    return f"It waits for {waits_for}." if waits_for else f"Why: corenode unit explain {name}"


def _progress(text: str) -> None:
    """One line that is written over, where somebody looks."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()
