"""Which story the placements tell, and whether agents may be told to believe it. Pure.

The key `generation` names the story; each machine's header repeats it, and agents follow no header that is older than
what they know. A store that was restored from a snapshot tells what was true once: its generation is raised, by whoever
restored it or by the engine that notices. Before the headers follow, the engine waits until the agents that live have
told what really runs, and takes that over.
"""

from core.sched import names
from core.sched.records import Generation, Header, Placement
from core.sched.tasks import Move, Place
from core.sched.view import View

FIRST = 1
"""The generation of a cluster nobody has restored."""
SETTLE_SECONDS = 60.0
"""How long agents have to tell what runs: they notice an older snapshot within two thirds of it, and the leases that
were restored with it, and that nobody renews, have ended by then."""


def strangers(view: View) -> list[str]:
    """Units that run although the registry does not know them."""
    found = set()
    for _, name in view.states:
        template = _template(name)
        if name not in view.units and template not in view.units:
            found.add(name)
    return sorted(found)


def _template(name: str) -> str | None:
    try:
        return names.parse(name).template
    except names.UnitNameError:
        return None


def successor(now: Generation | None, cluster: str, seen: Generation | None, *, went_back: bool) -> Generation | None:
    """The generation to write; None if the present one stands. `seen` is the last one this process knew."""
    if now is None:
        return Generation(cluster, FIRST if seen is None else seen.generation + 1)
    if went_back and seen is not None and now.generation <= seen.generation:
        return Generation(now.cluster, seen.generation + 1)
    return None


def behind(view: View, headers: dict[str, Header], generation: Generation) -> list[str]:
    """Machines that are there and whose header does not say this generation."""
    return sorted(machine for machine in view.machines if headers.get(machine) != generation)


def is_older(headers: dict[str, Header], generation: Generation) -> bool:
    """Whether any header is of another story: then placements are, too."""
    return any(header != generation for header in headers.values())


def adopted(view: View) -> list[Move | Place]:
    """Units that run elsewhere than their placement says: the placement follows them."""
    running: dict[str, list[str]] = {}
    for (machine, name), state in sorted(view.states.items()):
        if state.active in ("active", "activating", "reloading") and machine in view.machines:
            running.setdefault(name, []).append(machine)
    tasks: list[Move | Place] = []
    for name, machines in running.items():
        unit, places = view.board.units.get(name), view.board.places.get(name, {})
        if unit is None or unit.rules.is_global or any(machine in places for machine in machines):
            continue
        why = "it was found running here"
        if places:
            source, placement = next(iter(sorted(places.items())))
            tasks.append(Move(name, machines[0], placement, why, source))
        else:
            text = view.states[machines[0], name].text or unit.text
            placement = Placement(text, why=why, restart=unit.restarted)
            tasks.append(Place(name, machines[0], placement, why))
    return tasks
