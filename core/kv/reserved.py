"""The worlds of the system's own keys: ordinary keys with history, leases and watches, but apart from everybody's.

There are two: units and machines, and updates of hosts. A range that begins in a world shows what is there and nothing
else; every other range hides them all. So whoever reads or watches everything never meets them, and who may ask for
them is decided by the key where a request begins.
"""

from core.kv.access import Permission, Right, Span, covers, prefix_end
from core.kv.ledger import SYSTEM_PREFIX

FLEET_PREFIX = SYSTEM_PREFIX + b"fleet/"
UPDATE_PREFIX = SYSTEM_PREFIX + b"update/"
WORLDS = (FLEET_PREFIX, UPDATE_PREFIX)
"""In order. None is the beginning of another."""

NOWHERE = prefix_end(FLEET_PREFIX)
"""A key of the system records that is never written and no world has: it stands for `not there`."""

_TEXTS = FLEET_PREFIX + b"texts/"
"""Named by their hashes: whoever knows a name has been told of the unit."""

EVERYTHING = tuple(Permission(Right.READWRITE, world, prefix_end(world)) for world in WORLDS)


def is_reserved(key: bytes) -> bool:
    """Whether a key, or a range that begins with it, is of these."""
    return key.startswith(WORLDS)


def is_hidden(key: bytes, start: bytes) -> bool:
    """Whether a range that begins at `start` leaves a key out."""
    if start.startswith(WORLDS):
        return not key.startswith(_world(start))
    return key.startswith(SYSTEM_PREFIX)


def world_end(key: bytes) -> bytes:
    """The end of the world that a reserved key is of."""
    return prefix_end(_world(key))


def clipped(start: bytes, stop: bytes | None) -> bytes | None:
    """Where a range ends (None: never) that must not leave the world it begins in."""
    if not start.startswith(WORLDS):
        return stop
    end = world_end(start)
    return end if stop is None else min(stop, end)


def opens(permissions: tuple[Permission, ...], right: Right, part: Span) -> bool:
    """Whether the permissions give `right` on a range that begins in one of the worlds, as far as it goes there. Texts,
    which may hold secrets, are opened one by one, by name."""
    if part.start.startswith(_TEXTS) and part.stop != part.start + b"\0" and permissions != EVERYTHING:
        return False
    return covers(permissions, right, Span(part.start, clipped(part.start, part.stop)))


def _world(key: bytes) -> bytes:
    return next(world for world in WORLDS if key.startswith(world))
