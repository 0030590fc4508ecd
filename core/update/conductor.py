"""The task that offers updates to hosts: elected among the members, and led by the pure plan.

Each of its transactions compares the election's key and what it read, so a deposed conductor changes nothing. When an
offer stands since is reckoned by this process's monotonic clock: no host's clock is asked, and a new conductor begins
to count anew, which only makes it more patient.
"""

import logging
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import trio

from core.client import Claim, Compare, Delete, KeyValue, Operation, Put, Store, prefix
from core.client.errors import ClientError, CompactedError, NotLeadingError
from core.update import keys
from core.update.keys import Kind
from core.update.plan import Change, Grant, Pause, Releases, Withdraw, World, plan
from core.update.records import Channel, Group, Offer, RecordError, Report, decode, encode
from core.update.windows import WindowError, parse

TTL = 10
"""Seconds after which a dead conductor is replaced."""
LOOK_SECONDS = 5.0
"""How often it plans although nothing changed: windows open and patience ends."""
RETRY_SECONDS = 1.0

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
        self._stored: dict[bytes, KeyValue] = {}
        self._since: dict[str, float] = {}
        self._changed = trio.Event()

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
        self._stored, self._since = {}, {}
        revision = 0
        async for page in self._store.pages(everything):
            revision = revision or page.revision
            for kv in page.kvs:
                self._apply(kv.key, kv)
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
                        self._apply(event.kv.key, event.kv if event.kind == "put" else None)
                    self._changed.set()
            except ClientError as error:
                failure.append(error)
                nursery.cancel_scope.cancel()
        if failure:
            raise failure[0]

    def _apply(self, key: bytes, kv: KeyValue | None) -> None:
        place = keys.parse(key)
        if place is None:
            return
        if kv is None:
            self._stored.pop(key, None)
        else:
            self._stored[key] = kv
        if place.kind is Kind.OFFER:
            self._since.pop(place.name, None)
            if kv is not None:
                self._since[place.name] = trio.current_time()

    async def _work(self, claim: Claim) -> None:
        while True:
            self._changed = trio.Event()
            for change in plan(self.world()):
                await self._make(claim, change)
                await trio.lowlevel.checkpoint()
            with trio.move_on_after(LOOK_SECONDS):
                await self._changed.wait()

    async def _make(self, claim: Claim, change: Change) -> None:
        """Make a change, unless what it rests on is another by now; then the watch will tell."""
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
                stored = msgspec.structs.replace(self.world().groups[group], paused=True, why=why)
                rests, done = (keys.group(group),), Put(keys.group(group), encode(stored))
                log.warning("a group stops updating", extra={"group": group, "why": why})
        compare = [self._unchanged(key) for key in rests]
        result = await self._store.txn([claim.compare, *compare], [done])
        if result.succeeded:
            for key in rests[:1]:
                put = done if isinstance(done, Put) else None
                kv = None if put is None else KeyValue(key, put.value, mod_revision=result.revision)
                self._apply(key, kv)

    def _unchanged(self, key: bytes) -> Compare:
        seen = self._stored.get(key)
        return Compare.absent(key) if seen is None else Compare.unchanged(seen)

    def world(self) -> World:
        """What the plan is made from."""
        channels: dict[str, Channel] = {}
        groups: dict[str, Group] = {}
        reports: dict[str, Report] = {}
        offers: dict[str, Offer] = {}
        alive: set[str] = set()
        for key, kv in self._stored.items():
            place = keys.parse(key)
            if place is None:
                continue
            try:
                match place.kind:
                    case Kind.CHANNEL:
                        channels[place.name] = decode(Channel, kv.value)
                    case Kind.GROUP:
                        groups[place.name] = decode(Group, kv.value)
                    case Kind.REPORT:
                        reports[place.name] = decode(Report, kv.value)
                    case Kind.OFFER:
                        offers[place.name] = decode(Offer, kv.value)
                    case Kind.ALIVE:
                        alive.add(place.name)
            except RecordError as error:
                log.warning("a record of updates is left out: %s", error, extra={"name_": place.name})
        now = trio.current_time()
        ages = {machine: now - since for machine, since in self._since.items()}
        open_ = {name for name, group in groups.items() if self._is_open(group)}
        return World(channels, groups, reports, offers, alive, ages, open_, self._releases())

    def _is_open(self, group: Group) -> bool:
        window = group.policy.window
        try:
            return window is None or parse(window.start, window.length).holds(self._wall())
        except WindowError:
            return False  # a window that nobody understands never opens
