"""The recipe that locks and elections share: keys under a prefix stand in line in the order of their creation.

Whoever wants the first place writes a key named by a lease, so that the place is given up when the lease ends, and
waits until every key made before it is gone. Each waits for the one right before it, so one that leaves wakes one.
"""

import contextlib
import secrets
from collections.abc import Awaitable, Callable

import msgspec
import trio

from core.api.store import ProposalError
from core.api.v3.errand import Errand
from core.api.v3.errors import Code, RpcError
from core.kv.access import Right, Span, prefix_end, span
from core.kv.commands import Compare, DeleteRange, LeaseGrant, Operation, Put, Range, Txn
from core.kv.errors import CompactedError, KeyspaceError, LeaseExistsError
from core.kv.outcomes import RangeDone, TxnDone
from core.kv.records import Record

SESSION_SECONDS = 60
"""TTL of a lease that is made for whoever brings none. Nobody keeps it alive."""


def line_of(name: bytes) -> Span:
    """All keys that stand in line for a name."""
    return span(name + b"/", prefix_end(name + b"/"))


def unchanged(key: bytes, created: int, *success: Operation) -> Txn:
    """Do something if the key is still the one that was created at that revision."""
    return Txn((Compare(key, "create", "=", created),), success)


class Place(msgspec.Struct, frozen=True):
    """A key in line."""

    key: bytes
    created: int
    """Its create revision: what decides who is first."""
    lease: int
    value: bytes
    """What the key says."""
    revision: int
    """Of the store, when that was known."""
    new: bool
    """It was not there before."""


class _Standing:
    """Those at this node who wait with the same key: a client that lost its connection and came back is two."""

    __slots__ = ("new", "waiting", "won")

    def __init__(self) -> None:
        self.waiting = 0
        self.new = False
        self.won = False


class Queue:
    """Who waits at this node."""

    def __init__(self) -> None:
        self._standing: dict[tuple[bytes, int], _Standing] = {}

    async def enter(self, one: Errand, name: bytes, lease: int, value: bytes) -> Place:
        """Write the key of a lease (0: of a new one), if it is not there. Whoever is cancelled must still `leave`.
        KeyspaceError, ProposalError, RpcError."""
        one.need(Right.READ, line_of(name))
        lease = lease or await self._session(one)
        key = name + b"/%x" % lease
        one.need(Right.WRITE, span(key, None))
        found = one.store.lease(lease)
        for attached in () if found is None else found[1]:
            one.need(Right.WRITE, span(attached, None))  # whoever lets a lease end deletes its keys
        done: TxnDone = await one.propose(
            Txn((Compare(key, "create", "=", 0),), (Put(key, value, lease),), (Range(key),))
        )
        answer = done.responses[0]
        if isinstance(answer, RangeDone):
            there = answer.records[0]
            return Place(key, there.create_revision, lease, there.value, done.revision, new=False)
        return Place(key, done.revision, lease, value, done.revision, new=True)

    async def wait(
        self,
        one: Errand,
        name: bytes,
        place: Place,
        first: Callable[[], Awaitable[None]],
        before: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Wait until a place is the first, then await `first`; `before` is awaited before the wait. If one of them does
        not come about the place is given up."""
        known = place.key, place.created
        standing = self._standing.setdefault(known, _Standing())
        standing.waiting += 1
        standing.new |= place.new
        try:
            if before is not None:
                await before()
            await self._until_first(one, name, place)
            await first()
            standing.won = True
        finally:
            standing.waiting -= 1
            if not standing.waiting:
                del self._standing[known]
                if standing.new and not standing.won:
                    await _leave(one, place)

    async def _session(self, one: Errand) -> int:
        while True:
            lease = secrets.randbits(63) | 1
            with contextlib.suppress(LeaseExistsError):
                await one.propose(LeaseGrant(lease, SESSION_SECONDS))
                return lease

    async def _until_first(self, one: Errand, name: bytes, place: Place) -> None:
        while True:
            with contextlib.suppress(CompactedError):  # it took long: look again
                at = one.store.revision
                ahead = await _ahead(one, name, at, place.created)
                if ahead is None:
                    break
                await _until_gone(one, ahead.key, at)
        await one.confirm()
        one.check()
        mine = one.store.key(place.key)
        if mine is None or mine.create_revision != place.created:
            raise RpcError(Code.UNKNOWN, "mutex: session is expired")


async def _ahead(one: Errand, name: bytes, at: int, created: int) -> Record | None:
    """The key in line right before one that was created at that revision."""
    best: Record | None = None

    def see(record: Record) -> None:
        nonlocal best
        if record.create_revision < created and (best is None or record.create_revision > best.create_revision):
            best = record

    await one.records(line_of(name), at, see)
    return best


async def foremost(one: Errand, name: bytes, at: int) -> Record | None:
    """The key that is first in line as of a revision."""
    best: Record | None = None

    def see(record: Record) -> None:
        nonlocal best
        if best is None or record.create_revision < best.create_revision:
            best = record

    await one.records(line_of(name), at, see)
    return best


async def _until_gone(one: Errand, key: bytes, since: int) -> None:
    with one.store.follow(key, None, start=since + 1) as watch:
        while True:
            for event in await watch.next():
                if event.record.gone:
                    return


async def _leave(one: Errand, place: Place) -> None:
    """Give a place up, whoever is cancelled. Where that is not possible now the end of its lease does it."""
    with trio.CancelScope(shield=True), contextlib.suppress(KeyspaceError, ProposalError, RpcError):
        await one.propose(unchanged(place.key, place.created, DeleteRange(place.key)))
