"""`corenode image disk`: a bootable disk from an image."""

import subprocess
import tempfile
from pathlib import Path

import click

from core.commands import output
from core.commands.failure import Failure
from core.commands.image_build import compare, loaded
from core.commands.progress import Progress

LOADER = Path("/usr/lib/systemd/boot/efi/systemd-bootx64.efi")
size = click.IntRange(min=1)
loader_option = click.option(
    "--boot-loader",
    "loader",
    type=click.Path(path_type=Path),
    default=LOADER,
    show_default=True,
    metavar="FILE",
    help="systemd-boot's EFI program.",
)


@click.command("disk")
@click.argument("directory", metavar="IMAGE-DIR", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FILE", help="Where; not there yet.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["raw", "qcow2", "vmdk"]),
    default="raw",
    show_default=True,
    help="Of FILE.",
)
@click.option("--esp", type=size, default=272, show_default=True, metavar="MIB", help="Size of the boot partition.")
@click.option("--slot", type=size, default=1024, show_default=True, metavar="MIB", help="Size of each slot.")
@click.option("--data", type=size, default=1024, show_default=True, metavar="MIB", help="Size of the rest.")
@loader_option
def command(directory: Path, out: Path, format_: str, loader: Path, **sizes: int) -> None:
    """Make a disk that boots an image by UEFI, with a second slot for its updates. Nobody has to be root.

    \b
    Example:
      corenode image disk image --out disk.qcow2 --format qcow2
    """
    from core.images.disk import Sizes, make
    from core.images.manifest import ImageError
    from core.partitions.boot import BootError
    from core.partitions.device import DeviceError

    manifest, store = loaded(directory)
    compare(manifest, store)
    if out.exists():
        raise Failure(f"{out} is there already; name a new file, or remove it.")
    code = program(loader)
    try:
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".disk-") as scratch, Progress("writing") as bar:
            raw = Path(scratch) / "raw"
            make(raw, manifest, store, code, Sizes(**sizes), bar.advance)
            _convert(raw, format_, Path(scratch) / "made").rename(out)
    except OSError as error:
        raise Failure(f"{error.filename or out}: {error.strerror}.") from None
    except (ImageError, DeviceError, BootError) as error:
        raise Failure(f"{error}.") from None
    output.note(f"{out}: {manifest.product} {manifest.version} in slot A, slot B is empty")


def program(loader: Path) -> bytes:
    """The boot loader. Failure if it is not there."""
    try:
        return loader.read_bytes()
    except OSError as error:
        raise Failure(f"{loader}: {error.strerror}; Debian has it in systemd-boot-efi.") from None


def _convert(raw: Path, format_: str, made: Path) -> Path:
    if format_ == "raw":
        return raw
    try:
        done = subprocess.run(
            ("qemu-img", "convert", "-f", "raw", "-O", format_, raw, made), capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise Failure("qemu-img is not installed; Debian has it in qemu-utils.") from None
    if done.returncode:
        raise Failure(f"qemu-img failed: {done.stderr.strip()}.")
    return made
