"""The slots of this host's disk: what the updater asks of them, done in threads, for all of it blocks.

Before each piece they look whether they are still wanted. What they leave if not is what a power cut leaves.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import trio

from core.client.images import Images
from core.images import install
from core.images.manifest import Chunk, ImageError, Manifest
from core.images.reuse import Place, Reuse, missing, reusable
from core.partitions.boot import BootControl, BootError, Slot, SlotName
from core.partitions.boot.opening import boot_control
from core.partitions.device import Area, DeviceError
from core.partitions.disk import Disk
from core.partitions.table import TableError
from core.update.host.fetching import Ahead, Pace
from core.update.host.journal import Image
from core.update.host.place import read
from core.update.host.ports import RefusedUpdateError, SlotState, UpdateError
from core.update.host.releases import Releases
from core.update.records import Stage

TOLD_BYTES = 1 << 20
"""Progress is told each time so many bytes are done."""
T = TypeVar("T")
Tell = Callable[[Stage, int, int], None]


class DiskSlots:
    """Fulfils `core.update.host.ports.Slots`."""

    def __init__(self, disk: Path, used: SlotName, releases: Releases, images: Images, rate: int) -> None:
        """`rate`: bytes a second that are fetched at most; 0: no limit."""
        self._disk = disk
        self._used: SlotName = used
        self._releases = releases
        self._images = images
        self._pace = Pace(rate)

    @property
    def used(self) -> SlotName:
        return self._used

    async def slots(self) -> tuple[Slot, Slot]:
        """As the boot loader sees them. UpdateError."""
        return await _in_thread(lambda: read(self._disk))

    async def status(self) -> tuple[SlotState, SlotState]:
        a, b = (SlotState(slot.name, slot.good, slot.bootable, slot.next) for slot in await self.slots())
        return a, b

    async def good(self, slot: SlotName) -> None:
        await _in_thread(lambda: self._say(lambda boot: boot.good(slot)))

    async def prefer(self, slot: SlotName) -> None:
        await _in_thread(lambda: self._say(lambda boot: boot.prefer(slot)))

    async def install(self, image: Image, slot: SlotName, tell: Tell) -> None:
        tell("fetching", 0, 0)
        manifest = await self._releases.manifest(image)
        failure: UpdateError | None = None
        teller, patience = _Teller(tell, manifest.usr.size), _Patience()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(patience.run)
            try:
                await _in_thread(lambda: self._install(manifest, slot, teller, patience, nursery))
            except UpdateError as error:
                failure = error  # a nursery would wrap it
            except _GivenUpError:
                await trio.lowlevel.checkpoint_if_cancelled()
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    def _install(
        self, manifest: Manifest, name: SlotName, teller: "_Teller", patience: "_Patience", nursery: trio.Nursery
    ) -> None:
        with self._opened() as (disk, boot):
            slots = {slot.name: slot for slot in boot.status()}
            slot, active = slots[name], slots[self._used]
            if manifest.usr.size > slot.size:
                raise RefusedUpdateError(f"it needs {manifest.usr.size} bytes, and slot {name} has {slot.size}")
            with disk.opened(slot.partition) as fresh, disk.read_only(active.partition) as old:
                passive = _Watched(fresh, patience)
                places = reusable(manifest.usr, _Watched(old, patience), passive)
                teller.say("writing")
                source = Reuse(places, Ahead(self._images, self._pace, _wanted(manifest, places), nursery))
                start = install.start_of(manifest, source)
                install.begin(boot, slot, manifest, start)
                install.write(passive, manifest.usr, source, teller.advance)
                teller.say("comparing")
                install.compare(passive, manifest.usr, teller.advance)
            boot.end(name, start)

    def _say(self, word: Callable[[BootControl], None]) -> None:
        with self._opened() as (_, boot):
            word(boot)

    @contextmanager
    def _opened(self) -> Iterator[tuple[Disk, BootControl]]:
        with Disk.open(self._disk, writable=True) as disk, boot_control(disk, writable=True) as boot:
            yield disk, boot


def _wanted(manifest: Manifest, places: Mapping[str, Place]) -> Iterator[Chunk]:
    """What will be asked of the cluster, in order: `places` has the rest. Kernel and initrd come after the slot."""
    for blob in (manifest.usr, manifest.kernel, manifest.initrd):
        if blob is not None:
            yield from missing(blob, places)


class _GivenUpError(Exception):
    """Nobody waits any more for what a thread does."""


class _Patience:
    """Tells threads whether their task is still there: those that an install starts cannot ask trio."""

    def __init__(self) -> None:
        self._is_over = False

    async def run(self) -> None:
        """Until cancelled, and with it the install."""
        try:
            await trio.sleep_forever()
        finally:
            self._is_over = True

    def check(self) -> None:
        """In any thread. _GivenUpError."""
        if self._is_over:
            raise _GivenUpError


class _Watched:
    """An area whose threads end at their next piece when nobody waits for them any more."""

    def __init__(self, area: Area, patience: _Patience) -> None:
        self._area = area
        self._patience = patience
        self.size = area.size

    def read(self, offset: int, length: int) -> bytes:
        self._patience.check()
        return self._area.read(offset, length)

    def write(self, offset: int, data: bytes | memoryview) -> None:
        self._patience.check()
        self._area.write(offset, data)

    def sync(self) -> None:
        self._area.sync()

    def forget_cached(self) -> None:
        self._area.forget_cached()


class _Teller:
    """Tells, from the thread, how far a stage is."""

    def __init__(self, tell: Tell, total: int) -> None:
        self._tell = tell
        self._total = total
        self._stage: Stage = "fetching"
        self._done = self._told = 0

    def say(self, stage: Stage) -> None:
        """A stage begins."""
        self._stage, self._done, self._told = stage, 0, 0
        trio.from_thread.run_sync(self._tell, stage, 0, self._total)

    def advance(self, size: int) -> None:
        self._done += size
        if self._done - self._told >= TOLD_BYTES or self._done >= self._total:
            self._told = self._done
            trio.from_thread.run_sync(self._tell, self._stage, self._done, self._total)


async def _in_thread(work: Callable[[], T]) -> T:
    """UpdateError."""
    try:
        return await trio.to_thread.run_sync(work)
    except BootError as error:
        raise RefusedUpdateError(str(error)) from error
    except (ImageError, DeviceError, TableError) as error:
        raise UpdateError(str(error)) from error
    except OSError as error:
        raise UpdateError(f"the disk with the slots cannot be used: {error}") from error
