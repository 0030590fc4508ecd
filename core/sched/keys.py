"""Where the records of the cluster's units rest in the store.

Placements and states lie under a prefix a machine, so that one change wakes one agent.
"""

from enum import Enum

import msgspec

PREFIX = b"\0corenode/fleet/"
UNITS = PREFIX + b"units/"
TEXTS = PREFIX + b"texts/"
HOSTS = PREFIX + b"hosts/"
MACHINES = PREFIX + b"machines/"
PLACEMENTS = PREFIX + b"placements/"
STATES = PREFIX + b"states/"
ROLLOUTS = PREFIX + b"rollouts/"
LEADER = PREFIX + b"leader"
"""The name of the engine's election."""
GENERATION = PREFIX + b"generation"

_HEADER = b".header"
"""No unit is called so: its name would lack a type."""


class Kind(Enum):
    """What a key holds."""

    UNIT = "units"
    TEXT = "texts"
    HOST = "hosts"
    MACHINE = "machines"
    HEADER = "header"
    PLACEMENT = "placements"
    STATE = "states"
    ROLLOUT = "rollouts"
    GENERATION = "generation"


class Place(msgspec.Struct, gc=False, frozen=True):
    """A key in its parts."""

    kind: Kind
    machine: str = ""
    """Machine id, of hosts, machines, headers, placements and states."""
    name: str = ""
    """Unit's name, of units, placements, states and rollouts; the hash, of texts."""


def unit(name: str) -> bytes:
    return UNITS + name.encode()


def text(digest: str) -> bytes:
    """`digest`: SHA-256 of the text, hexadecimal."""
    return TEXTS + digest.encode()


def host(machine: str) -> bytes:
    return HOSTS + machine.encode()


def machine(machine: str) -> bytes:
    return MACHINES + machine.encode()


def placements(machine: str) -> bytes:
    """The prefix of one machine's header and placements."""
    return PLACEMENTS + machine.encode() + b"/"


def header(machine: str) -> bytes:
    return placements(machine) + _HEADER


def placement(machine: str, name: str) -> bytes:
    return placements(machine) + name.encode()


def states(machine: str) -> bytes:
    """The prefix of the states of one machine's units."""
    return STATES + machine.encode() + b"/"


def state(machine: str, name: str) -> bytes:
    return states(machine) + name.encode()


def rollout(name: str) -> bytes:
    return ROLLOUTS + name.encode()


_NAMED = {UNITS: Kind.UNIT, TEXTS: Kind.TEXT, ROLLOUTS: Kind.ROLLOUT}
_OF_MACHINE = {HOSTS: Kind.HOST, MACHINES: Kind.MACHINE}
_BELOW_MACHINE = {PLACEMENTS: Kind.PLACEMENT, STATES: Kind.STATE}


def parse(key: bytes) -> Place | None:
    """What a key is for; None for the election and for whatever a later version put there."""
    if key == GENERATION:
        return Place(Kind.GENERATION)
    cut = key.find(b"/", len(PREFIX)) + 1
    room, rest = key[:cut], key[cut:].decode(errors="replace")
    if not rest:
        return None
    if room in _NAMED:
        return Place(_NAMED[room], name=rest)
    if room in _OF_MACHINE:
        return Place(_OF_MACHINE[room], rest)
    if room in _BELOW_MACHINE:
        owner, _, name = rest.partition("/")
        if not owner or not name:
            return None
        if room == PLACEMENTS and name == _HEADER.decode():
            return Place(Kind.HEADER, owner)
        return Place(_BELOW_MACHINE[room], owner, name)
    return None
