"""Waiting until units are as they should be, and saying why they are not."""

import sys
from typing import TYPE_CHECKING

from core.commands import output
from core.commands.failure import Failure

if TYPE_CHECKING:
    from core.client.units import Place, Unit, Units
    from core.sched.records import Desired

POLL_SECONDS = 0.25
_SHORT = 8


async def until(units: "Units", names: list[str], desired: "Desired", seconds: float) -> None:
    """Wait until it is so, and tell of each unit when it is. Failure, with the reason, if it is not in time."""
    import trio

    waiting = list(names)
    with trio.move_on_after(seconds):
        while True:
            for name in list(waiting):
                said = _reached(await _family(units, name), desired)
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


def _reached(found: "list[Unit]", desired: "Desired") -> str | None:
    """What can be said of it if it is so, None if it is not yet."""
    places = [place for unit in found for place in unit.places]
    if desired == "inactive":
        return None if places else "has no machine"
    if not found or not all(unit.places for unit in found):
        return None
    if not all(is_as_wanted(place, desired) for place in places):
        return None
    machines = ", ".join(sorted({place.machine[:_SHORT] for place in places}))
    return f"{'runs' if desired == 'launched' else 'is loaded'} on {machines}"


def is_as_wanted(place: "Place", desired: "Desired") -> bool:
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
            if state is not None and not is_as_wanted(place, desired):
                health = f", {state.health}" if state.health else ""
                why = f": {state.why}" if state.why else ""
                how = f"{state.active} ({state.sub}{health}) on {place.machine[:_SHORT]}"
                return f"{unit.name} is {how} after {seconds:g} s{why}. Its log: corenode unit logs {unit.name}"
    return f"{name} is not {desired} after {seconds:g} s. Why: corenode unit explain {name}"


def _progress(text: str) -> None:
    """One line that is written over, where somebody looks."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()
