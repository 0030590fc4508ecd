"""The one interface to a store, wherever it is: in this process, at a node of corenode, at an etcd cluster.

`core.client.connect` makes one. The three ways differ in nothing that is written here.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Self, TypeVar

from core.client.contention import DEFAULT_TTL, Claim, contend
from core.client.election import Election
from core.client.errors import StrangeAnswerError
from core.client.leasing import Lease, held
from core.client.values import (
    Batch,
    Compare,
    Delete,
    DeleteResult,
    Keys,
    LeaseStatus,
    Operation,
    Page,
    Put,
    PutResult,
    Range,
    RangeResult,
    Result,
    SortBy,
    Txn,
    TxnResult,
)

R = TypeVar("R", bound=Result)
PAGE_KEYS = 500
"""Keys that `Store.pages` reads at a time."""


class Watch(ABC):
    """An open watch: `async for batch in watch`. It never ends by itself.

    Lost connections are taken up again at the revision they had come to. A wait that was cancelled may be repeated:
    nothing is lost or told twice. Whoever does not ask for the next batch holds the server back, not this process.
    Raises CompactedError if the changes to be told next are no longer kept, RefusedError if it is not allowed.
    """

    revision: int
    """Everything up to and including it has been told."""

    @property
    def reached(self) -> int:
        """The same, as exactly as can be known without waiting: a member in this process says how far it is itself
        once nothing waits to be told."""
        return self.revision

    def __aiter__(self) -> Self:
        return self

    @abstractmethod
    async def __anext__(self) -> Batch: ...


class Store(ABC):
    """Every call ends by the deadline the store was made with, and raises errors of `core.client.errors`.

    A write whose outcome is not known is never repeated: it raises OutcomeUnknownError. Reads are repeated, at another
    endpoint if there is one. Many tasks may use a store at once.
    """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @abstractmethod
    async def aclose(self) -> None:
        """Let go of connections. What still runs on them breaks."""

    # Keys

    @abstractmethod
    async def execute(self, operation: Operation, *, local: bool = False) -> Result:
        """Carry out one operation; the result is of its kind. `local` lets a Range be answered by one member from what
        it has."""

    async def range(
        self,
        keys: bytes | Keys,
        *,
        limit: int = 0,
        revision: int = 0,
        local: bool = False,
        sort: SortBy = "key",
        descending: bool = False,
        keys_only: bool = False,
        count_only: bool = False,
    ) -> RangeResult:
        """Read a key, or the keys of a range, all at one revision.

        Linearizable: it sees every write that was acknowledged before. `local` is faster and may be behind.
        CompactedError, FutureRevisionError for a `revision` that is no longer or not yet there.
        """
        operation = Range(keys, limit, revision, sort, descending, keys_only, count_only)
        return _is(RangeResult, await self.execute(operation, local=local))

    async def get(self, key: bytes) -> bytes | None:
        """The value of a key, None if it is not there."""
        found = (await self.range(key)).first
        return None if found is None else found.value

    def pages(self, keys: Keys, *, size: int = PAGE_KEYS, revision: int = 0) -> "Pages":
        """A range that is too large for one answer: `async for page in`, `size` keys at a time, all as of one
        revision."""
        return Pages(self, keys, size, revision)

    async def page(self, keys: Keys, size: int, revision: int) -> Page:
        """The first `size` keys of a range as of a revision (0: now). A server counts the others each time: where the
        time for that is to be spared, ask for large pages."""
        found = await self.range(keys, limit=size, revision=revision)
        return Page(revision or found.revision, found.kvs, keys.behind(found.kvs[-1].key) if found.more else None)

    async def put(self, key: bytes, value: bytes = b"", *, lease: int = 0, previous: bool = False) -> PutResult:
        """Store a value. LeaseNotFoundError."""
        return _is(PutResult, await self.execute(Put(key, value, lease, previous)))

    async def delete(self, keys: bytes | Keys, *, previous: bool = False) -> DeleteResult:
        """Delete a key, or the keys of a range."""
        return _is(DeleteResult, await self.execute(Delete(keys, previous)))

    async def txn(
        self, compare: Iterable[Compare] = (), then: Iterable[Operation] = (), otherwise: Iterable[Operation] = ()
    ) -> TxnResult:
        """If every condition holds do `then`, else `otherwise`, all at one revision."""
        return _is(TxnResult, await self.execute(Txn(tuple(compare), tuple(then), tuple(otherwise))))

    @abstractmethod
    async def compact(self, revision: int) -> None:
        """Forget history before `revision`. CompactedError if that is done already, FutureRevisionError."""

    @abstractmethod
    def watch(
        self,
        keys: bytes | Keys,
        *,
        start: int = 0,
        previous: bool = False,
        puts: bool = True,
        deletes: bool = True,
        progress: bool = False,
        lost: Callable[[str], None] | None = None,
    ) -> AbstractAsyncContextManager[Watch]:
        """Watch a key or a range from revision `start` on (0: from now on; everything after `async with` is told).

        `previous` tells what each change replaced; `puts` and `deletes` choose; `progress` also gives batches without
        events, now and then. `lost` is told, in words, each time a connection is lost and taken up again.
        """

    # Leases

    @abstractmethod
    async def grant(self, ttl: int, lease: int = 0) -> LeaseStatus:
        """Make a lease of `ttl` seconds; the server may give more, and chooses the id if `lease` is 0.
        LeaseExistsError."""

    @abstractmethod
    async def keep_alive(self, lease: int, *, seconds: float | None = None) -> int:
        """Start a lease's time anew, within `seconds` if that is less than other calls have; the seconds the lease has.
        LeaseNotFoundError."""

    @abstractmethod
    async def revoke(self, lease: int) -> None:
        """End a lease and delete its keys. LeaseNotFoundError."""

    @abstractmethod
    async def time_to_live(self, lease: int, *, keys: bool = False) -> LeaseStatus:
        """How long a lease still has; with `keys` its keys too. LeaseNotFoundError."""

    @abstractmethod
    async def leases(self) -> list[int]:
        """The ids of all leases."""

    def lease(self, ttl: int) -> AbstractAsyncContextManager[Lease]:
        """Hold a lease of `ttl` seconds for a block: renewed while it runs, revoked at its end.

        If it is lost, because the server knows it no more or cannot be reached for so long, the block is cancelled and
        LeaseLostError raised.
        """
        return held(self, ttl)

    # Made of these

    def lock(
        self, name: bytes, *, ttl: int = DEFAULT_TTL, lease: Lease | None = None, patience: float = math.inf
    ) -> AbstractAsyncContextManager[Claim]:
        """Hold a lock for a block. BusyError if it is not had within `patience` seconds; LeaseLostError, as `lease`.

        Who waits under the same `lease` and name is the same contender. Put the claim's `compare` into transactions
        that only the holder may do: a lock alone cannot stop a holder that was paused and does not know yet that it
        lost it.
        """
        return contend(self, name, b"", ttl, lease, patience)

    def election(self, name: bytes) -> Election:
        """The election of that name."""
        return Election(self, name)


class Pages:
    """A range in parts, read one after the other as they are asked for."""

    def __init__(self, store: Store, keys: Keys, size: int, revision: int) -> None:
        self._store = store
        self._rest: Keys | None = keys
        self._size = size
        self._revision = revision

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Page:
        if self._rest is None:
            raise StopAsyncIteration
        page = await self._store.page(self._rest, self._size, self._revision)
        self._revision, self._rest = page.revision, page.rest
        return page


def _is(kind: type[R], result: Result) -> R:
    if not isinstance(result, kind):
        raise StrangeAnswerError(f"a {type(result).__name__} is no answer where a {kind.__name__} was asked for")
    return result
