"""The cluster's word for this host, and this host's word for the cluster: its offer, its report, its being there.

An offer is a word, not a command: what is installed must be signed, and runs only after it has proved itself.
"""

import logging
import time
from collections.abc import Awaitable, Callable

import msgspec
import trio

from core.client.errors import ClientError
from core.client.store import Store
from core.client.values import KeyValue
from core.update import keys
from core.update.host.journal import Image
from core.update.host.place import Place
from core.update.host.ports import Order
from core.update.host.updater import Updater
from core.update.records import Offer, RecordError, Report, decode, encode

RETRY_SECONDS = 2.0
REPORT_SECONDS = 3.0
"""How often a report is written at most, of which nothing but the progress is new."""

log = logging.getLogger(__name__)


class Cluster:
    """Fulfils `core.update.host.ports.Orders`. `run` it; call `tell` when there is something new of the updater."""

    def __init__(self, store: Store, machine: str, group: str, architecture: str, ttl: int) -> None:
        """`ttl`: seconds after which this host counts as away when nothing is heard of it."""
        self._store = store
        self._machine = machine
        self._group = group
        self._architecture = architecture
        self._ttl = ttl
        self._order: Order | None = None
        self._known = False
        self._news = trio.Event()
        self._report: Report | None = None
        self._told = trio.Event()

    @property
    def order(self) -> Order | None:
        return self._order

    @property
    def known(self) -> bool:
        return self._known

    @property
    def report(self) -> Report | None:
        """The newest, None before there is one."""
        return self._report

    async def changed(self) -> None:
        await self._news.wait()
        self._news = trio.Event()  # only now: what comes while nobody waits is told to who comes next

    def tell(self, updater: Updater, place: Place) -> None:
        """Report how the updater fares."""
        journal, shown = updater.journal, updater.shown
        running = journal.slots.get(place.used)
        wanted = journal.wanted.version if journal.wanted is not None and shown.stage != "idle" else ""
        report = Report(
            self._group,
            place.product,
            self._architecture,
            running.version if running is not None else place.version,
            slot=place.used,
            stage=shown.stage,
            wanted=wanted,
            progress=100 * shown.done // shown.total if shown.total else 0,
            error=shown.why if shown.stage == "failed" else "",
            attempt=journal.attempt,
        )
        same = self._report is not None and (self._report.stage, self._report.wanted) == (report.stage, report.wanted)
        since = self._report.since if self._report is not None and same else int(time.time())
        self._report = msgspec.structs.replace(report, since=since)
        self._told.set()

    async def run(self) -> None:
        """Listen, report, be there; never returns. A store that is away is waited for."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._again, self._listen)
            nursery.start_soon(self._again, self._write_reports)
            nursery.start_soon(self._again, self._stay)

    async def _again(self, part: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await part()
            except ClientError as error:
                log.info("the cluster is not reached for updates: %s", error)
            await trio.sleep(RETRY_SECONDS)

    async def _listen(self) -> None:
        key = keys.offer(self._machine)
        found = await self._store.range(key)
        self._take(found.first)
        async with self._store.watch(key, start=found.revision + 1) as watch:
            async for batch in watch:
                for event in batch.events:
                    self._take(event.kv if event.kind == "put" else None)

    def _take(self, stored: KeyValue | None) -> None:
        try:
            offer = None if stored is None else decode(Offer, stored.value)
        except RecordError as error:
            log.warning("the offer of an update is passed over: %s", error)
            offer = None
        self._order = None
        if offer is not None:
            image = Image(offer.product, offer.version, offer.architecture, offer.sha256, offer.size)
            self._order = Order(image, offer.attempt)
        self._known = True
        self._news.set()

    async def _write_reports(self) -> None:
        """What is the newest; it stays when this host goes."""
        written: Report | None = None
        while True:
            await self._told.wait()
            self._told = trio.Event()
            report = self._report
            if report is None or report == written:
                continue
            if written is not None and msgspec.structs.replace(report, progress=written.progress) == written:
                with trio.move_on_after(REPORT_SECONDS):
                    await self._another_stage(report)
                report = self._report or report
            try:
                await self._store.put(keys.report(self._machine), encode(report))
            except ClientError:
                self._told.set()
                raise
            written = report

    async def _another_stage(self, report: Report) -> None:
        while self._report is not None and self._report.stage == report.stage:
            await self._told.wait()
            self._told = trio.Event()
        self._told.set()

    async def _stay(self) -> None:
        async with self._store.lease(self._ttl) as lease:
            await self._store.put(keys.alive(self._machine), b"", lease=lease.id)
            await trio.sleep_forever()
