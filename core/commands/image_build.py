"""`corenode image build|inspect|check`: images, and what is in them."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from core.commands import output
from core.commands.failure import Failure
from core.commands.progress import Progress

if TYPE_CHECKING:
    from core.images.manifest import Manifest
    from core.images.store import ChunkStore

_path = click.Path(path_type=Path)
_file = click.Path(path_type=Path, exists=True, dir_okay=False)
_directory = click.argument("directory", metavar="IMAGE-DIR", type=_path)


@click.command()
@click.argument("root", type=click.Path(path_type=Path, exists=True))
@click.option("--out", type=_path, required=True, metavar="DIR", help="Where to make it; empty, or not there yet.")
@click.option("--version", required=True, help="Of the release.")
@click.option("--product", default="corenode", show_default=True, help="Name of the product.")
@click.option("--architecture", default=platform.machine(), show_default=True, help="Of the hosts it is for.")
@click.option(
    "--created",
    type=click.IntRange(min=0),
    default=lambda: int(os.environ.get("SOURCE_DATE_EPOCH", "0")),
    help="Seconds since 1970.  [default: SOURCE_DATE_EPOCH, or 0]",
)
@click.option("--verity", is_flag=True, help="Add a tree of hashes by which the kernel checks what it reads.")
@click.option("--kernel", type=_file, metavar="FILE", help="The kernel that starts it.")
@click.option("--initrd", type=_file, metavar="FILE", help="The kernel's first file system.")
@click.option("--cmdline", default="", metavar="WORDS", help="The kernel's command line.")
def build(root: Path, out: Path, kernel: Path | None, initrd: Path | None, verity: bool, **release: str | int) -> None:
    """Build an image from ROOT: a folder, which becomes a squashfs, or a file with a file system in it.

    The same folder gives the same bytes, wherever it lies and whenever its files were written.

    \b
    Example:
      corenode image build root --out image --version 1.2.3
    """
    import msgspec

    from core.images import build as building

    parts = building.Parts(root, kernel, initrd, verity)
    with _failing(), Progress("cutting") as bar:
        manifest = building.build(parts, msgspec.convert(release, building.Release), out, bar.advance)
    chunks = manifest.chunks().values()
    output.note(
        f"{out}: {manifest.product} {manifest.version}, {manifest.usr.size} bytes in {len(chunks)} chunks "
        f"of {sum(chunk.stored for chunk in chunks)} bytes"
    )


@click.command()
@_directory
@output.format_option(output.TABLE, output.JSON)
def inspect(directory: Path, output_: str) -> None:
    """Show what an image is. Reads the manifest only.

    \b
    Example:
      corenode image inspect image -o json
    """
    manifest, _ = loaded(directory)
    if output_ == output.JSON:
        output.json(manifest)
        return
    verity = f", checked by the tree {manifest.verity.root_hash}" if manifest.verity else ""
    output.note(f"{manifest.product} {manifest.version} for {manifest.architecture}{verity}")
    rows = [
        (name, blob.size, len(blob.chunks), sum(chunk.stored for chunk in blob.chunks), blob.sha256)
        for name, blob in manifest.blobs().items()
    ]
    output.table(("PART", "BYTES", "CHUNKS", "STORED", "SHA256"), rows)


@click.command()
@_directory
def check(directory: Path) -> None:
    """Read all of an image and compare it with its manifest; exit 1 if anything differs.

    \b
    Example:
      corenode image check image
    """
    manifest, store = loaded(directory)
    compare(manifest, store)
    output.note(f"{directory}: all {len(manifest.chunks())} chunks are what the manifest says")


def loaded(directory: Path) -> "tuple[Manifest, ChunkStore]":
    """The image in a directory. Failure if there is none."""
    from core.images.build import load

    with _failing():
        return load(directory)


def compare(manifest: "Manifest", store: "ChunkStore") -> None:
    """Failure unless all chunks are what they should be."""
    from core.images.build import verify

    with _failing(), Progress("verifying") as bar:
        verify(manifest, store, bar.advance)


@contextmanager
def _failing() -> Iterator[None]:
    from core.images.manifest import ImageError

    try:
        yield
    except ImageError as error:
        raise Failure(f"{error}.") from None
