"""A whole disk from an image: slot A starts from it, slot B waits for the first update.

The parts: an EFI system partition with systemd-boot, the two slots, and a partition for what a host keeps, which is
left empty for the image to format at its first start. The same image gives the same bytes.
"""

import hashlib
import subprocess
import tempfile
from pathlib import Path
from uuid import UUID

import msgspec

from core.images import install
from core.images.build import Progress
from core.images.manifest import ImageError, Manifest, encode
from core.images.store import Source
from core.partitions.boot.opening import ESP
from core.partitions.boot.systemd_boot import ENTRIES, SystemdBootControl
from core.partitions.device import IMAGE_SECTOR, Device, DeviceError, window
from core.partitions.disk import Disk
from core.partitions.fat.geometry import Geometry
from core.partitions.fat.volume import Volume
from core.partitions.slots import USR
from core.partitions.table import Partition, Table, new_table
from core.partitions.writing import create

MIB = 1 << 20
ROOT = UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")
"""The type of a partition with a Linux file system."""
_ESP_LEAST = 34
"""MiB; a smaller volume would be FAT16 to a firmware."""
_ALIGNED = MIB // IMAGE_SECTOR
_LOADERS = ("EFI/BOOT/BOOTX64.EFI", "EFI/systemd/systemd-bootx64.efi")
"""Where firmware looks if nobody told it, and where systemd's own programs do."""


class Sizes(msgspec.Struct, frozen=True):
    """Of partitions, in MiB."""

    esp: int = 256
    slot: int = 1024
    data: int = 1024


def make(
    path: Path,
    manifest: Manifest,
    source: Source,
    loader: bytes,
    sizes: Sizes,
    progress: Progress = lambda _: None,
) -> None:
    """Write a new file with a raw disk. ImageError or DeviceError if it cannot be made; what there is of it stays.

    `loader`: the EFI program of systemd-boot.
    """
    if manifest.kernel is None:
        raise ImageError("the image has no kernel, and nothing could start; build it with --kernel")
    if sizes.esp < _ESP_LEAST:
        raise ImageError(f"an EFI system partition of {sizes.esp} MiB is too small; {_ESP_LEAST} is the least")
    if manifest.usr.size > sizes.slot * MIB:
        raise ImageError(f"the image needs {manifest.usr.size} bytes, and a slot has {sizes.slot} MiB")
    table = _table(manifest, sizes)
    try:
        with path.open("xb") as file:
            file.truncate(table.sectors * IMAGE_SECTOR)
    except OSError as error:
        raise ImageError(f"{path} cannot be made: {error.strerror}") from error
    with Device.open(path, writable=True, exclusive=True) as device:
        for group in create(table):
            for each in group:
                device.write(each.offset, each.data)
        _format(device, table.partition(1), path.parent)
    with Disk.open(path, writable=True) as disk:
        esp = Volume(window(disk.device, table.partition(1)))
        _put_loader(esp, loader)
        with disk.opened(3) as area:
            install.write(area, manifest.usr, source, progress)
            install.compare(area, manifest.usr, progress)
        boot = SystemdBootControl(disk, esp)
        boot.end("A", install.start_of(manifest, source))
        boot.good("A")


def _table(manifest: Manifest, sizes: Sizes) -> Table:
    seed = hashlib.sha256(encode(manifest)).digest()

    def chosen(what: str) -> UUID:
        return UUID(bytes=hashlib.sha256(seed + what.encode()).digest()[:16], version=4)

    wanted = ((1, ESP, "EFI-SYSTEM", sizes.esp), (3, USR, "USR-A", sizes.slot), (4, USR, "USR-B", sizes.slot),
              (9, ROOT, "ROOT", sizes.data))  # fmt: skip
    partitions, first = [], _ALIGNED
    for number, kind, label, size in wanted:
        last = first + size * _ALIGNED - 1
        partitions.append(Partition(number, kind, chosen(label), first, last, 0, label))
        first = last + 1
    return new_table(chosen("disk"), first + _ALIGNED).replaced(*partitions)


def _format(device: Device, partition: Partition, scratch: Path) -> None:
    """An empty FAT32 volume: what mkfs.vfat writes, up to the first file."""
    area = window(device, partition)
    with tempfile.NamedTemporaryFile(dir=scratch, prefix=".esp-") as file:
        file.truncate(area.size)
        clusters = "1" if area.size < 512 * MIB else "8"
        serial = partition.id.hex[:8]
        command = ("mkfs.vfat", "-F", "32", "-s", clusters, "-n", "ESP", "-i", serial, "--invariant", file.name)
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise ImageError("mkfs.vfat is not installed; Debian has it in dosfstools") from None
        if done.returncode:
            raise ImageError(f"mkfs.vfat failed: {done.stderr.strip()}")
        with Device.open(Path(file.name)) as made:
            at = Geometry.read(made)
            for offset in range(0, at.data + at.cluster, MIB):
                area.write(offset, made.read(offset, min(MIB, at.data + at.cluster - offset)))


def _put_loader(esp: Volume, loader: bytes) -> None:
    for directory in ("EFI", "EFI/BOOT", "EFI/systemd", "loader", ENTRIES):
        esp.make_directory(directory)
    for path in _LOADERS:
        if esp.needed(len(loader)) > esp.free:
            raise DeviceError("the EFI system partition has no room for the boot loader")
        esp.create(path, len(loader), [loader])
    settings = b"timeout 0\n"
    esp.create("loader/loader.conf", len(settings), [settings])
