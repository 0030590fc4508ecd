"""`corenode slot install`: an image into the slot that is not in use."""

from pathlib import Path

import click

from core.commands import output
from core.commands.failure import Failure
from core.commands.image_build import compare, loaded
from core.commands.progress import Progress


@click.command("install")
@click.argument("directory", metavar="IMAGE-DIR", type=click.Path(path_type=Path))
@click.option(
    "--disk", "path", type=click.Path(path_type=Path), metavar="PATH", required=True, help="A disk, or a file."
)
@click.option(
    "--tries", type=click.IntRange(1, 15), default=3, show_default=True, help="Starts it has to prove itself."
)
def install(directory: Path, path: Path, tries: int) -> None:
    """Write an image to the slot that is not in use, and let it start next.

    The image is verified before the first byte is written. If it ends early, the other slot starts.

    \b
    Example:
      corenode slot install image --disk disk.img
    """
    from core.images import install as installing
    from core.images.manifest import ImageError
    from core.partitions.device import DeviceError
    from core.partitions.disk import Disk
    from core.partitions.table import TableError

    manifest, store = loaded(directory)
    compare(manifest, store)
    try:
        with Disk.open(path, writable=True) as disk:
            number = installing.passive_slot(disk, _used(path))
            with Progress("installing") as bar:
                installing.install(disk, number, manifest, store, tries=tries, progress=bar.advance)
    except (DeviceError, ImageError, TableError) as error:
        raise Failure(f"{manifest.version} was not installed: {error}. The other slot is as it was.") from None
    output.note(f"{manifest.product} {manifest.version} is in partition {number} and starts next")


def _used(path: Path) -> int | None:
    """The partition this host runs from, None if it is on another disk or on none."""
    from core.partitions.device import DeviceError
    from core.partitions.in_use import in_use

    try:
        found = in_use()
    except DeviceError:
        return None
    return found.number if found.disk.exists() and path.samefile(found.disk) else None
