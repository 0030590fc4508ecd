"""The records of updates, each as JSON: unknown fields are ignored, and missing ones have defaults.

Times are whole Unix seconds, 0 for none; sizes are bytes; hashes are SHA-256, hexadecimal.
"""

from typing import Literal, TypeVar

import msgspec

DEFAULT_GROUP = "default"
"""The group of hosts that name none."""

Stage = Literal["idle", "asking", "fetching", "writing", "comparing", "waiting", "rebooting", "proving", "failed"]


class RecordError(ValueError):
    """A record that this version cannot read; the text says why."""


class Channel(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What hosts of a channel are to run: alpha, beta, stable, or whatever an operator calls it."""

    product: str
    version: str
    floors: tuple[str, ...] = ()
    """Versions that no older host may skip, oldest first."""


class Hours(msgspec.Struct, frozen=True, gc=False):
    """When a group's hosts may begin: `core.update.windows` says how it is written."""

    start: str
    """`HH:MM` or `Ddd HH:MM`, UTC."""
    length: str


class Policy(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """How a group goes from one version to the next."""

    at_once: int = 1
    """How many hosts may be under way at the same time; 0: as many as `percent` says."""
    percent: int = 0
    """The same as a share of the hosts that are there, one at least."""
    first_alone: bool = True
    """Whether the first host to a version goes alone, and the others wait until it is well."""
    window: Hours | None = None
    """None: at any time."""
    max_failures: int = 1
    """The group pauses by itself when so many hosts failed; 0: never."""
    patience: int = 3600
    """Seconds a host may take, from its offer on, until it counts as failed."""


class Group(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Hosts that follow one channel together."""

    channel: str
    policy: Policy = Policy()
    paused: bool = False
    why: str = ""
    """Why it is paused: an operator's words, or the conductor's."""
    attempt: int = 1
    """One more each time it is resumed: hosts that failed are offered the version again under another number."""
    omaha: str = ""
    """The application id, lower case and without braces, under which hosts of other makes may ask for this group by
    its name, without a certificate; empty: they may not."""


class Offer(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """This host may go to this version now. It may be taken back until the host reboots."""

    product: str
    version: str
    architecture: str
    sha256: str
    """Of the release's manifest."""
    size: int
    attempt: int = 1
    """The group's. A host that failed tries again when this is another number."""
    group: str = ""


class Report(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What a host says of itself."""

    group: str
    product: str
    architecture: str
    version: str
    """What it runs."""
    slot: str = ""
    stage: Stage = "idle"
    """`idle` behind `proving` means that it is well; `failed` stays until another offer comes. `asking` is `idle` at a
    host that visits, while it is there."""
    wanted: str = ""
    """The version it is on its way to, or failed to reach."""
    progress: int = 0
    """Per cent of the stage."""
    error: str = ""
    since: int = 0
    """When the stage began, by the host's clock: for people."""
    attempt: int = 0
    """Of the offer it follows, or followed last."""
    visits: bool = False
    """It is of another make, comes by now and then (`core.api.omaha`), and this is what it said."""


Record = Channel | Group | Offer | Report
R = TypeVar("R", Channel, Group, Offer, Report)

_ENCODER = msgspec.json.Encoder(order="deterministic")


def encode(record: Record) -> bytes:
    """The bytes to store."""
    return _ENCODER.encode(record)


def decode(kind: type[R], data: bytes) -> R:
    """A record from its bytes. RecordError."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"this is no {kind.__name__.lower()}: {error}") from None
