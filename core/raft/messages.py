"""The values that raft keeps and exchanges."""

from enum import IntEnum

import msgspec


class Kind(IntEnum):
    """What an entry's data is."""

    COMMANDS = 0
    """A batch for the state machine; empty data is the first entry of a term."""
    MEMBERSHIP = 1
    """A change of the members."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One place in the log."""

    index: int
    """1 for the first entry of a cluster."""
    term: int
    kind: int
    data: bytes


class HardState(msgspec.Struct, frozen=True, gc=False):
    """What a member must never forget."""

    term: int = 0
    vote: int = 0
    """Member id this member voted for in `term`; 0: nobody."""
    commit: int = 0
    """Highest index known to be committed. May lag behind the truth, never ahead of it."""
