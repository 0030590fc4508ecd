"""A whole disk from an image: slot A starts from it, slot B waits for the first update.

The parts: an EFI system partition with systemd-boot, the two slots, and a partition for what a host keeps, which is
left empty for the image to format at its first start. `make` writes a file, and the same image gives the same bytes;
`put` writes to a disk that is there, with ids of its own, so that two disks of one host are told apart. The boot loader
comes last: a disk that was interrupted does not start, and is filled anew from the beginning.
"""

import hashlib
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from uuid import UUID, uuid4

import msgspec

from core.images import install
from core.images.build import Progress
from core.images.lanes import THREADS
from core.images.manifest import ImageError, Manifest, encode
from core.images.store import ChunkStore
from core.partitions.boot.opening import ESP
from core.partitions.boot.systemd_boot import ENTRIES, SystemdBootControl
from core.partitions.device import IMAGE_SECTOR, Device, DeviceError, window
from core.partitions.disk import Disk
from core.partitions.fat.geometry import Geometry
from core.partitions.fat.volume import Volume
from core.partitions.reading import read_table
from core.partitions.slots import USR
from core.partitions.table import Partition, Table, TableError, new_table
from core.partitions.writing import create

MIB = 1 << 20
ROOT = UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")
"""The type of a partition with a Linux file system."""
DATA_LEAST = 64
"""MiB of a disk that `put` leaves for what a host keeps, at least."""
_SECTORS_LEAST = 68 << 10
"""Of an EFI system partition: a firmware takes a volume with fewer clusters for FAT16."""
_WIPED = 2 * MIB
"""Where an older file system would have its signature, at either end of a partition."""
_LOADERS = ("EFI/BOOT/BOOTX64.EFI", "EFI/systemd/systemd-bootx64.efi")
"""Where firmware looks if nobody told it, and where systemd's own programs do."""


class Sizes(msgspec.Struct, frozen=True):
    """Of partitions, in MiB."""

    esp: int = 272
    slot: int = 1024
    data: int = 1024
    """`put` gives all that is left."""

    @property
    def least(self) -> int:
        """MiB of a disk."""
        return 2 + self.esp + 2 * self.slot + self.data


def make(
    path: Path,
    manifest: Manifest,
    source: ChunkStore,
    loader: bytes,
    sizes: Sizes,
    progress: Progress = lambda _: None,
) -> None:
    """Write a new file with a raw disk. ImageError or DeviceError if it cannot be made; what there is of it stays.

    `loader`: the EFI program of systemd-boot.
    """
    _check(manifest, sizes, IMAGE_SECTOR)
    seed = hashlib.sha256(encode(manifest)).digest()

    def chosen(what: str) -> UUID:
        return UUID(bytes=hashlib.sha256(seed + what.encode()).digest()[:16], version=4)

    try:
        with path.open("xb") as file:
            file.truncate(sizes.least * MIB)
    except OSError as error:
        raise ImageError(f"{path} cannot be made: {error.strerror}") from error
    with Device.open(path, writable=True, exclusive=True) as device:
        _fill(device, _table(device, sizes, chosen), manifest, source, loader, progress)


def check(device: Device, manifest: Manifest, sizes: Sizes) -> None:
    """What `put` would refuse. ImageError or DeviceError; reads nothing but the size."""
    _check(manifest, sizes, device.sector_size)
    if device.size < sizes.least * MIB:
        raise DeviceError(
            f"{device.path} has {device.size // MIB} MiB, and {sizes.least} are needed; take a larger disk, or make "
            "the slots smaller"
        )


