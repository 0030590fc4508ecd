"""An election: candidates stand, the one that stands longest leads, everybody can watch who it is."""

import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Self

import trio

from core.client.contention import DEFAULT_TTL, Claim, contend, contenders, holder
from core.client.errors import CompactedError, NotLeadingError
from core.client.leasing import Lease
from core.client.values import Keys, KeyValue, Put

if TYPE_CHECKING:
    from core.client.store import Store, Watch


class Leadership:
    """The lead, for as long as the block runs and the lease lasts."""

    def __init__(self, store: "Store", claim: Claim) -> None:
        self._store = store
        self.claim = claim
        """Its `compare` belongs into every transaction that only the leader may do."""

    async def proclaim(self, value: bytes) -> None:
        """Change what the leader says. NotLeadingError."""
        claim = self.claim
        done = await self._store.txn([claim.compare], [Put(claim.key, value, claim.lease)])
        if not done.succeeded:
            raise NotLeadingError(f"{claim.name.decode(errors='replace')} is led by somebody else, or by nobody")


class Election:
    """One election, by its name."""

    def __init__(self, store: "Store", name: bytes) -> None:
        self._store = store
        self.name = name

    @asynccontextmanager
    async def campaign(
        self, value: bytes, *, ttl: int = DEFAULT_TTL, lease: Lease | None = None, patience: float = math.inf
    ) -> AsyncIterator[Leadership]:
        """Stand, wait until elected, lead for the block, resign. `value` is what others see: an address, say.

        BusyError if not elected within `patience` seconds. If the lease is lost the block is cancelled and
        LeaseLostError raised: another may lead by then.
        """
        async with contend(self._store, self.name, value, ttl, lease, patience) as claim:
            yield Leadership(self._store, claim)

    async def leader(self) -> KeyValue | None:
        """The leader's key and value; None if nobody leads."""
        return (await holder(self._store, self.name))[0]

    @asynccontextmanager
    async def observe(self) -> AsyncIterator["Leaders"]:
        """`async for leader in`: who leads now, then each new leader and each new value of one. Whoever is slow may
        miss some in between, never the last."""
        leaders = Leaders(self._store, self.name)
        try:
            yield leaders
        finally:
            with trio.CancelScope(shield=True):
                await leaders.aclose()


class Leaders:
    """What `Election.observe` gives."""

    def __init__(self, store: "Store", name: bytes) -> None:
        self._store = store
        self._name = name
        self._stack = AsyncExitStack()
        self._watch: Watch | None = None
        """On the leader's key, or on all while there is none."""
        self._key = b""
        self._seen = (b"", 0)

    def __aiter__(self) -> Self:
        return self

    async def aclose(self) -> None:
        """End the watch."""
        self._watch = None
        await self._stack.aclose()

    async def __anext__(self) -> KeyValue:
        while True:
            if self._watch is None:
                leader, revision = await holder(self._store, self._name)
                self._key = leader.key if leader else b""
                await self._follow(self._key or contenders(self._name), revision + 1)
                if leader is not None and (leader.key, leader.mod_revision) != self._seen:
                    self._seen = leader.key, leader.mod_revision
                    return leader
            leader = await self._changed()
            if leader is not None:
                self._seen = leader.key, leader.mod_revision
                return leader

    async def _changed(self) -> KeyValue | None:
        """The leader's new value; None if it has gone, or somebody has come where nobody was."""
        if self._watch is None:
            return None
        try:
            batch = await anext(self._watch)
        except CompactedError:
            await self.aclose()
            return None
        last = batch.events[-1]
        if self._key and last.kind == "put":
            return last.kv
        await self.aclose()
        return None

    async def _follow(self, keys: bytes | Keys, start: int) -> None:
        self._watch = await self._stack.enter_async_context(self._store.watch(keys, start=start))
