"""Which boot loader a disk has."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from core.partitions.boot import BootControl
from core.partitions.boot.esp import Esp, MountedEsp
from core.partitions.boot.gpt import GptControl
from core.partitions.boot.systemd_boot import ENTRIES, SystemdBootControl
from core.partitions.device import Area, Device, partition_node, window
from core.partitions.disk import Disk
from core.partitions.fat.geometry import Geometry, NoVolumeError
from core.partitions.fat.volume import Volume
from core.partitions.table import Partition

ESP = UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
"""The type of an EFI system partition."""


@contextmanager
def boot_control(disk: Disk, *, writable: bool, mounts: Path = Path("/proc/self/mountinfo")) -> Iterator[BootControl]:
    """The control of an open disk, until the block ends. DeviceError if its EFI system partition cannot be used.

    systemd-boot, if that partition has a directory of its entries; else the attribute bits of the slots. One that is
    mounted is used where it is mounted; one that is not is held against others while it is written to.
    """
    partition = next((each for each in disk.table.partitions if each.kind == ESP), None)
    if partition is None:
        yield GptControl(disk)
        return
    with _opened(disk, partition, writable, mounts) as esp:
        yield GptControl(disk) if esp is None else SystemdBootControl(disk, esp)


@contextmanager
def _opened(disk: Disk, partition: Partition, writable: bool, mounts: Path) -> Iterator[Esp | None]:
    """None: it has no entries of systemd-boot."""
    if not disk.device.is_block_device:
        yield _volume(window(disk.device, partition))
        return
    node = partition_node(disk.device.path, partition.number)
    mounted = _mounted_at(node, mounts)
    if mounted is not None:
        yield MountedEsp(mounted) if (mounted / ENTRIES).is_dir() else None
        return
    with Device.open(node, writable=writable, exclusive=writable) as device:
        yield _volume(device)


def _volume(area: Area) -> Volume | None:
    try:
        Geometry.read(area)
    except NoVolumeError:
        # GRUB is content with other kinds of FAT, and with none; and where it is, the bits of the slots are in use
        return None
    volume = Volume(area)
    return volume if volume.has_directory(ENTRIES) else None


def _mounted_at(node: Path, mounts: Path) -> Path | None:
    device = os.stat(node).st_rdev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in mounts.read_text().splitlines():
        fields = line.split(" ")
        if fields[2] == wanted and fields[3] == "/":
            return Path(fields[4].encode().decode("unicode_escape"))
    return None
