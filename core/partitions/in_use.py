"""Which partition the running system has its /usr from, and on which disk: asked of the kernel, not of a file."""

from pathlib import Path

import msgspec

from core.partitions.device import DeviceError

_DEPTH = 8
"""Layers of device mapper that are followed."""


class InUse(msgspec.Struct, frozen=True):
    """The partition that the running system came from."""

    disk: Path
    number: int


def in_use(proc: Path = Path("/proc"), sys: Path = Path("/sys"), dev: Path = Path("/dev")) -> InUse:
    """The partition below /usr, or below / where /usr has none of its own. DeviceError if there is none."""
    device = _mounted_at(proc / "self" / "mountinfo")
    entry = (sys / "dev" / "block" / device).resolve()
    for _ in range(_DEPTH):
        number = entry / "partition"
        if number.exists():
            return InUse(dev / entry.parent.name, int(number.read_text()))
        below = sorted((entry / "slaves").glob("*"))
        if not below:
            break
        # dm-verity has a device for the data and one for the hashes, which may be the same one
        entry = below[0].resolve()
    raise DeviceError(f"/usr is on device {device}, which is no partition of a disk; name the disk with --disk")


def _mounted_at(mountinfo: Path) -> str:
    """MAJOR:MINOR of the device below /usr. The last one that was mounted there counts (proc(5), mountinfo)."""
    found: dict[str, str] = {}
    for line in mountinfo.read_text().splitlines():
        fields = line.split(" ")
        found[fields[4]] = fields[2]
    device = found.get("/usr", found.get("/", ""))
    if not device or device.startswith("0:"):
        raise DeviceError("/usr is on no block device; name the disk with --disk")
    return device
