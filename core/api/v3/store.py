"""What this dialect asks of the store beyond what v2 asks. Declared here by its consumer; `core.node` fulfils it."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol, Self

from core.api import store
from core.kv.access import Span
from core.kv.commands import Txn
from core.kv.hashing import Hashing
from core.kv.leases import Lease
from core.kv.outcomes import TxnDone
from core.kv.reading import RangePage
from core.kv.records import Event, Record
from core.kv.steps import Steps


class KeyWatcher(Protocol):
    """An open watch of a key or range, taken from in turns."""

    @property
    def key(self) -> bytes: ...

    @property
    def end(self) -> bytes | None: ...

    @property
    def live(self) -> bool:
        """Whether events come as they happen. If not, `take` reads a slice of history: some 2 ms."""
        ...

    @property
    def waiting(self) -> bool:
        """Whether there is something to take."""
        ...

    def take(self) -> Sequence[Event]:
        """The next events, whole revisions; maybe none of a slice of history. CompactedError."""
        ...

    def close(self) -> None: ...


class KeyWatch(Protocol):
    """An open watch of a task."""

    async def next(self) -> Sequence[Event]:
        """Wait for the next events, whole revisions. CompactedError."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Store(store.Store, Protocol):
    """The replicated store with its flat keys."""

    def key(self, name: bytes, at: int = 0) -> Record | None:
        """A key as revision `at` (0: now) shows it. CompactedError, FutureRevisionError."""
        ...

    def page(self, part: Span, at: int = 0, wanted: int = 1000, *, reverse: bool = False) -> RangePage:
        """A page of a range of keys as of revision `at` or now: at most `wanted` records, the others counted, in order
        of the keys or backwards. A call never takes long; it says what is left to be read. CompactedError,
        FutureRevisionError."""
        ...

    def evaluation(self, command: Txn) -> Steps[TxnDone]:
        """What a transaction that writes nothing comes to now, in steps of a millisecond; others may write between
        them. KeyspaceError."""
        ...

    def lease(self, lease: int) -> tuple[Lease, list[bytes]] | None:
        """The terms and keys of a lease."""
        ...

    def host_key(self, lease: int) -> bytes | None:
        """The first reserved key of a lease."""
        ...

    def leases(self, after: int = 0, limit: int = 1000) -> list[int]:
        """The ids of the leases behind `after`, in order."""
        ...

    def hashing(self, revision: int) -> Hashing:
        """A hash of the keyspace as of a revision (0: now), to be made step by step. CompactedError,
        FutureRevisionError."""
        ...

    @property
    def swept(self) -> bool:
        """Whether all that compaction hides is removed."""
        ...

    @property
    def settled(self) -> bool:
        """Whether every watch was offered all that was applied: events to a crowd take some turns."""
        ...

    def watch_keys(
        self,
        key: bytes,
        end: bytes | None,
        tell: Callable[[KeyWatcher], None],
        *,
        start: int = 0,
        puts: bool = True,
        deletes: bool = True,
        previous: bool = False,
    ) -> KeyWatcher:
        """Watch a key or range from revision `start` (0: from the next change). `tell` is called when there is
        something to take; it must only take note of that. CompactedError."""
        ...

    def follow(self, key: bytes, end: bytes | None, *, start: int = 0) -> KeyWatch:
        """The same for a task that waits for nothing else. CompactedError."""
        ...
