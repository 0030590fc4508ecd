"""Who the members are, and how their links stand."""

import msgspec

from core.addresses import Url

PROTOCOLS = (1, 1)
"""The oldest and the newest version of the protocol between members that this program speaks."""


class PeerIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """Who this member is. The same for the life of the process."""

    cluster: int
    """64 bits."""
    member: int
    """64 bits, not 0."""
    name: str
    program: str
    """The version of this software, for people."""
    protocols: tuple[int, int] = PROTOCOLS
    """The oldest and the newest version of the protocol that is spoken."""


class Address(msgspec.Struct, frozen=True):
    """Who a member is and where it is found."""

    name: str
    """What its certificate must say; empty: not known yet."""
    urls: tuple[Url, ...]
    """Its peer URLs, tried in turn."""


class LinkState(msgspec.Struct, frozen=True, kw_only=True):
    """How things stand with one member, in both directions. Moments are of Trio's clock, in seconds."""

    name: str
    why_not: str
    """Why there is no connection to it; empty if there is one."""
    url: str
    """Where it is connected to, or was tried last; empty before the first attempt."""
    connected_since: float | None
    """The connection that this member made to it."""
    heard: float | None
    """When it last sent anything in either direction; None: never."""
    round_trip_s: float | None
    """Of the last answered ping."""
    queued_bytes: int
    queued_frames: int
    sent_frames: int
    """Since this member is followed, as is the next one."""
    dropped_frames: int
    connected_from: str
    """Where its own connection to this member comes from; empty if there is none."""
    program: str
    """The version it runs; empty if it was never connected to."""


def hexadecimal(number: int) -> str:
    """An id as people and headers write it."""
    return f"{number:016x}"


def plain_fault(url: Url) -> str:
    """Why a peer URL must not be used without TLS; empty if it may be."""
    if url.secure or url.loopback:
        return ""
    return f"{url} is plain HTTP and not on a loopback address; members of other hosts are reached by https:// only"
