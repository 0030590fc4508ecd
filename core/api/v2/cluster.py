"""What the v2 dialect asks about the cluster. Declared here by its consumer; the daemon fulfils it."""

from collections.abc import Sequence
from typing import Protocol

import msgspec


class Member(msgspec.Struct, frozen=True, rename={"peer_urls": "peerURLs", "client_urls": "clientURLs"}):
    """A member as `/v2/members` shows it; one that has not started yet has no name and no client URLs."""

    id: str
    """Hexadecimal, without leading zeros."""
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]


class Follower(msgspec.Struct, frozen=True):
    """Another member as the leader's link to it shows it."""

    id: str
    latency_ms: float
    """Round trip of the last ping; 0 before the first."""
    sent: int
    """Frames."""
    dropped: int


class Cluster(Protocol):
    """The cluster as this node sees it. Times are Unix times."""

    @property
    def id(self) -> str:
        """Hexadecimal, without leading zeros; it never changes."""
        ...

    @property
    def members(self) -> Sequence[Member]: ...

    @property
    def self_id(self) -> str:
        """The member this node is."""
        ...

    @property
    def leader_id(self) -> str | None:
        """None: no leader is known."""
        ...

    @property
    def leader_since(self) -> float:
        """When this node first knew the present leader."""
        ...

    @property
    def started(self) -> float:
        """When this node started."""
        ...

    @property
    def followers(self) -> Sequence[Follower]:
        """All other members."""
        ...

    @property
    def state(self) -> str:
        """`StateLeader`, `StateFollower` or `StateCandidate`."""
        ...

    @property
    def expired(self) -> int:
        """Keys and directories that expired here since the start."""
        ...

    @property
    def watchers(self) -> int:
        """Open watches."""
        ...
