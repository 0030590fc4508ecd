"""The power goes at each write and sync of an install: a host always finds a whole image."""

import hashlib
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.images import install as installing
from core.images.install import install
from core.images.manifest import ImageError, Manifest
from core.images.reuse import Reuse, missing, reusable
from core.images.store import ChunkStore, Source
from core.partitions.boot import BootControl, Slot
from core.partitions.boot.gpt import GptControl
from core.partitions.choice import choose
from core.partitions.disk import Disk
from core.partitions.slots import marks_of
from core.partitions.table import TableError
from tests.images.recorded import SYNC, Recorder, fresh_disk, image

TORN_AT = 512
Installer = Callable[[Disk, BootControl, Slot, Manifest, Source], None]
Log = list[tuple[int, bytes] | None]


def states(before: bytes, log: Log, chance: random.Random) -> Iterator[bytes]:
    """The disk as a power cut after each step could leave it: all written, none or some of what was not yet synced,
    and the last write torn at a sector."""
    durable = bytearray(before)
    pending: list[tuple[int, bytes]] = []
    yield bytes(durable)
    for step in log:
        if step is SYNC:
            for offset, data in pending:
                durable[offset : offset + len(data)] = data
            pending = []
            yield bytes(durable)
            continue
        pending.append(step)
        offset, data = step
        torn = [*pending[:-1], (offset, data[: chance.randrange(len(data) // TORN_AT + 1) * TORN_AT])]
        some = [write for write in pending if chance.random() < 0.5]
        for kept in (pending, [pending[-1]], some, torn):
            state = bytearray(durable)
            for at, piece in kept:
                state[at : at + len(piece)] = piece
            yield bytes(state)


def problem(state: bytes, before: bytes, manifest: Manifest) -> str | None:
    """What a host would find wrong."""
    try:
        with Disk(Recorder(bytearray(state))) as disk:
            table = disk.table
    except TableError as error:
        return f"no table: {error}"
    choice = choose(table)
    if choice is None:
        return "nothing starts"
    slots = {part.number: slice(part.first * 512, (part.last + 1) * 512) for part in table.partitions}
    if state[slots[3]] != before[slots[3]]:
        return "the slot in use was written to"
    outside = slice(slots[4].start + manifest.usr.size, slots[4].stop)
    if state[outside] != before[outside]:
        return "something was written behind the image"
    # not only what starts now: the other one starts when that fails
    if marks_of(table.partition(4)).bootable and state[slots[4]] != before[slots[4]]:
        content = state[slots[4]][: manifest.usr.size]
        if hashlib.sha256(content).hexdigest() != manifest.usr.sha256:
            return "a slot that is not whole may start"
    return None


def into_b(disk: Disk, manifest: Manifest, source: Source) -> None:
    boot = GptControl(disk)
    install(disk, boot, boot.status()[1], manifest, source)


def problems(home: Path, work: Installer) -> tuple[int, set[str], bytes]:
    """States that were looked at, what was wrong with any, and the disk at the end."""
    manifest, store = image(home)
    before = bytes(fresh_disk())
    device = Recorder(bytearray(before))
    with Disk(device) as disk:
        boot = GptControl(disk)
        work(disk, boot, boot.status()[1], manifest, store)
    found = [problem(state, before, manifest) for state in states(before, device.log, random.Random(7))]
    return len(found), {each for each in found if each}, bytes(device.data)


def test_whenever_the_power_goes_a_whole_image_starts(tmp_path: Path) -> None:
    count, found, after = problems(tmp_path, install)
    assert found == set()
    assert count > 50
    (tmp_path / "disk.img").write_bytes(after)
    judged = subprocess.run(["sgdisk", "--verify", tmp_path / "disk.img"], capture_output=True, check=True)
    assert b"No problems found" in judged.stdout
    with Disk(Recorder(bytearray(after))) as disk:
        choice = choose(disk.table)
    assert choice is not None
    assert choice.number == 4


def test_foreign_tools_find_a_table_after_each_cut_between_steps(tmp_path: Path) -> None:
    manifest, store = image(tmp_path, 20_000)
    before = bytes(fresh_disk())
    device = Recorder(bytearray(before))
    with Disk(device) as disk:
        into_b(disk, manifest, store)
    path = tmp_path / "disk.img"
    state = bytearray(before)
    for step in device.log:
        if step is SYNC:
            path.write_bytes(state)
            done = subprocess.run(["sgdisk", "--print", path], capture_output=True)
            assert b"USR-A" in done.stdout
            assert b"USR-B" in done.stdout
        else:
            state[step[0] : step[0] + len(step[1])] = step[1]


def ended_first(disk: Disk, boot: BootControl, slot: Slot, manifest: Manifest, store: Source) -> None:
    start = installing.start_of(manifest, store)
    with disk.opened(slot.partition) as area:
        installing.begin(boot, slot, manifest, start)
        boot.end(slot.name, start)
        installing.write(area, manifest.usr, store)


def never_begun(disk: Disk, boot: BootControl, slot: Slot, manifest: Manifest, store: Source) -> None:
    with disk.opened(slot.partition) as area:
        installing.write(area, manifest.usr, store)
    boot.end(slot.name, installing.start_of(manifest, store))


def not_all_and_not_compared(disk: Disk, boot: BootControl, slot: Slot, manifest: Manifest, store: Source) -> None:
    start = installing.start_of(manifest, store)
    with disk.opened(slot.partition) as area:
        installing.begin(boot, slot, manifest, start)
        for offset, chunk in list(manifest.usr.placed())[:-1]:
            area.write(offset, store.read(chunk))
        area.sync()
    boot.end(slot.name, start)


def into_the_slot_in_use(disk: Disk, boot: BootControl, _: Slot, manifest: Manifest, store: Source) -> None:
    install(disk, boot, boot.status()[0], manifest, store)


@pytest.mark.parametrize("broken", [ended_first, never_begun, not_all_and_not_compared, into_the_slot_in_use])
def test_a_wrong_order_is_caught(tmp_path: Path, broken: Installer) -> None:
    assert problems(tmp_path, broken)[1]


def test_a_disk_that_forgets_is_found_out(tmp_path: Path) -> None:
    class Forgetful(Recorder):
        def write(self, offset: int, data: bytes | memoryview) -> None:
            super().write(offset, bytes(data)[:-1] + b"x" if len(data) > 20_000 else data)

    manifest, store = image(tmp_path)
    with Disk(Forgetful(fresh_disk())) as disk:
        with pytest.raises(ImageError, match="failing"):
            into_b(disk, manifest, store)
        choice = choose(disk.table)
        assert choice is not None
        assert choice.number == 3


def test_after_a_crash_only_the_rest_is_fetched(tmp_path: Path) -> None:
    manifest, store = image(tmp_path)
    with Disk(Recorder(fresh_disk())) as disk, disk.opened(3) as active, disk.opened(4) as passive:
        assert missing(manifest.usr, reusable(manifest.usr, active, passive)) == list(manifest.usr.chunks)
        done = list(manifest.usr.placed())[: len(manifest.usr.chunks) // 2]
        for offset, chunk in done:
            passive.write(offset, store.read(chunk))
        places = reusable(manifest.usr, active, passive)
        rest = missing(manifest.usr, places)
        assert rest == list(manifest.usr.chunks[len(done) :])
        fetched = ChunkStore(tmp_path / "fetched")
        for chunk in rest:
            assert fetched.add(store.read(chunk)) == chunk
        into_b(disk, manifest, Reuse(places, fetched))
