"""Units that wait for each other: MachineOf= that comes back to where it began."""

from collections.abc import Callable, Iterable


def circle(first: str, peers_of: Callable[[str], Iterable[str]]) -> list[str]:
    """The names along a circle through `first`, which stands at both ends; empty if there is none. The shortest one."""
    came_from: dict[str, str] = {}
    ahead = [first]
    for name in ahead:
        for peer in peers_of(name):
            if peer == first:
                path = [name]
                while path[-1] != first:
                    path.append(came_from[path[-1]])
                return [*reversed(path), first]
            if peer not in came_from:
                came_from[peer] = name
                ahead.append(peer)
    return []
