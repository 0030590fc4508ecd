"""Disks and images as files and block devices: what is refused before the first byte, and bounds."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.partitions.choice import end_install
from core.partitions.device import Device, DeviceError, partition_node, window
from core.partitions.disk import Disk
from core.partitions.slots import Marks
from core.partitions.table import TableError
from tests.partitions.disks import disk_with, two_slots

GOOD, NEW = Marks(1, 0, True), Marks(0, 0, False)


@contextmanager
def loop_device(image: Path, *options: str) -> Iterator[Path]:
    made = subprocess.run(
        ["losetup", "--find", "--show", *options, image], check=True, capture_output=True, text=True
    ).stdout.strip()
    try:
        yield Path(made)
    finally:
        subprocess.run(["losetup", "--detach", made], check=True)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return disk_with(two_slots(GOOD, NEW)).save(tmp_path / "disk.img")


def test_a_change_is_there_when_the_disk_is_opened_again(image: Path) -> None:
    with Disk.open(image, writable=True) as disk:
        changed = end_install(disk.table, 4, tries=3)
        disk.change(changed)
        assert disk.table == changed
    with Disk.open(image) as disk:
        assert disk.table == changed
        assert disk.problems == ()


def test_a_damaged_table_is_repaired(image: Path) -> None:
    with image.open("r+b") as file:
        file.seek(512)
        file.write(bytes(512))
    with Disk.open(image, writable=True) as disk:
        assert disk.problems
        disk.repair()
        assert disk.problems == ()
    said = subprocess.run(["sgdisk", "--verify", image], check=True, capture_output=True, text=True).stdout
    assert "No problems found" in said


def test_nothing_is_written_outside_of_the_slot(image: Path) -> None:
    """Markers at both ends of every partition are there afterwards, in all but the slot."""
    with Disk.open(image, writable=True) as disk:
        table = disk.table
        areas = {each.number: window(disk.device, each) for each in table.partitions}
        for number, area in areas.items():
            area.write(0, b"%d begins" % number)
            area.write(area.size - 9, b"%d is over" % number)
        with disk.opened(4) as slot:
            slot.write(0, b"x" * slot.size)
            for offset, length in ((slot.size, 1), (slot.size - 1, 2), (-1, 1)):
                with pytest.raises(DeviceError):
                    slot.write(offset, b"y" * length)
            assert slot.read(slot.size - 1, 100) == b"x"
        for number, area in areas.items():
            begin, end = area.read(0, 8), area.read(area.size - 9, 9)
            mine = (b"%d begins" % number, b"%d is over" % number)
            assert (begin, end) == (mine if number != 4 else (b"x" * 8, b"x" * 9))
        assert disk.table == table


def test_an_image_that_somebody_writes_to_is_refused(image: Path) -> None:
    with (
        Disk.open(image, writable=True),
        pytest.raises(DeviceError, match="another process"),
        Disk.open(image, writable=True),
    ):
        pass
    with Disk.open(image, writable=True), Disk.open(image):
        pass


def test_what_is_no_disk_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="neither"):
        Device.open(Path("/dev/null"))
    with pytest.raises(DeviceError, match="neither"):
        Device.open(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DeviceError, match="neither"):
        Device.open(tmp_path / "pipe")
    with pytest.raises(DeviceError, match="No such file"):
        Device.open(tmp_path / "absent")
    (tmp_path / "odd").write_bytes(b"x" * 700)
    with pytest.raises(DeviceError, match="no multiple"):
        Device.open(tmp_path / "odd")
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(TableError):
        Disk.open(tmp_path / "empty")
    (tmp_path / "blank").write_bytes(bytes(1 << 20))
    with pytest.raises(TableError, match="no signature"):
        Disk.open(tmp_path / "blank")


def test_a_block_device_is_measured_and_changed(image: Path) -> None:
    with loop_device(image) as path, Disk.open(path, writable=True) as disk:
        assert disk.device.is_block_device
        assert disk.device.size == image.stat().st_size
        changed = end_install(disk.table, 4, tries=3)
        disk.change(changed)
        disk.device.forget_cached()
    with Disk.open(image) as disk:
        assert disk.table == changed


def test_a_block_device_with_large_sectors(tmp_path: Path) -> None:
    table = two_slots(GOOD, NEW, sector_size=4096)
    image = disk_with(table).save(tmp_path / "disk.img")
    with loop_device(image, "--sector-size", "4096") as path, Disk.open(path) as disk:
        assert disk.table == table


def test_a_read_only_block_device_is_refused(image: Path) -> None:
    with loop_device(image, "--read-only") as path:
        with pytest.raises(DeviceError) as refused:
            Device.open(path, writable=True)
        assert str(path) in str(refused.value)


def test_a_mounted_block_device_is_refused(tmp_path: Path) -> None:
    image, mounted = tmp_path / "fs.img", tmp_path / "mounted"
    mounted.mkdir()
    image.write_bytes(bytes(8 << 20))
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    with loop_device(image) as path:
        subprocess.run(["mount", path, mounted], check=True)
        try:
            before = image.read_bytes()[:4096]
            with pytest.raises(DeviceError, match="in use"):
                Device.open(path, writable=True, exclusive=True)
            assert image.read_bytes()[:4096] == before
        finally:
            subprocess.run(["umount", mounted], check=True)
        Device.open(path, writable=True, exclusive=True).close()


def test_the_node_of_a_partition(tmp_path: Path) -> None:
    for name, number in (("nvme0n1p1", "1"), ("nvme0n1p4", "4")):
        (tmp_path / "nvme0n1" / name).mkdir(parents=True)
        (tmp_path / "nvme0n1" / name / "partition").write_text(number + "\n")
    assert partition_node(Path("/dev/nvme0n1"), 4, tmp_path) == Path("/dev/nvme0n1p4")
    with pytest.raises(DeviceError, match="partprobe"):
        partition_node(Path("/dev/nvme0n1"), 3, tmp_path)
