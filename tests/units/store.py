"""A store in memory with etcd's semantics, and doors to it through which things go wrong as they do in the world.

`Cluster` is what all share: keys, history, leases. A `Door` is one program's `Store`: it can be cut, it can lose
answers, apply writes late, read from behind, and lose watches, each by chance from a seeded generator.
"""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from copy import copy
from typing import cast

import msgspec
import trio

from core.client import (
    Batch,
    Compare,
    Delete,
    DeleteResult,
    Event,
    Keys,
    KeyValue,
    LeaseStatus,
    Operation,
    Put,
    PutResult,
    Range,
    RangeResult,
    Result,
    Store,
    Txn,
    TxnResult,
    Watch,
)
from core.client.errors import (
    CompactedError,
    ConnectionLostError,
    FutureRevisionError,
    LeaseExistsError,
    LeaseNotFoundError,
    OutcomeUnknownError,
    UnreachableError,
)
from core.client.values import only_reads


class LeaseRow(msgspec.Struct):
    ttl: int
    until: float
    keys: set[bytes]


class Cluster:
    """The keyspace. Time is Trio's."""

    def __init__(self) -> None:
        self.revision = 1
        self.kvs: dict[bytes, KeyValue] = {}
        self.history: list[tuple[int, tuple[Event, ...]]] = []
        self.floor = 0
        self.leases: dict[int, LeaseRow] = {}
        self.next_lease = 1000
        self.changed = trio.Event()
        self.epoch = 0
        """Grows when a snapshot is restored: every connection broke then."""
        self.away_until = 0.0
        self.observers: list[Callable[[Event], None]] = []
        self.writer: Door | None = None
        """Whose operation is being carried out."""

    async def run(self) -> None:
        """Ends leases whose time is up; never returns."""
        while True:
            now = trio.current_time()
            for lease in [each for each, row in self.leases.items() if row.until <= now]:
                self.revoke(lease)
            await trio.sleep(0.25)

    # Writing

    def execute(self, operation: Operation) -> Result:
        if isinstance(operation, Range):
            return self.read(operation)
        self._check_leases(operation)
        self._events: list[Event] = []
        self._next = self.revision + 1
        result = self._apply(operation)
        self._publish()
        return result

    def _publish(self) -> None:
        if not self._events:
            return
        self.revision = self._next
        self.history.append((self.revision, tuple(self._events)))
        for event in self._events:
            for observe in self.observers:
                observe(event)
        changed, self.changed = self.changed, trio.Event()
        changed.set()

    def _check_leases(self, operation: Operation) -> None:
        if isinstance(operation, Put) and operation.lease and operation.lease not in self.leases:
            raise LeaseNotFoundError(404, 5, "requested lease not found")
        if isinstance(operation, Txn):
            for each in operation.then if self._holds(operation) else operation.otherwise:
                self._check_leases(each)

    def _apply(self, operation: Operation) -> Result:
        match operation:
            case Range():
                return self.read(operation)
            case Put():
                old = self.kvs.get(operation.key)
                new = KeyValue(
                    operation.key,
                    operation.value,
                    old.create_revision if old else self._next,
                    self._next,
                    old.version + 1 if old else 1,
                    operation.lease,
                )
                if old and old.lease:
                    self.leases[old.lease].keys.discard(old.key)
                if new.lease:
                    self.leases[new.lease].keys.add(new.key)
                self.kvs[new.key] = new
                self._events.append(Event("put", new, old))
                return PutResult(self._next, old if operation.previous else None)
            case Delete():
                gone = self._select(operation.keys)
                for kv in gone:
                    del self.kvs[kv.key]
                    if kv.lease:
                        self.leases[kv.lease].keys.discard(kv.key)
                    self._events.append(Event("delete", KeyValue(kv.key, mod_revision=self._next)))
                return DeleteResult(self._next if gone else self.revision, len(gone), ())
            case Txn():
                succeeded = self._holds(operation)
                done = tuple(self._apply(each) for each in (operation.then if succeeded else operation.otherwise))
                return TxnResult(self._next if self._events else self.revision, succeeded, done)

    def _holds(self, txn: Txn) -> bool:
        return all(self._true(each) for each in txn.compare)

    def _true(self, compare: Compare) -> bool:
        assert isinstance(compare.keys, bytes)
        kv = self.kvs.get(compare.keys, KeyValue(compare.keys))
        if compare.target == "value":
            return kv.version > 0 and kv.value == compare.operand
        of = {
            "version": kv.version, "create": kv.create_revision, "mod": kv.mod_revision, "lease": kv.lease,
        }[compare.target]  # fmt: skip
        assert isinstance(compare.operand, int)
        return {"=": of == compare.operand, "!=": of != compare.operand, "<": of < compare.operand,
                ">": of > compare.operand}[compare.relation]  # fmt: skip

    # Reading

    def _select(self, keys: bytes | Keys) -> list[KeyValue]:
        if isinstance(keys, bytes):
            return [self.kvs[keys]] if keys in self.kvs else []
        return sorted((kv for key, kv in self.kvs.items() if key in keys), key=lambda kv: kv.key)

    def read(self, asked: Range) -> RangeResult:
        if asked.revision > self.revision:
            raise FutureRevisionError(400, 11, "mvcc: required revision is a future revision")
        if asked.revision and asked.revision < self.floor:
            raise CompactedError(self.floor)
        if asked.revision and asked.revision < self.revision:
            return self._past(asked.revision)._read(asked, self.revision)
        return self._read(asked, self.revision)

    def _read(self, asked: Range, revision: int) -> RangeResult:
        found = self._select(asked.keys)
        count = len(found)
        if asked.max_create_revision:
            found = [kv for kv in found if kv.create_revision <= asked.max_create_revision]
        if asked.sort == "create":
            found.sort(key=lambda kv: kv.create_revision)
        if asked.descending:
            found.reverse()
        cut = found[: asked.limit] if asked.limit else found
        return RangeResult(revision, tuple(cut), count, len(cut) < len(found))

    def _past(self, revision: int) -> "Cluster":
        """The keyspace as it was."""
        past = Cluster()
        for at, events in self.history:
            if at > revision:
                break
            for event in events:
                if event.kind == "put":
                    past.kvs[event.kv.key] = event.kv
                else:
                    past.kvs.pop(event.kv.key, None)
        past.revision = revision
        return past

    # Leases

    def grant(self, ttl: int, lease: int) -> LeaseStatus:
        if not lease:
            self.next_lease += 1
            lease = self.next_lease
        if lease in self.leases:
            raise LeaseExistsError(400, 9, "lease already exists")
        self.leases[lease] = LeaseRow(ttl, trio.current_time() + ttl, set())
        return LeaseStatus(lease, ttl, ttl)

    def row(self, lease: int) -> LeaseRow:
        row = self.leases.get(lease)
        if row is None:
            raise LeaseNotFoundError(404, 5, "requested lease not found")
        return row

    def revoke(self, lease: int) -> None:
        keys = sorted(self.row(lease).keys)
        self._events, self._next = [], self.revision + 1
        for key in keys:
            self._apply(Delete(key))
        del self.leases[lease]
        self._publish()

    # What operators do

    def compact(self) -> None:
        self.floor = self.revision

    def snapshot(self) -> "Cluster":
        """Everything as it is, for `restore`."""
        kept = copy(self)
        kept.kvs = dict(self.kvs)
        kept.history = list(self.history)
        kept.leases = {lease: LeaseRow(row.ttl, row.until, set(row.keys)) for lease, row in self.leases.items()}
        return kept

    def restore(self, old: "Cluster") -> None:
        """Go back to a snapshot: its leases begin anew, all connections break."""
        self.kvs, self.history, self.revision, self.floor = dict(old.kvs), list(old.history), old.revision, old.floor
        now = trio.current_time()
        self.leases = {each: LeaseRow(row.ttl, now + row.ttl, set(row.keys)) for each, row in old.leases.items()}
        self.epoch += 1
        self.away_until = now + 2.0
        changed, self.changed = self.changed, trio.Event()
        changed.set()

    def election(self) -> None:
        """The store's leader changes: every lease begins anew."""
        for row in self.leases.values():
            row.until = max(row.until, trio.current_time() + row.ttl)