def put(
    device: Device,
    manifest: Manifest,
    source: ChunkStore,
    loader: bytes,
    sizes: Sizes,
    progress: Progress = lambda _: None,
) -> None:
    """Fill a disk; all that was on it is lost. ImageError, DeviceError, BootError: then it does not start.

    Whoever opened the device holds it alone, which is what keeps mounted ones from being written to.
    """
    check(device, manifest, sizes)
    whole = (device.size // MIB) - (sizes.least - sizes.data)
    table = _table(device, msgspec.structs.replace(sizes, data=whole), lambda _: uuid4())
    for partition in table.partitions:
        area = window(device, partition)
        wiped = bytes(min(_WIPED, area.size))
        area.write(0, wiped)
        area.write(area.size - len(wiped), wiped)
    _fill(device, table, manifest, source, loader, progress)


def content(device: Device) -> str:
    """What is on a device, in words; empty if there are only zeros where something would begin or end."""
    try:
        table = read_table(device.read, device.size // device.sector_size, device.sector_size).table
    except TableError:
        ends = (device.read(0, MIB), device.read(max(device.size - MIB, 0), MIB))
        return "" if all(end.count(0) == len(end) for end in ends) else "data without a table of partitions"
    if sum(partition.kind == USR for partition in table.partitions) == 2:
        return "a system with two slots, and its data"
    labels = ((each.number, each.label) for each in table.partitions)
    names = ", ".join(label if label and label.isprintable() else str(number) for number, label in labels)
    return f"partitions ({names})" if names else ""


def _check(manifest: Manifest, sizes: Sizes, sector: int) -> None:
    if manifest.kernel is None:
        raise ImageError("the image has no kernel, and nothing could start; build it with --kernel")
    least = _SECTORS_LEAST * sector // MIB
    if sizes.esp < least:
        raise ImageError(f"an EFI system partition of {sizes.esp} MiB is too small; {least} is the least")
    if manifest.usr.size > sizes.slot * MIB:
        raise ImageError(f"the image needs {manifest.usr.size} bytes, and a slot has {sizes.slot} MiB")


def _table(device: Device, sizes: Sizes, chosen: Callable[[str], UUID]) -> Table:
    """Partitions one behind the other, from the first MiB on."""
    aligned = MIB // device.sector_size
    wanted = ((1, ESP, "EFI-SYSTEM", sizes.esp), (3, USR, "USR-A", sizes.slot), (4, USR, "USR-B", sizes.slot),
              (9, ROOT, "ROOT", sizes.data))  # fmt: skip
    partitions, first = [], aligned
    for number, kind, label, size in wanted:
        last = first + size * aligned - 1
        partitions.append(Partition(number, kind, chosen(label), first, last, 0, label))
        first = last + 1
    table = new_table(chosen("disk"), device.size // device.sector_size, device.sector_size)
    return table.replaced(*partitions)


def _fill(
    device: Device, table: Table, manifest: Manifest, source: ChunkStore, loader: bytes, progress: Progress
) -> None:
    for group in create(table):
        for each in group:
            device.write(each.offset, each.data)
        device.sync()
    _format(device, table.partition(1))
    esp = Volume(window(device, table.partition(1)))
    for directory in ("EFI", "EFI/BOOT", "EFI/systemd", "loader", ENTRIES):
        esp.make_directory(directory)
    settings = b"timeout 0\n"
    esp.create("loader/loader.conf", len(settings), [settings])
    slot = window(device, table.partition(3))
    install.write(slot, manifest.usr, source, progress, readers=THREADS)
    install.compare(slot, manifest.usr, progress)
    boot = SystemdBootControl(Disk(device), esp)
    boot.end("A", install.start_of(manifest, source))
    boot.good("A")
    for path in _LOADERS:
        if esp.needed(len(loader)) > esp.free:
            raise DeviceError("the EFI system partition has no room for the boot loader")
        esp.create(path, len(loader), [loader])


def _format(device: Device, partition: Partition) -> None:
    """An empty FAT32 volume: what mkfs.vfat writes, up to the first file."""
    area = window(device, partition)
    with tempfile.NamedTemporaryFile(prefix="esp-") as file:
        file.truncate(area.size)
        clusters = "1" if area.size < 512 * MIB or device.sector_size > IMAGE_SECTOR else "8"
        serial = partition.id.hex[:8]
        command = ("mkfs.vfat", "-F", "32", "-S", str(device.sector_size), "-s", clusters, "-n", "ESP", "-i", serial,
                   "--invariant", file.name)  # fmt: skip
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
