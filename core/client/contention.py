"""What locks and elections have in common: keys below one prefix, of which the oldest has it.

The keys are those of etcd's own concurrency package and of its lock and election services: the name, a slash, the
lease id in hexadecimal. So other programs' contenders queue fairly with ours. All of it is made of transactions,
leases and watches on this side, which every server has; services at the server would wait in a request that is lost
with its connection, and etcd's in-process twin would be a second implementation.

Holding is a claim, not a fact: a process that was stopped may believe that it still holds what another has got since.
Only a transaction that compares `claim` is safe, and where other things than this store are guarded, only one that
checks `revision`, which grows from holder to holder.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import msgspec
import trio

from core.client.errors import BusyError, ClientError, CompactedError, NotLeadingError, OutcomeUnknownError
from core.client.leasing import LEAVE_SECONDS, RETRY_SECONDS, Lease, held
from core.client.values import Compare, Keys, KeyValue, Put, Range, RangeResult, prefix

if TYPE_CHECKING:
    from core.client.store import Store

DEFAULT_TTL = 10
"""Seconds after which what a dead holder had is free again."""


class Claim(msgspec.Struct, frozen=True):
    """A contender's key."""

    name: bytes
    key: bytes
    revision: int
    """When the key was made. It grows from each holder to the next: a fencing token."""
    lease: int

    @property
    def compare(self) -> Compare:
        """The condition that it is still held, for transactions."""
        return Compare(self.key, "create", "=", self.revision)


def contenders(name: bytes) -> Keys:
    """The keys of all who hold or wait."""
    return prefix(name + b"/")


async def holder(store: "Store", name: bytes) -> tuple[KeyValue | None, int]:
    """The key of whoever has it, None if nobody has, and the revision as of which that is so."""
    found = await store.range(contenders(name), sort="create", limit=1)
    return found.first, found.revision


@asynccontextmanager
async def contend(
    store: "Store", name: bytes, value: bytes, ttl: int, lease: Lease | None, patience: float
) -> AsyncIterator[Claim]:
    """Wait for at most `patience` seconds until everybody before us has left, have it for the block, leave.

    With a lease of its own, or under the one given, which is not revoked then. BusyError; LeaseLostError.
    """
    if lease is None:
        async with held(store, ttl) as own:
            yield await _stand_and_wait(store, name, value, own, patience)
        return  # with the lease went the key
    try:
        yield await _stand_and_wait(store, name, value, lease, patience)
    finally:
        if not lease.lost.is_set():
            await _leave(store, _key(name, lease))


def _key(name: bytes, lease: Lease) -> bytes:
    return b"%s/%x" % (name, lease.id)


async def _stand_and_wait(store: "Store", name: bytes, value: bytes, lease: Lease, patience: float) -> Claim:
    claim = await _stand(store, name, _key(name, lease), value, lease.id)
    before = await _before(store, claim)
    if before is not None:
        with trio.move_on_after(patience) as waiting:
            while before is not None:
                await _gone(store, *before)
                before = await _before(store, claim)
        if waiting.cancelled_caught:
            found, _ = await holder(store, name)
            raise BusyError(name, found.key if found else b"")
    return claim


async def _stand(store: "Store", name: bytes, key: bytes, value: bytes, lease: int) -> Claim:
    """Put the key there, unless it is. Its condition makes it safe to repeat when the outcome is not known."""
    while True:
        try:
            done = await store.txn([Compare.absent(key)], [Put(key, value, lease)], [Range(key)])
            break
        except OutcomeUnknownError:
            await trio.sleep(RETRY_SECONDS)
    found = done.responses[0]
    if isinstance(found, RangeResult):
        if found.first is None or found.first.lease != lease:
            raise NotLeadingError(f"{key.decode(errors='replace')} is there, and not ours")
        if found.first.value != value:
            await store.txn([Compare.unchanged(found.first)], [Put(key, value, lease)])
        return Claim(name, key, found.first.create_revision, lease)
    return Claim(name, key, done.revision, lease)


async def _before(store: "Store", claim: Claim) -> tuple[bytes, int] | None:
    """The youngest of the older contenders, and the revision as of which it is there; None if it is our turn."""
    older = Range(contenders(claim.name), 1, sort="create", descending=True, max_create_revision=claim.revision - 1)
    # Both in one transaction: that nobody is before us means little if our own key is gone.
    done = await store.txn([claim.compare], [older])
    if not done.succeeded:
        raise NotLeadingError(f"our place in the queue for {claim.name.decode(errors='replace')} is gone")
    found = done.responses[0]
    if not isinstance(found, RangeResult) or found.first is None:
        return None
    return found.first.key, done.revision


async def _gone(store: "Store", key: bytes, seen: int) -> None:
    """Return when a key that was there at a revision is deleted, or may have been: a store that was restored from a
    snapshot while the connection was lost tells nothing before it is at that revision again."""
    with suppress(CompactedError), trio.CancelScope() as waiting:
        async with store.watch(key, start=seen + 1, puts=False, lost=lambda _: waiting.cancel()) as watch:
            await anext(watch)


async def _leave(store: "Store", key: bytes) -> None:
    """Delete our key, even when cancelled. Only we write it, so it may be repeated until it is certain."""
    with trio.move_on_after(LEAVE_SECONDS, shield=True):
        while True:
            try:
                await store.delete(key)
            except OutcomeUnknownError:
                await trio.sleep(RETRY_SECONDS)
                continue
            except ClientError:
                pass  # it ends with its lease
            return