class Trouble(msgspec.Struct):
    """How likely what is, for each call."""

    unknown: float = 0.0
    """A write's answer is lost; half of them were carried out, some of those late."""
    lost: float = 0.0
    """A read breaks off."""
    delay: float = 0.02
    """Seconds a call takes at most."""
    late: float = 4.0
    """How many seconds later a write whose answer was lost may still be carried out."""


class Door(Store):
    """One program's way to the cluster."""

    def __init__(self, cluster: Cluster, chance: random.Random, nursery: trio.Nursery, trouble: Trouble) -> None:
        self.cluster = cluster
        self.cut = False
        """Nothing gets through."""
        self.trouble = trouble
        self.writes = 0
        self._chance = chance
        self._nursery = nursery
        self._broken = trio.Event()

    def break_watches(self) -> None:
        """Connections are lost; watches take up again where they were."""
        broken, self._broken = self._broken, trio.Event()
        broken.set()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    async def _travel(self) -> None:
        await trio.sleep(self._chance.random() * self.trouble.delay)
        if self.cut or trio.current_time() < self.cluster.away_until:
            await trio.sleep(1.0)
            raise UnreachableError({"sim": "cut off"})

    def _do(self, write: Callable[[], object]) -> object:
        self.cluster.writer = self
        try:
            return write()
        finally:
            self.cluster.writer = None

    async def _late(self, write: Callable[[], object]) -> None:
        await trio.sleep(self._chance.random() * self.trouble.late)
        with suppress(LeaseNotFoundError):
            self._do(write)

    async def _write(self, write: Callable[[], object]) -> object:
        await self._travel()
        if self._chance.random() < self.trouble.unknown:
            fate = self._chance.random()
            if fate < 0.25:
                self._do(write)
            elif fate < 0.6:
                self._nursery.start_soon(self._late, write)
            await trio.sleep(self._chance.random() * 2)
            raise OutcomeUnknownError("the answer was lost")
        self.writes += 1
        done = self._do(write)
        await trio.sleep(self._chance.random() * self.trouble.delay)
        if self.cut:
            raise OutcomeUnknownError("cut off before the answer")
        return done

    async def execute(self, operation: Operation, *, local: bool = False) -> Result:
        if not only_reads(operation):
            return cast(Result, await self._write(lambda: self.cluster.execute(operation)))
        await self._travel()
        if self._chance.random() < self.trouble.lost:
            raise ConnectionLostError("a read broke off")
        if local and isinstance(operation, Range) and not operation.revision:
            behind = max(self.cluster.revision - self._chance.randrange(20), self.cluster.floor, 1)
            operation = msgspec.structs.replace(operation, revision=behind)
        return self.cluster.execute(operation)

    async def compact(self, revision: int) -> None:
        await self._write(self.cluster.compact)

    @asynccontextmanager
    async def watch(
        self,
        keys: bytes | Keys,
        *,
        start: int = 0,
        previous: bool = False,
        puts: bool = True,
        deletes: bool = True,
        progress: bool = False,
        lost: Callable[[str], None] | None = None,
    ) -> AsyncIterator[Watch]:
        await self._travel()
        yield SimWatch(self, keys, start or self.cluster.revision + 1, puts, deletes, lost)

    async def grant(self, ttl: int, lease: int = 0) -> LeaseStatus:
        return cast(LeaseStatus, await self._write(lambda: self.cluster.grant(ttl, lease)))

    async def keep_alive(self, lease: int, *, seconds: float | None = None) -> int:
        def renew() -> int:
            row = self.cluster.row(lease)
            row.until = trio.current_time() + row.ttl
            return row.ttl

        return cast(int, await self._write(renew))

    async def revoke(self, lease: int) -> None:
        await self._write(lambda: self.cluster.revoke(lease))

    async def time_to_live(self, lease: int, *, keys: bool = False) -> LeaseStatus:
        await self._travel()
        row = self.cluster.row(lease)
        left = int(row.until - trio.current_time())
        return LeaseStatus(lease, left, row.ttl, tuple(sorted(row.keys)) if keys else ())

    async def leases(self) -> list[int]:
        await self._travel()
        return sorted(self.cluster.leases)


