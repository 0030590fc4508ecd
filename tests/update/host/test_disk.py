"""An install on a real disk-image file, from signed releases: whole, again, cut short, and refused."""

import random
from pathlib import Path

import pytest
import trio

from core.client.endpoints import Endpoint, parse
from core.client.errors import ClientError, ConnectionLostError
from core.client.images import Images
from core.images import install
from core.images.build import Parts, Release, build
from core.images.manifest import Chunk, encode
from core.images.store import ChunkStore
from core.partitions.boot import SlotName
from core.partitions.disk import Disk
from core.partitions.in_use import InUse
from core.partitions.slots import Marks
from core.trust.errors import NotFoundError
from core.update.host.fetching import Pace
from core.update.host.journal import Image
from core.update.host.place import UNKNOWN, find, read
from core.update.host.ports import RefusedUpdateError, UpdateError
from core.update.host.releases import Releases
from core.update.host.slots import DiskSlots
from core.update.records import Stage
from tests.partitions.disks import disk_with, two_slots
from tests.trust.makers import NOW, Makers

SECTORS = 16 << 10
"""Of a disk: each slot has 2 MiB."""


class World(Images):
    """A repository, images, and what was asked of them: it stands for the members."""

    def __init__(self, home: Path) -> None:
        super().__init__(lambda: [parse("http://127.0.0.1:1")], lambda: None)
        self.home = home
        self.makers = Makers(home / "repository")
        self.stores: list[ChunkStore] = []
        self.fetched: list[str] = []
        self.failures = 0
        """How many of the next chunks cannot be had."""
        self.stuck = trio.Event()
        self.stop_after = -1
        self.disk = home / "disk.img"
        disk_with(two_slots(Marks(1, 0, True), Marks(0, 0, False), SECTORS)).save(self.disk)
        (home / "trusted").mkdir()
        releases = Releases(home / "trusted", self.makers.first, self, lambda: NOW)
        self.slots = DiskSlots(self.disk, "A", releases, self, 0)
        self.told: list[tuple[Stage, int, int]] = []

    def release(self, version: str, data: bytes) -> Image:
        source = self.home / f"usr-{version}"
        source.write_bytes(data)
        out = self.home / version
        manifest = build(Parts(source), Release("os", version, "x86_64"), out)
        self.stores.append(ChunkStore(out / "chunks"))
        written = encode(manifest)
        self.makers.release(version, data=written)
        target = self.makers.repository.targets().signed.targets[f"os/{version}/x86_64/manifest.json"]
        return Image("os", version, "x86_64", target.hashes["sha256"], target.length)

    async def from_one(self, endpoint: Endpoint, path: str, limit: int) -> bytes | None:
        await trio.lowlevel.checkpoint()
        try:
            return self.makers.repository.fetch(path, limit)
        except NotFoundError:
            return None

    async def chunk(self, chunk: Chunk) -> bytes:
        await trio.lowlevel.checkpoint()
        if len(self.fetched) == self.stop_after:
            self.stuck.set()
            await trio.sleep_forever()
        if self.failures:
            self.failures -= 1
            raise ConnectionLostError("nobody answers")
        self.fetched.append(chunk.sha256)
        for store in self.stores:
            if store.has(chunk):
                return store.read(chunk)
        raise ClientError("nobody has it")

    async def install(self, image: Image, slot: SlotName = "B") -> None:
        await self.slots.install(image, slot, lambda *told: self.told.append(told))

    def content(self, slot: int, size: int) -> bytes:
        with Disk.open(self.disk) as disk, disk.read_only(slot) as area:
            return area.read(0, size)


DATA = random.Random(5).randbytes(1_500_000)
OTHER = random.Random(6).randbytes(100_000) + DATA[100_000:]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_an_image_is_installed_and_only_what_is_new_is_fetched(world: World) -> None:
    first = world.release("1.0", DATA)
    await world.install(first)
    assert world.content(4, len(DATA)) == DATA
    a, b = read(world.disk)
    assert (a.good, a.next, b.good, b.tries, b.next) == (True, False, False, 3, True)
    assert [stage for at, (stage, _, _) in enumerate(world.told) if not at or world.told[at - 1][0] != stage] == [
        "fetching",
        "writing",
        "comparing",
    ]
    assert world.told[-1] == ("comparing", len(DATA), len(DATA))
    before = len(world.fetched)
    await world.install(world.release("1.1", OTHER))
    assert world.content(4, len(DATA)) == OTHER
    assert len(world.fetched) - before < before / 3
    assert world.content(3, 4096) == bytes(4096), "the slot in use is as it was"


