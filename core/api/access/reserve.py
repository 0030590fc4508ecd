"""What a host may do with the keys of units and machines (`core.kv.reserved`): its own part and no more.

It reads what it is to run and the words of operators about it, and writes that it is there and how its units are.
"""

from functools import lru_cache

from core.kv.access import Permission, Right, prefix_end
from core.kv.reserved import FLEET_PREFIX

RELAYED = b"corenode-relayed"
"""A header by which a worker marks what it passes on for others: the worker's certificate vouches for none of them."""


@lru_cache(maxsize=4096)
def of_host(machine: str) -> tuple[Permission, ...]:
    """The permissions of the host with that machine id."""
    own = machine.encode()
    return (
        _below(Right.READ, b"units/"),
        _below(Right.READ, b"texts/"),
        Permission(Right.READ, FLEET_PREFIX + b"hosts/" + own),
        _below(Right.READ, b"hosts/" + own + b"/"),
        _below(Right.READ, b"placements/" + own + b"/"),
        Permission(Right.READWRITE, FLEET_PREFIX + b"machines/" + own),
        _below(Right.READWRITE, b"states/" + own + b"/"),
    )


def _below(right: Right, part: bytes) -> Permission:
    return Permission(right, FLEET_PREFIX + part, prefix_end(FLEET_PREFIX + part))