class SimWatch(Watch):
    def __init__(
        self,
        door: Door,
        keys: bytes | Keys,
        start: int,
        puts: bool,
        deletes: bool,
        lost: Callable[[str], None] | None,
    ) -> None:
        self._door = door
        self._keys = keys
        self._kinds = {kind for kind, wanted in (("put", puts), ("delete", deletes)) if wanted}
        self.revision = start - 1
        self._lost = lost
        self._epoch = door.cluster.epoch

    async def __anext__(self) -> Batch:
        cluster = self._door.cluster
        while True:
            changed, broken = cluster.changed, self._door._broken
            if not self._door.cut and trio.current_time() >= cluster.away_until:
                if self._epoch != cluster.epoch:
                    self._epoch = cluster.epoch
                    if self._lost:
                        self._lost("sim: the store was restored")
                    await trio.sleep(self._door._chance.random())
                    continue
                if self.revision < cluster.floor and self.revision + 1 < cluster.floor:
                    raise CompactedError(cluster.floor)
                found = self._next(cluster)
                if found:
                    await trio.sleep(self._door._chance.random() * self._door.trouble.delay)
                    self.revision = found[0]
                    return Batch(found[0], found[1])
            await self._either(changed, broken)
            if broken.is_set() and self._lost:
                self._lost("sim: the connection broke")

    def _next(self, cluster: Cluster) -> tuple[int, tuple[Event, ...]] | None:
        for place in range(len(cluster.history) - 1, -2, -1):
            if place < 0 or cluster.history[place][0] <= self.revision:
                break
        for at, events in cluster.history[place + 1 :]:
            mine = tuple(event for event in events if event.kind in self._kinds and self._is_mine(event.kv.key))
            if mine:
                return at, mine
        if cluster.revision > self.revision:
            self.revision = cluster.revision
        return None

    def _is_mine(self, key: bytes) -> bool:
        return key == self._keys if isinstance(self._keys, bytes) else key in self._keys

    async def _either(self, one: trio.Event, other: trio.Event) -> None:
        with trio.move_on_after(1.0):
            async with trio.open_nursery() as nursery:

                async def first(event: trio.Event) -> None:
                    await event.wait()
                    nursery.cancel_scope.cancel()

                nursery.start_soon(first, one)
                nursery.start_soon(first, other)
