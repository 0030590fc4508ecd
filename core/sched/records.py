"""The records of the cluster's units, each as JSON: unknown fields are ignored, and missing ones have defaults.

Times are whole Unix seconds, 0 for none; sizes are bytes; a text is named by its SHA-256, hexadecimal.
"""

from typing import Annotated, Literal, TypeVar

import msgspec

Desired = Literal["inactive", "loaded", "launched"]
Health = Literal["", "starting", "healthy", "unhealthy"]
RolloutState = Literal["running", "paused", "done", "returning", "returned"]
Whole = Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]
"""Of numbers that hosts write: what every reader of JSON can hold, and what can be reckoned with."""
HEALTHY_AFTER = 10
"""Seconds that an instance must be well before it counts as done in a rollout, unless told otherwise."""


class RecordError(ValueError):
    """A record that this version cannot read; the text says why."""


class UnitRecord(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What is wanted of one unit, or of a template with `Replicas=`."""

    text: str
    desired: Desired = "inactive"
    replicas: int | None = None
    """In place of the template's `Replicas=`."""
    restarted: int = 0
    """How often an operator asked for a restart; placements repeat it."""


class Drain(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A host that is to be empty of units."""

    deadline: Whole = 0
    """When patience ends: from then on everything moves at once."""
    at_once: Whole = 1
    """How many units may be on their way at the same time."""


class Machine(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A host that is there: written by its agent under the host's one lease."""

    id: str
    """32 hexadecimal digits."""
    name: str = ""
    address: str = ""
    """Its primary IP address."""
    endpoints: tuple[str, ...] = ()
    """Where its agent answers: `https://…` or `unix:/…`."""
    boot_id: str = ""
    metadata: dict[str, str] = {}
    cpus: Annotated[float, msgspec.Meta(ge=0, le=1 << 20)] = 0.0
    """How many it has; 0: unknown, and not reckoned with."""
    memory: Whole = 0
    """Bytes it has; 0: unknown, and not reckoned with."""
    version: str = ""
    session: str = ""
    """A nonce of the agent process that owns this record."""
    follows: "Generation | None" = None
    """The least generation of placements that its agent follows: one more than it knew if the store went back."""
    leaving: Drain | None = None
    """It is about to restart, by its own word, and is to be empty before. It ends with the record."""


class HostRecord(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What operators said about a host; it is kept while the host is away."""

    metadata: dict[str, str | None] = {}
    """In place of the host's own; None or an empty string hides a key."""
    cordoned: str = ""
    """Why nothing new is to be placed there; empty if it may."""
    drain: Drain | None = None


class Placement(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One unit on one machine: written by the engine, carried out by that machine's agent."""

    text: str
    desired: Literal["loaded", "launched"] = "launched"
    why: str = ""
    """Why it is here, in words."""
    restart: int = 0
    """The unit record's `restarted`; another number than before asks for a restart."""
    moves: int = 0
    """How often in a row it was moved because it failed."""
    shun: dict[str, int] = {}
    """Machines it failed on, and until when others are preferred."""
    drained: str = ""
    """The machine it had to leave for this one because that is drained."""
    after: tuple[str, ...] = ()
    """Machines that may still have it: it is loaded here, and started once none is named any more."""
    until: int = 0
    """When `after` ends at the latest."""
    unheard: bool = False
    """What `after` names had told nothing of it when it was moved, so that silence does not say that it has stopped."""


class Generation(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Which story of which cluster this is. Restoring an old snapshot or founding anew begins another generation."""

    cluster: str
    generation: Whole = 0


Header = Generation
"""What stands above each machine's placements: without it, or with an older one, its agent keeps all as it is."""


class UnitState(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """How a unit fares on a machine: written by its agent under the host's one lease."""

    text: str = ""
    """The text that is loaded."""
    load: str = ""
    active: str = ""
    sub: str = ""
    since: Whole = 0
    """When `active`, `sub` or `health` changed last."""
    health: Health = ""
    """By the unit's `Health=`; empty if it has none."""
    why: str = ""
    """The last result in words: exit status, signal, answer of the health check."""
    restarts: Whole = 0
    """How often it was restarted since it was started."""
    pid: Whole = 0
    ended: bool = False
    """It was started as asked, and has come to its end without having failed."""


class Rollout(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A unit's text being replaced, instance by instance or machine by machine."""

    old: str
    new: str
    max_parallel: int = 1
    state: RolloutState = "running"
    done: tuple[str, ...] = ()
    """Those that run the new text and stayed well: instances by name, placements of a global unit by machine id."""
    why: str = ""
    started: int = 0
    stepped: int = 0
    """When its last step began."""
    healthy_after: int = HEALTHY_AFTER
    """Seconds an instance must be well before it counts as done."""
    deadline: int = 300
    """Seconds one step may take before the rollout counts as failed."""


Record = UnitRecord | Machine | HostRecord | Placement | Generation | UnitState | Rollout
R = TypeVar("R", UnitRecord, Machine, HostRecord, Placement, Generation, UnitState, Rollout)

_ENCODER = msgspec.json.Encoder(order="deterministic")
_DECODERS = {
    kind: msgspec.json.Decoder(kind)
    for kind in (UnitRecord, Machine, HostRecord, Placement, Generation, UnitState, Rollout)
}

LONGEST = {Machine: 1 << 16, UnitState: 1 << 16}
"""Bytes of what hosts write."""


def encode(record: Record) -> bytes:
    return _ENCODER.encode(record)


def decode(kind: type[R], data: bytes) -> R:
    """The record in `data`. RecordError if it is none of that kind."""
    if len(data) > LONGEST.get(kind, len(data)):
        raise RecordError(f"a {kind.__name__} record has at most {LONGEST[kind]} bytes, and this has {len(data)}")
    try:
        record: R = _DECODERS[kind].decode(data)  # type: ignore[assignment]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(f"this is no {kind.__name__} record: {error}") from error
    return record
