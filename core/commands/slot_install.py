"""`corenode slot install`: an image into the slot that is not in use."""

from pathlib import Path

import click

from core.commands import output
from core.commands.failure import Failure
from core.commands.image_build import compare, loaded
from core.commands.progress import Progress
from core.commands.slot_disk import opened, used_partition


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
    from core.images.install import install as carry_out
    from core.images.lanes import THREADS
    from core.images.manifest import ImageError
    from core.partitions.boot import passive

    manifest, store = loaded(directory)
    compare(manifest, store)
    try:
        with opened(path, writable=True) as (disk, boot):
            slot = passive(boot.status(), used_partition(path))
            with Progress("installing") as bar:
                carry_out(disk, boot, slot, manifest, store, tries=tries, progress=bar.advance, readers=THREADS)
    except (Failure, ImageError) as error:
        raise Failure(
            f"{manifest.version} was not installed: {str(error).rstrip('.')}. The other slot is as it was."
        ) from None
    output.note(f"{manifest.product} {manifest.version} is in partition {slot.partition} and starts next")
