"""The task that offers updates to hosts: elected among the members, and led by the pure plan.

Each of its transactions compares the election's key and what it read, so a deposed conductor changes nothing. When an
offer stands since is reckoned by this process's monotonic clock: no host's clock is asked, and a new conductor begins
to count anew, which only makes it more patient.
"""

import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import msgspec
import trio

from core.client import Claim, Compare, Delete, KeyValue, Operation, Put, Store, prefix
from core.client.errors import ClientError, CompactedError, NotLeadingError
from core.update import keys
from core.update.mirror import Mirror
from core.update.plan import Change, Grant, Pause, Releases, Withdraw, plan
from core.update.records import Group, decode, encode
from core.update.windows import WindowError, parse

TTL = 10
"""Seconds after which a dead conductor is replaced."""
LOOK_SECONDS = 5.0
"""How often it plans although nothing changed: windows open and patience ends."""
RETRY_SECONDS = 1.0
REST = 10
"""How many times as long as a plan took nothing is planned after it; what hosts report meanwhile is one plan. So
planning takes at most a tenth of a processor, however many hosts report."""

log = logging.getLogger(__name__)


class Conductor:
    """`run` it on every member; one of them leads at a time."""

    def __init__(
        self,
        store: Store,
        name: str,
        releases: Callable[[], Releases],
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`name` is what others see as the leader; `releases` are those that this member serves."""
        self._store = store
        self._name = name.encode()
        self._releases = releases
        self._wall = wall
        self._mirror = Mirror()
        self._changed = trio.Event()
        self.longest_slice = 0.0
        """Seconds for which a plan let nothing else run."""

    async def run(self) -> None:
        """Stand, lead, stand again; never returns. Cancelled, it resigns."""
        while True:
            try:
                await self._wait_for_groups()
                async with self._store.election(keys.LEADER).campaign(self._name, ttl=TTL) as lead:
                    await self._lead(lead.claim)
            except CompactedError:
                continue
            except NotLeadingError as error:
                log.info("%s", error)
            except ClientError as error:
                log.warning("updates cannot be conducted: %s", error)
            await trio.sleep(RETRY_SECONDS)

    async def _wait_for_groups(self) -> None:
        """Return when there is one. Before, there is nothing to conduct, and nothing is written for an election."""
        groups = prefix(keys.GROUPS)
        found = await self._store.range(groups, limit=1, keys_only=True)
        if found.kvs:
            return
        async with self._store.watch(groups, start=found.revision + 1) as watch:
            async for _ in watch:
                return

    async def _lead(self, claim: Claim) -> None:
        everything = prefix(keys.PREFIX)
        self._mirror = Mirror()
        revision = 0
        async for page in self._store.pages(everything):
            revision = revision or page.revision
            for kv in page.kvs:
                self._mirror.apply(kv.key, kv)
        failure: list[Exception] = []
        async with self._store.watch(everything, start=revision + 1) as watch, trio.open_nursery() as nursery:

            async def work() -> None:
                """The first failure ends the lead, by itself instead of in a group."""
                try:
                    await self._work(claim)
                except (ClientError, NotLeadingError) as error:
                    failure.append(error)
                    nursery.cancel_scope.cancel()

            nursery.start_soon(work)
            try:
                async for batch in watch:
                    for event in batch.events:
                        self._mirror.apply(event.kv.key, event.kv if event.kind == "put" else None)
                    self._changed.set()
            except ClientError as error:
                failure.append(error)
                nursery.cancel_scope.cancel()
        if failure:
            raise failure[0]

    async def _work(self, claim: Claim) -> None:
        while True:
            self._changed = trio.Event()
            seen, took = self._mirror.seen(), 0.0
            parts = plan(self._mirror.world(self._releases(), self._is_open))
            while True:
                before = time.perf_counter()
                found = next(parts, None)
                slice_ = time.perf_counter() - before
                took += slice_
                self.longest_slice = max(self.longest_slice, slice_)
                if found is None:
                    break
                for change in found:
                    await self._make(claim, change, seen)
                await trio.lowlevel.checkpoint()
            await trio.sleep(REST * took)
            with trio.move_on_after(LOOK_SECONDS):
                await self._changed.wait()

    async def _make(self, claim: Claim, change: Change, seen: Mapping[bytes, KeyValue]) -> None:
        """Make a change, unless what it rests on is not as the plan has `seen` it any more; then the next one tells."""
        match change:
            case Grant(machine, offer):
                key, write = keys.offer(machine), Put(keys.offer(machine), encode(offer))
                rests: tuple[bytes, ...] = (key, keys.group(offer.group), keys.report(machine))
                log.info("a host may update", extra={"machine": machine, "version": offer.version})
                done: Operation = write
            case Withdraw(machine, why):
                rests, done = (keys.offer(machine), keys.report(machine)), Delete(keys.offer(machine))
                log.info("an offer is over", extra={"machine": machine, "why": why})
            case Pause(group, why):
                stored = msgspec.structs.replace(decode(Group, seen[keys.group(group)].value), paused=True, why=why)
                rests, done = (keys.group(group),), Put(keys.group(group), encode(stored))
                log.warning("a group stops updating", extra={"group": group, "why": why})
        compare = [_unchanged(seen, key) for key in rests]
        result = await self._store.txn([claim.compare, *compare], [done])
        if result.succeeded:
            for key in rests[:1]:
                put = done if isinstance(done, Put) else None
                kv = None if put is None else KeyValue(key, put.value, mod_revision=result.revision)
                self._mirror.apply(key, kv)

    def _is_open(self, group: Group) -> bool:
        window = group.policy.window
        try:
            return window is None or parse(window.start, window.length).holds(self._wall())
        except WindowError:
            return False  # a window that nobody understands never opens


def _unchanged(seen: Mapping[bytes, KeyValue], key: bytes) -> Compare:
    found = seen.get(key)
    return Compare.absent(key) if found is None else Compare.unchanged(found)
