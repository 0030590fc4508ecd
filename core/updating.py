"""This host's updates: its updater with the disk, the cluster, the lock and the units it asks, and its door."""

import logging
import platform
import random
from collections.abc import Callable

import trio

from core.api.updates import Apply, UpdatesRefused
from core.client import Store
from core.client.images import Images
from core.client.updates import Begun, Served, SlotNow, UpdateStatus
from core.config import Config
from core.sched.records import Machine
from core.service import StartError
from core.tls import files
from core.trust.client import Verified
from core.trust.releases import Release
from core.update.host.journal import Image, JournalFile
from core.update.host.machine import ThisHost, Units
from core.update.host.orders import Cluster
from core.update.host.place import Place, find
from core.update.host.ports import UpdateError
from core.update.host.releases import Releases
from core.update.host.slots import DiskSlots
from core.update.host.turns import Turn
from core.update.host.updater import Policy, Updater
from core.update.versions import key
from core.update.voters import Voters

DIRECTORY = "update"
"""In the data directory: the journal, and what this host trusts."""
ALIVE_SECONDS = 30
RETRY_SECONDS = 30.0
"""After a disk that cannot be used, or a journal that cannot be written."""

_logger = logging.getLogger(__name__)


class Updating:
    """Made at the start. `run` is a task of the host while there is something to update; it fulfils `Updates`."""

    def __init__(
        self,
        config: Config,
        store: Store | None,
        machine: Machine,
        units: Callable[[], Units | None],
        images: Images,
        voters: Voters,
    ) -> None:
        """StartError if a disk is named and cannot be updated."""
        self._config = config
        self._images = images
        self._work: _Work | None = None
        self.off = "no store knows this host: it runs without a certificate of its own"
        """Why nothing is updated here; empty if it is."""
        if store is None:
            return
        try:
            place, root = _found(config)
        except UpdateError as error:
            self.off = str(error)
            _logger.debug("this host is not updated: %s", error)
            if config.update_disk is not None:
                raise StartError(f"--update-disk: {error}") from error
            return
        self.off = ""
        self._work = _Work(config, store, machine, units, images, voters, place, root)

    async def run(self) -> None:
        """Update this host, as the cluster says; never returns. Whatever fails is tried again."""
        if self._work is None:
            return
        async with self._images, trio.open_nursery() as nursery:
            nursery.start_soon(self._work.cluster.run)
            while True:
                try:
                    await self._work.updater.run()
                except (UpdateError, OSError) as error:
                    # The next run begins as after a crash.
                    _logger.error("this host cannot be updated: %s", error)
                await trio.sleep(RETRY_SECONDS)

    # core.api.updates.Updates

    async def status(self) -> object:
        if self._work is None:
            return UpdateStatus(off=self.off)
        work, config = self._work, self._config
        journal, shown = work.updater.journal, work.updater.shown
        try:
            slots = await work.slots.slots()
        except UpdateError as error:
            raise UpdatesRefused(str(error)) from error
        held = {name: image.version for name, image in journal.slots.items()}
        report = work.cluster.report
        order, wanted = work.cluster.order, journal.wanted
        return UpdateStatus(
            group=config.update_group,
            strategy=config.reboot_strategy,
            disk=str(work.place.disk),
            product=work.place.product,
            version=work.running,
            slot=work.place.used,
            step=journal.step,
            stage=shown.stage,
            since=report.since if report is not None else 0,
            wanted=wanted.version if wanted is not None and shown.stage != "idle" else "",
            by_hand=journal.by_hand,
            done=shown.done,
            total=shown.total,
            why=shown.why,
            offer=order.image.version if order is not None else "",
            cluster_known=work.cluster.known,
            slots=tuple(
                SlotNow(
                    slot.name,
                    slot.title.partition(" ")[2] or held.get(slot.name, ""),
                    slot.good,
                    slot.tries,
                    slot.next,
                    slot.name == work.place.used,
                )
                for slot in slots
            ),
        )

    async def check(self) -> object:
        work = self._there()
        found = await self._verified(work)
        versions = sorted((each.version for each in found.releases if work.fits(each)), key=key)
        return Served(
            product=work.place.product,
            version=work.running,
            offer=work.cluster.order.image.version if work.cluster.order is not None else "",
            newer=tuple(version for version in versions if key(version) > key(work.running)),
            releases=tuple(versions),
            root=found.root,
            expires=int(found.expires.timestamp()),
        )

    async def apply(self, wanted: Apply) -> object:
        work = self._there()
        updater = work.updater
        if not wanted.version and updater.shown.stage not in ("idle", "failed"):
            if not wanted.now:
                raise UpdatesRefused(f"{_version(updater)} is under way already; --now does not wait for a window")
            updater.apply(None, hurry=True)
            return Begun(_version(updater))
        image = self._chosen(work, wanted.version, await self._verified(work))
        if image.version == work.running:
            raise UpdatesRefused(f"this host runs {image.version}")
        updater.apply(image, hurry=wanted.now)
        return Begun(image.version)

    def _there(self) -> "_Work":
        if self._work is None:
            raise UpdatesRefused(f"this host is not updated: {self.off}")
        return self._work

    async def _verified(self, work: "_Work") -> Verified:
        try:
            return await work.releases.verified()
        except UpdateError as error:
            raise UpdatesRefused(str(error)) from error

    def _chosen(self, work: "_Work", version: str, found: Verified) -> Image:
        """The release of that version, else the one that is offered, else the newest."""
        fitting = {each.version: each for each in found.releases if work.fits(each)}
        offered = work.cluster.order.image.version if work.cluster.order is not None else ""
        chosen = version or offered or max(fitting, key=key, default="")
        if not version and (not chosen or key(chosen) <= key(work.running)):
            raise UpdatesRefused(f"nothing is newer than {work.running}; name a version to go back to one")
        if chosen not in fitting:
            have = ", ".join(sorted(fitting, key=key)) or "none"
            raise UpdatesRefused(f"no release {chosen} of {work.place.product} is signed and served; there are: {have}")
        each = fitting[chosen]
        return Image(each.product, each.version, each.architecture, each.sha256, each.size)


