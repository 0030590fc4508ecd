"""The disk that a verb about slots speaks of."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from core.commands.failure import Failure

if TYPE_CHECKING:
    from core.partitions.boot import BootControl
    from core.partitions.disk import Disk


@contextmanager
def opened_disk(path: Path | None, *, writable: bool) -> "Iterator[Disk]":
    """The disk; without a path the one this host runs from. Failure if it cannot be used."""
    from core.partitions.boot import BootError
    from core.partitions.device import DeviceError
    from core.partitions.disk import Disk
    from core.partitions.in_use import in_use
    from core.partitions.table import TableError

    try:
        chosen = in_use().disk if path is None else path
        with Disk.open(chosen, writable=writable) as disk:
            yield disk
    except (DeviceError, BootError) as error:
        raise Failure(f"{error}.") from None
    except TableError as error:
        raise Failure(f"{path or 'The disk'} has no table that can be used: {error}.") from None


@contextmanager
def opened(path: Path | None, *, writable: bool) -> "Iterator[tuple[Disk, BootControl]]":
    """The disk and its boot loader. Failure as above, and for what a boot loader refuses to be told."""
    from core.partitions.boot.opening import boot_control

    with opened_disk(path, writable=writable) as disk, boot_control(disk, writable=writable) as boot:
        yield disk, boot


def used_partition(path: Path | None) -> int | None:
    """The number of the partition in use, None if it is on another disk or on none."""
    from core.partitions.device import DeviceError
    from core.partitions.in_use import in_use

    try:
        found = in_use()
    except DeviceError:
        return None
    here = path is None or (path.exists() and found.disk.exists() and path.samefile(found.disk))
    return found.number if here else None
