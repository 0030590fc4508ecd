"""`corenode image install`: an image onto a disk of its own."""

import contextlib
import fcntl
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from core.commands import output
from core.commands.failure import Failure
from core.commands.image_build import compare, loaded
from core.commands.image_disk import loader_option, program, size
from core.commands.progress import Progress

if TYPE_CHECKING:
    from core.partitions.device import Device

_BLKRRPART = 0x125F


@click.command("install")
@click.argument("directory", metavar="IMAGE-DIR", type=click.Path(path_type=Path))
@click.argument("path", metavar="DEVICE", type=click.Path(path_type=Path))
@click.option("--esp", type=size, default=272, show_default=True, metavar="MIB", help="Size of the boot partition.")
@click.option("--slot", type=size, default=1024, show_default=True, metavar="MIB", help="Size of each slot.")
@loader_option
@click.option("--yes", is_flag=True, help="Do not ask before what is on the device is lost.")
def command(directory: Path, path: Path, esp: int, slot: int, loader: Path, yes: bool) -> None:
    """Put an image on a whole disk: it starts from slot A, slot B waits for its updates, the rest is for data.

    DEVICE is a disk, or a file that is as large as one. All that is on it is lost: if there is anything, you are asked.
    A device that is mounted, in use, read-only or too small is refused. Interrupted, it is simply repeated.

    \b
    Examples:
      corenode image install image /dev/sdb
      truncate --size 4G disk.img && corenode image install image disk.img
      corenode image install image /dev/sdb --slot 2048 --yes
    """
    from core.images.disk import DATA_LEAST, Sizes, check, content, put
    from core.images.manifest import ImageError
    from core.partitions.boot import BootError
    from core.partitions.device import Device, DeviceError

    manifest, store = loaded(directory)
    code = program(loader)
    sizes = Sizes(esp, slot, DATA_LEAST)
    try:
        with Device.open(path, writable=True, exclusive=True) as device:
            check(device, manifest, sizes)
            _agreed(device, content(device), yes)
            compare(manifest, store)
            with Progress("writing") as bar:
                put(device, manifest, store, code, sizes, bar.advance)
    except (ImageError, DeviceError, BootError) as error:
        raise Failure(f"{error}.") from None
    _tell_kernel(path)
    output.note(f"{path}: {manifest.product} {manifest.version} in slot A, slot B is empty")


def _agreed(device: "Device", found: str, yes: bool) -> None:
    """Failure unless what is on it may be lost."""
    if not found or yes:
        return
    if not sys.stdin.isatty():
        raise Failure(f"{device.path} holds {found}; --yes says that it may be lost.")
    if not click.confirm(f"{device.path} holds {found}. Lose all of it?", err=True):
        raise Failure(f"{device.path} is as it was.")


def _tell_kernel(path: Path) -> None:
    """So that it knows the new partitions. Where it cannot, it will with the next start."""
    if path.is_block_device():
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.ioctl(descriptor, _BLKRRPART)
            finally:
                os.close(descriptor)
