"""Where an update goes: the disk with two slots, the one this host runs from, and what is known to be in it."""

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from core.partitions.boot import BootError, Slot, SlotName
from core.partitions.boot.opening import boot_control
from core.partitions.device import DeviceError
from core.partitions.disk import Disk
from core.partitions.in_use import InUse, in_use
from core.partitions.table import TableError
from core.update.host.ports import UpdateError

RELEASE = Path("/usr/lib/os-release")
UNKNOWN = "corenode", "0"
"""Product and version of a system that does not say what it is: any release is later."""


class Place(msgspec.Struct, frozen=True):
    """Of one host, as long as it runs."""

    disk: Path
    used: SlotName
    product: str
    """What runs."""
    version: str


def find(
    disk: Path | None,
    used: SlotName | None,
    running: Callable[[], InUse] = in_use,
    release: Path = RELEASE,
) -> Place:
    """The place, asked of the kernel where it is not given. UpdateError says why there is none. Blocks."""
    try:
        here = None if disk is not None and used is not None else _running_from(running)
        if here is not None and disk is not None and not (here.disk.exists() and here.disk.samefile(disk)):
            raise UpdateError(f"this host does not run from {disk}; say with --update-slot which slot counts as in use")
        path = disk or here.disk if here is not None else disk
        if path is None:
            raise UpdateError("no disk is known")
        slots = read(path)
    except (DeviceError, BootError, TableError) as error:
        raise UpdateError(str(error)) from error
    number = None if here is None else here.number
    own = next((slot for slot in slots if slot.name == used or (used is None and slot.partition == number)), None)
    if own is None:
        raise UpdateError(f"this host runs from neither slot of {path}")
    return Place(path, own.name, *_running(own, _fields(release)))


def _running_from(running: Callable[[], InUse]) -> InUse:
    try:
        return running()
    except DeviceError as error:
        why = str(error).partition(";")[0]
        raise UpdateError(f"{why}; name a disk with --update-disk, and the slot with --update-slot") from error


def read(disk: Path) -> tuple[Slot, Slot]:
    """Both slots as they are now. DeviceError, BootError, TableError."""
    with Disk.open(disk) as opened, boot_control(opened, writable=False) as boot:
        return boot.status()


def _running(own: Slot, fields: Mapping[str, str]) -> tuple[str, str]:
    """The boot loader's entry says it, or the system itself."""
    product, _, version = own.title.partition(" ")
    if version:
        return product, version
    return fields.get("IMAGE_ID", UNKNOWN[0]), fields.get("IMAGE_VERSION", UNKNOWN[1])


def _fields(release: Path) -> dict[str, str]:
    """os-release(5)."""
    try:
        lines = release.read_text(errors="replace").splitlines()
    except OSError:
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return {name: value.strip("\"'") for name, _, value in pairs}
