"""What a host may do with the reserved keys (`core.kv.reserved`): its own part and no more.

It reads what it is to run, the texts that this names, and the words of operators about it, and writes that it is there
and how its units are. It cannot list texts: those of other hosts may hold secrets. Of updates it reads the channels and
groups and what it is offered, and writes that it is there and how it fares.
"""

from functools import lru_cache

from core.kv.access import Permission, Right, prefix_end
from core.sched import keys
from core.update import keys as update_keys

RELAYED = b"corenode-relayed"
"""A header by which a worker marks what it passes on for others: the worker's certificate vouches for none of them."""


@lru_cache(maxsize=4096)
def of_host(machine: str) -> tuple[Permission, ...]:
    """The permissions of the host with that machine id."""
    return (
        _below(Right.READ, keys.TEXTS),
        Permission(Right.READ, keys.host(machine)),
        _below(Right.READ, keys.placements(machine)),
        Permission(Right.READWRITE, keys.machine(machine)),
        _below(Right.READWRITE, keys.states(machine)),
        _below(Right.READ, update_keys.CHANNELS),
        _below(Right.READ, update_keys.GROUPS),
        Permission(Right.READ, update_keys.offer(machine)),
        Permission(Right.READWRITE, update_keys.report(machine)),
        Permission(Right.READWRITE, update_keys.alive(machine)),
    )


def _below(right: Right, start: bytes) -> Permission:
    return Permission(right, start, prefix_end(start))