class _Work:
    """What there is of a host that is updated."""

    def __init__(
        self,
        config: Config,
        store: Store,
        machine: Machine,
        units: Callable[[], Units | None],
        images: Images,
        voters: Voters,
        place: Place,
        root: bytes,
    ) -> None:
        home = config.data_dir / DIRECTORY
        self.place = place
        self.architecture = platform.machine()
        self.releases = Releases(home, root, images)
        self.slots = DiskSlots(place.disk, place.used, self.releases, images, config.update_rate_limit)
        self.cluster = Cluster(store, machine.id, config.update_group, self.architecture, ALIVE_SECONDS)
        self.updater = Updater(
            JournalFile(home),
            ThisHost(store, machine.id, machine.boot_id, units, config.update_check, config.reboot_command),
            self.slots,
            Turn(store, config.update_group, machine.id, config.name if config.role == "member" else "", voters),
            self.cluster,
            Policy(
                strategy=config.reboot_strategy,
                window=config.reboot_window,
                drain=int(config.update_drain),
                healthy=config.update_healthy,
                deadline=config.update_patience,
            ),
            random.Random(),  # noqa: S311 - spreads load
            lambda: self.cluster.tell(self.updater, place),
        )

    @property
    def running(self) -> str:
        """The version."""
        known = self.updater.journal.slots.get(self.place.used)
        return self.place.version if known is None else known.version

    def fits(self, release: Release) -> bool:
        """Whether it could run here."""
        return (release.product, release.architecture) == (self.place.product, self.architecture)


def _found(config: Config) -> tuple[Place, bytes]:
    """UpdateError."""
    place = find(config.update_disk, config.update_slot)
    root = config.update_root
    try:
        if root is None:
            raise UpdateError("--update-root names no root of trust")
        home = config.data_dir / DIRECTORY
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        files.sync_directory(config.data_dir)
        return place, root.read_bytes()
    except OSError as error:
        raise UpdateError(f"{error.filename}: {error.strerror}; images cannot be trusted without it") from error


def _version(updater: Updater) -> str:
    wanted = updater.journal.wanted
    return "an update" if wanted is None else wanted.version
