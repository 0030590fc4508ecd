"""Where the records of updates rest in the store, each as JSON of `core.update.records` unless it says otherwise.

channels/<channel>     Channel: operators write, hosts read
groups/<group>         Group: operators write, the conductor may pause; hosts read
offers/<machine id>    Offer: the conductor alone writes; the host reads its own
reports/<machine id>   Report: the host writes its own; it stays while the host is away
alive/<machine id>     empty, under a lease of the host's updater: it is there. Nothing is offered to a host that is not
leader                 the name of the conductor's election
"""

from enum import Enum

import msgspec

PREFIX = b"\0corenode/update/"
CHANNELS = PREFIX + b"channels/"
GROUPS = PREFIX + b"groups/"
OFFERS = PREFIX + b"offers/"
REPORTS = PREFIX + b"reports/"
ALIVE = PREFIX + b"alive/"
LEADER = PREFIX + b"leader"


class Kind(Enum):
    """What a key holds."""

    CHANNEL = "channels"
    GROUP = "groups"
    OFFER = "offers"
    REPORT = "reports"
    ALIVE = "alive"


class Place(msgspec.Struct, gc=False, frozen=True):
    """A key in its parts: what it holds, of which channel, group or machine."""

    kind: Kind
    name: str


def channel(name: str) -> bytes:
    return CHANNELS + name.encode()


def group(name: str) -> bytes:
    return GROUPS + name.encode()


def offer(machine: str) -> bytes:
    return OFFERS + machine.encode()


def report(machine: str) -> bytes:
    return REPORTS + machine.encode()


def alive(machine: str) -> bytes:
    return ALIVE + machine.encode()


_KINDS = {kind.value.encode(): kind for kind in Kind}


def parse(key: bytes) -> Place | None:
    """What a key is for; None for the election and for whatever a later version put there."""
    room, _, name = key[len(PREFIX) :].partition(b"/")
    kind = _KINDS.get(room)
    return None if kind is None or not name else Place(kind, name.decode(errors="replace"))
