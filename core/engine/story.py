"""Which story the placements tell, and whether agents may be told to believe it. Pure.

The key `generation` names the story; each machine's header repeats it, and agents follow no header that is older than
what they know. A store that was restored from a snapshot tells what was true once: its generation is raised, by whoever
restored it or by the engine that notices. Before the headers follow, the engine waits until the agents that live have
told what really runs, and takes that over.

One host alone may lie. Its word that the store went back is heard, because it may be the only one that noticed; but if
most of the others have not said so by the end of the wait, it is not heard again for a while, longer each time.
"""

from collections.abc import Collection

import msgspec

from core.sched import names
from core.sched.obstacles import Obstacle, obstacle
from core.sched.records import Generation, Header, Placement
from core.sched.tasks import Move, Place
from core.sched.view import View

FIRST = 1
"""The generation of a cluster nobody has restored."""
SETTLE_SECONDS = 60.0
"""How long agents have to tell what runs: they notice an older snapshot within two thirds of it, and the leases that
were restored with it, and that nobody renews, have ended by then."""
DOUBT_SECONDS = 60.0
LONGEST_DOUBT_SECONDS = 3600.0
"""How long a host is not heard that said, with few others, that the store went back: first, and at last."""
FARTHEST = 1000
"""Generations that a host can have seen beyond the store's: nobody restores one more often."""


def strangers(view: View) -> list[str]:
    """Units that run although the registry does not know them."""
    found = set()
    for _, name in view.states:
        template = _template(name)
        if name not in view.units and template not in view.units:
            found.add(name)
    return sorted(found)


def has_followers(view: View) -> bool:
    """Whether any host has believed a story before."""
    return any(machine.follows is not None for machine in view.machines.values())


def _template(name: str) -> str | None:
    try:
        return names.parse(name).template
    except names.UnitNameError:
        return None


def successor(now: Generation | None, cluster: str, least: int) -> Generation | None:
    """The generation to write; None if the present one stands. `least` is the one it has to reach."""
    if now is None:
        return Generation(cluster, max(FIRST, least))
    return Generation(now.cluster, least) if now.generation < least else None


def least(
    view: View,
    now: Generation | None,
    cluster: str,
    seen: Generation | None,
    *,
    went_back: bool,
    doubted: Collection[str] = (),
) -> int:
    """The generation that has to be reached, so that agents follow: what they say, but for the `doubted`, and what this
    process saw before the store went back."""
    cluster = now.cluster if now else cluster
    seen = seen if seen is not None and seen.cluster == cluster else None
    farthest = max(now.generation if now else 0, seen.generation if seen else 0) + FARTHEST
    followed = [machine.follows for id_, machine in view.machines.items() if machine.follows and id_ not in doubted]
    needed = [each.generation for each in followed if each.cluster == cluster and each.generation <= farthest]
    if seen is not None:
        needed.append(seen.generation + 1 if went_back or now is None else seen.generation)
    return max(needed, default=0)


def alone(view: View, generation: Generation) -> list[str]:
    """The hosts that say they follow nothing older than a generation, if they are not most of those that are there."""
    ahead = sorted(
        id_
        for id_, machine in view.machines.items()
        if machine.follows is not None and machine.follows.generation >= generation.generation
    )
    return ahead if len(ahead) * 2 <= len(view.machines) else []


_NOT = (Obstacle.OTHER_MACHINE, Obstacle.METADATA, Obstacle.CORDONED)
"""What no host overcomes by saying that it runs a unit."""


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
        if (
            unit is None
            or unit.desired != "launched"
            or unit.rules.is_global
            or any(machine in places for machine in machines)
        ):
            continue
        machines = [machine for machine in machines if obstacle(view.board, unit, view.board.slot(machine)) not in _NOT]
        if not machines:
            continue
        why = "it was found running here"
        if places:
            source, placement = next(iter(sorted(places.items())))
            placement = msgspec.structs.replace(placement, why=why, after=(), until=0, unheard=False)
            tasks.append(Move(name, machines[0], placement, why, source))
        else:
            text = view.states[machines[0], name].text or unit.text
            placement = Placement(text, why=why, restart=unit.restarted)
            tasks.append(Place(name, machines[0], placement, why))
    return tasks
