"""Disks with two slots and an EFI system partition, in memory, and foreign judges of that partition."""

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

from core.partitions.boot import Start
from core.partitions.boot.esp import Esp
from core.partitions.boot.opening import ESP
from core.partitions.boot.systemd_boot import ENTRIES, SystemdBootControl
from core.partitions.device import window
from core.partitions.disk import Disk
from core.partitions.fat.volume import Volume
from core.partitions.slots import USR
from core.partitions.table import Partition, new_table
from core.partitions.writing import create
from tests.images.recorded import Recorder

SECTOR = 512
ESP_FIRST, ESP_SECTORS = 64, 1024
SLOT_SECTORS = 64
_A, _B, _END = (SECTOR * (ESP_FIRST + ESP_SECTORS + count * SLOT_SECTORS) for count in (0, 1, 2))
SLOT_A, SLOT_B = slice(_A, _B), slice(_B, _END)
"""Their bytes on the disk."""
HARMLESS = (
    "Free cluster summary",
    "Reclaimed",
    "Orphaned",
    "FATs differ",
    "Using first FAT",
    "Both FATs appear",
    "FATs are copied",
)
"""What fsck.vfat says of room that belongs to no file, and of a count that is a hint only."""


class Bytes:
    """Content of a boot loader's file."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)
        self.sha256 = hashlib.sha256(data).hexdigest()

    def pieces(self) -> Iterator[bytes]:
        for at in range(0, len(self.data), 5000):
            yield self.data[at : at + 5000]


def start(version: str, kernel: int = 6_000, initrd: int = 2_000) -> Start:
    return Start(
        f"corenode {version}",
        Bytes(f"kernel {version} ".encode() * (kernel // 14)),
        Bytes(f"initrd {version} ".encode() * (initrd // 14)),
        "quiet",
    )


def formatted(home: Path, sectors: int = ESP_SECTORS) -> bytes:
    """An empty FAT32 volume, by mkfs.vfat."""
    path = home / "esp"
    path.write_bytes(bytes(sectors * SECTOR))
    made = ["mkfs.vfat", "-F", "32", "-s", "1", "-i", "01234567", "--invariant", str(path)]
    subprocess.run(made, check=True, capture_output=True)
    return path.read_bytes()


def disk(home: Path) -> bytearray:
    """Both slots off, and an empty ESP with the directories of systemd-boot."""
    b = ESP_FIRST + ESP_SECTORS
    table = new_table(UUID(int=1), b + 2 * SLOT_SECTORS + 64)
    table = table.replaced(
        Partition(1, ESP, UUID(int=11), ESP_FIRST, b - 1, 0, "ESP"),
        Partition(3, USR, UUID(int=3), b, b + SLOT_SECTORS - 1, 0, "USR-A"),
        Partition(4, USR, UUID(int=4), b + SLOT_SECTORS, b + 2 * SLOT_SECTORS - 1, 0, "USR-B"),
    )
    data = bytearray(table.sectors * SECTOR)
    for group in create(table):
        for write in group:
            data[write.offset : write.offset + len(write.data)] = write.data
    data[ESP_FIRST * SECTOR : b * SECTOR] = formatted(home)
    esp = esp_of(Disk(Recorder(data)))
    for directory in ("loader", "loader/entries", "corenode"):
        esp.make_directory(directory)
    return data


def esp_of(opened: Disk) -> Volume:
    return Volume(window(opened.device, opened.table.partition(1)))


def control(data: bytearray) -> SystemdBootControl:
    opened = Disk(Recorder(data))
    return SystemdBootControl(opened, esp_of(opened))


def installed(home: Path) -> bytearray:
    """A is good and starts."""
    data = disk(home)
    opened = Disk(Recorder(data))
    # the first entry of a disk is made without `begin`, which wants another slot that starts
    boot = SystemdBootControl(opened, esp_of(opened))
    boot.end("A", start("1.0.0"))
    boot.good("A")
    return data


def esp_bytes(data: bytes) -> bytes:
    return data[ESP_FIRST * SECTOR : (ESP_FIRST + ESP_SECTORS) * SECTOR]


def fsck(data: bytes, path: Path) -> tuple[int, list[str]]:
    """What fsck.vfat finds on the ESP, without what is harmless. It changes nothing."""
    path.write_bytes(esp_bytes(data))
    done = subprocess.run(["fsck.vfat", "-n", str(path)], capture_output=True, text=True)
    lines = [line.strip() for line in done.stdout.splitlines()[1:]]
    said = [line for line in lines if line and not line.startswith((str(path), "Leaving", "1) ", "2) ", "(", "Auto"))]
    return done.returncode, [line for line in said if not line.startswith(HARMLESS)]


def problem(opened: Disk, esp: Esp) -> str | None:
    """What is wrong with a disk whose A was good, and whose B was being changed when the power went."""
    slots = SystemdBootControl(opened, esp).status()
    if not slots[0].good:
        return "A is not good any more"
    if not any(slot.next for slot in slots):
        return "nothing starts"
    for file in esp.names(ENTRIES):
        text = esp.read(f"{ENTRIES}/{file}").decode(errors="replace")
        if "\nlinux " not in text:
            continue
        fields = dict(line.split(" ", 1) for line in text.splitlines())
        version = fields["title"].split()[1]
        for key, content in (("linux", start(version).kernel), ("initrd", start(version).initrd)):
            path = fields[key].strip("/")
            if not esp.has(path) or content is None or esp.read(path) != b"".join(content.pieces()):
                return f"{file} counts, and its {key} is not whole"
        if "PARTUUID" not in fields["options"]:
            return f"{file} names no /usr"
    return None
