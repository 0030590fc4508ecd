"""What the dialects ask of the node: propose, read, watch. Declared here by its consumer; `core.node` fulfils it."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol, Self

from core.kv.commands import Command
from core.kv.errors import DamagedError, DivergedError, KeyspaceError
from core.kv.ledger import Numbers
from core.kv.memo import Memo
from core.kv.records import Event, Record
from core.kv.tree import Page
from core.node.damage import Damage
from core.node.errors import (
    ChangeRefusedError,
    FencedError,
    GatedError,
    NoLeaderError,
    NoSpaceError,
    Obstacle,
    OutcomeUnknownError,
    OverloadedError,
    ProposalError,
)

Outcome = object
"""What a command came to: an `Event` for tree writes, another result type of `core.kv.outcomes`, or the
`KeyspaceError` or `ProposalError` instance that refused it (returned, not raised)."""


class Clock(Protocol):
    """The cluster's clock as this node sees it."""

    def now(self) -> int:
        """Cluster time in nanoseconds."""
        ...

    def wall(self, cluster_time: int) -> float:
        """The Unix time to show for a cluster time; for display only."""
        ...


class Watch(Protocol):
    """An open watch. Events come in order, none twice, none left out."""

    async def next(self, limit: int = 100) -> Sequence[Event]:
        """Wait for the next events, at least one and at most `limit`; TreeError 401 if history up to them is compacted
        away."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Store(Protocol):
    """The replicated store as one node offers it to the dialects. All but the watch is synchronous, on the loop."""

    @property
    def clock(self) -> Clock: ...

    @property
    def damage(self) -> Damage:
        """To be told of each DamagedError that a read raises, which every one of these may."""
        ...

    @property
    def revision(self) -> int:
        """The last index that was applied here."""
        ...

    @property
    def numbers(self) -> Numbers:
        """Where the state has come to."""
        ...

    @property
    def memo(self) -> Memo:
        """What was made of files before, and still holds."""
        ...

    @property
    def raft_index(self) -> int: ...

    @property
    def raft_term(self) -> int: ...

    def propose(self, command: Command, done: Callable[[Outcome], None]) -> None:
        """Queue a command; `done` is called exactly once with its outcome. Raises OverloadedError,
        NoSpaceError or NoLeaderError if it was not queued."""
        ...

    def confirm(self, done: Callable[[ProposalError | None], None]) -> None:
        """Call `done` when a read made then is linearizable, or with the error that prevents it."""
        ...

    def transfer(self, member: int, done: Callable[[ProposalError | None], None]) -> None:
        """Let another member lead; `done` when the leader is asked to hand over, or with the reason why it was not."""
        ...

    def node(self, path: bytes) -> Record:
        """The file or directory at a clean path other than the root. TreeError 100 or 104."""
        ...

    def children(self, path: bytes, after: bytes = b"", limit: int = 1000, at: int | None = None) -> Page:
        """A page of at most `limit` files and directories directly in directory `path` (root included), hidden ones
        too, in byte order of their paths, beginning behind path `after`; as of index `at` or now. It may hold fewer,
        even none, and yet say that there is more: a call never takes long. CompactedError if `at` is gone."""
        ...

    def record(self, position: bytes) -> Record | None:
        """The record at a position of history, or None if it was compacted."""
        ...

    def deadline(self, record: Record) -> int:
        """Cluster time in ns when this record expires, by its own TTL or its lease; 0: never."""
        ...

    def watch(self, path: bytes, *, recursive: bool = False, start: int = 0) -> Watch:
        """Watch a clean path or the root from index `start` (0: from now on) in v2's sense: the path itself,
        with `recursive` all below it but what is hidden from it, and the removal of a directory above."""
        ...


__all__ = [
    "ChangeRefusedError",
    "Clock",
    "Damage",
    "DamagedError",
    "DivergedError",
    "FencedError",
    "GatedError",
    "KeyspaceError",
    "NoLeaderError",
    "NoSpaceError",
    "Obstacle",
    "Outcome",
    "OutcomeUnknownError",
    "OverloadedError",
    "ProposalError",
    "Store",
    "Watch",
]