async def test_a_failure_leaves_a_slot_that_does_not_start_and_the_next_try_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "_BLOCK", 64 << 10)  # what is written at a time is small beside this image too
    image = world.release("1.0", DATA)
    world.stop_after = 12
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.install, image)
        with trio.fail_after(20):
            await world.stuck.wait()
        nursery.cancel_scope.cancel()  # the program ends here
    a, b = read(world.disk)
    assert (a.next, b.bootable) == (True, False)
    world.stop_after, world.failures = -1, 1
    with pytest.raises(UpdateError, match="nobody answers"):
        await world.install(image)
    assert not read(world.disk)[1].bootable
    got = len(world.fetched)
    await world.install(image)
    assert world.content(4, len(DATA)) == DATA
    assert 0 < len(world.fetched) - got < len(set(world.fetched)), "what was written already is not fetched again"


async def test_what_is_not_what_was_signed_is_refused_and_the_disk_is_as_it_was(world: World) -> None:
    image = world.release("1.0", DATA)
    before = world.disk.read_bytes()
    for wrong, why in (
        (Image("os", "1.0", "x86_64", "0" * 64, image.size), "another content than is signed"),
        (Image("os", "9.0", "x86_64", image.sha256, image.size), "no signed release 9.0"),
    ):
        with pytest.raises(UpdateError, match=why):
            await world.install(wrong)
    big = world.release("2.0", random.Random(7).randbytes(2_200_000))
    with pytest.raises(RefusedUpdateError, match=r"it needs 2200000 bytes, and slot B has \d+"):
        await world.install(big)
    assert world.disk.read_bytes() == before


async def test_an_image_with_a_kernel_is_refused_by_a_disk_that_takes_it_from_the_slot(world: World) -> None:
    world.release("1.0", DATA)
    (world.home / "kernel").write_bytes(b"k" * 5000)
    built = build(
        Parts(world.home / "usr-1.0", world.home / "kernel"), Release("os", "1.1", "x86_64"), world.home / "1.1"
    )
    world.makers.release("1.1", data=encode(built))
    target = world.makers.repository.targets().signed.targets["os/1.1/x86_64/manifest.json"]
    world.stores.append(ChunkStore(world.home / "1.1" / "chunks"))
    with pytest.raises(RefusedUpdateError, match="brings a kernel"):
        await world.install(Image("os", "1.1", "x86_64", target.hashes["sha256"], target.length))


async def test_the_words_to_the_boot_loader(world: World) -> None:
    await world.install(world.release("1.0", DATA))
    await world.slots.prefer("A")
    assert [slot.next for slot in await world.slots.status()] == [True, False]
    await world.slots.good("B")
    assert [(slot.next, slot.good) for slot in await world.slots.status()] == [(False, True), (True, True)]


async def test_a_pace_is_kept(autojump_clock: object) -> None:
    pace, began = Pace(1000), trio.current_time()
    for _ in range(11):
        await pace.spend(500)
    assert trio.current_time() - began == pytest.approx(5.0)


def test_the_place_is_found_or_the_reason_why_not(tmp_path: Path) -> None:
    disk = disk_with(two_slots(Marks(1, 0, True), Marks(0, 0, False))).save(tmp_path / "disk")
    release = tmp_path / "os-release"
    found = find(disk, "B", release=release)
    assert (found.disk, found.used, (found.product, found.version)) == (disk, "B", UNKNOWN)
    release.write_text("# a comment\nNAME=Some\nIMAGE_ID=\"some\"\nIMAGE_VERSION='7.1'\n")
    here = find(None, None, lambda: InUse(disk, 4), release)
    assert (here.used, here.product, here.version) == ("B", "some", "7.1")
    with pytest.raises(UpdateError, match="runs from neither slot"):
        find(None, None, lambda: InUse(disk, 9))
    other = disk_with(two_slots(Marks(1, 0, True), Marks(0, 0, False))).save(tmp_path / "other")
    with pytest.raises(UpdateError, match="say with --update-slot"):
        find(other, None, lambda: InUse(disk, 3))
    with pytest.raises(UpdateError, match="cannot be opened: No such file"):
        find(tmp_path / "none", "A")
