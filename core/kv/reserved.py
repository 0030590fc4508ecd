"""The keys of units and machines: ordinary keys with history, leases and watches, but in a world of their own.

A range that begins below FLEET_PREFIX shows what is there and nothing else; every other range hides it. So whoever
reads or watches everything never meets them, and who may ask for them is decided by the key where a request begins.
"""

from core.kv.access import Permission, Right, Span, covers
from core.kv.ledger import SYSTEM_PREFIX

FLEET_PREFIX = SYSTEM_PREFIX + b"fleet/"
FLEET_END = SYSTEM_PREFIX + b"fleet0"
"""Behind them all. It is a key of the system records that is never written, so it also stands for `not there`."""

_TEXTS = FLEET_PREFIX + b"texts/"
"""Named by their hashes: whoever knows a name has been told of the unit."""

EVERYTHING = (Permission(Right.READWRITE, FLEET_PREFIX, FLEET_END),)


def is_reserved(key: bytes) -> bool:
    """Whether a key, or a range that begins with it, is of these."""
    return key.startswith(FLEET_PREFIX)


def is_hidden(key: bytes, start: bytes) -> bool:
    """Whether a range that begins at `start` leaves a key out."""
    if start.startswith(FLEET_PREFIX):
        return not key.startswith(FLEET_PREFIX)
    return key.startswith(SYSTEM_PREFIX)


def clipped(start: bytes, stop: bytes | None) -> bytes | None:
    """Where a range ends (None: never) that must not leave the world it begins in."""
    if not start.startswith(FLEET_PREFIX):
        return stop
    return FLEET_END if stop is None else min(stop, FLEET_END)


def opens(permissions: tuple[Permission, ...], right: Right, part: Span) -> bool:
    """Whether the permissions give `right` on a range that begins below FLEET_PREFIX, as far as it goes there. Texts,
    which may hold secrets, are opened one by one, by name."""
    if part.start.startswith(_TEXTS) and part.stop != part.start + b"\0" and permissions != EVERYTHING:
        return False
    return covers(permissions, right, Span(part.start, clipped(part.start, part.stop)))
