"""A root folder or an image file to a directory with a manifest and chunks."""

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import msgspec

from core.images.cutting import cut
from core.images.lanes import in_order
from core.images.manifest import MANIFEST_MAX, Blob, ImageError, Manifest, Verity, decode, encode
from core.images.store import ChunkStore
from core.images.verity import append_tree

MANIFEST = "manifest.json"
CHUNKS = "chunks"

Progress = Callable[[int], None]
"""Called with bytes that are done."""

_MKSQUASHFS = ("-noappend", "-reproducible", "-comp", "zstd", "-all-root", "-all-time", "0", "-mkfs-time", "0")


class Release(msgspec.Struct, frozen=True):
    """What a manifest says beyond bytes."""

    product: str
    version: str
    architecture: str
    created: int = 0
    cmdline: str = ""


class Parts(msgspec.Struct, frozen=True):
    """Where the bytes of an image come from."""

    usr: Path
    """A folder, or a file with a file system in it."""
    kernel: Path | None = None
    initrd: Path | None = None
    verity: bool = False


def build(parts: Parts, release: Release, out: Path, progress: Progress = lambda _: None) -> Manifest:
    """Make `out`, which must be empty or not there. The manifest comes last: without it there is no image."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise ImageError(f"{out} is not empty; an image gets a directory of its own")
        store = ChunkStore(out / CHUNKS)
        with tempfile.TemporaryDirectory(dir=out, prefix=".build-") as scratch:
            usr, verity = _usr(parts, Path(scratch))
            manifest = _checked(
                Manifest(
                    **msgspec.structs.asdict(release),
                    usr=_blob(usr, store, progress),
                    verity=verity,
                    kernel=_optional(parts.kernel, store, progress),
                    initrd=_optional(parts.initrd, store, progress),
                )
            )
        fresh = out / f"{MANIFEST}.new"
        fresh.write_bytes(encode(manifest))
        os.replace(fresh, out / MANIFEST)
    except OSError as error:
        raise ImageError(f"{error.filename or out}: {error.strerror}") from error
    return manifest


def load(directory: Path) -> tuple[Manifest, ChunkStore]:
    """The image in a directory, its manifest checked. ImageError if there is none that holds."""
    try:
        with (directory / MANIFEST).open("rb") as file:
            data = file.read(MANIFEST_MAX + 1)
    except OSError as error:
        raise ImageError(f"{directory} holds no image: {MANIFEST} cannot be read: {error.strerror}") from error
    return decode(data), ChunkStore(directory / CHUNKS)


def verify(manifest: Manifest, store: ChunkStore, progress: Progress = lambda _: None) -> None:
    """Read all chunks. ImageError at the first that is not what the manifest says, or if a blob as a whole is not."""
    for name, blob in manifest.blobs().items():
        found = _hash(blob, store, progress)
        if found != blob.sha256:
            raise ImageError(f"{name} has the hash {found}, and the manifest says {blob.sha256}")


def _hash(blob: Blob, store: ChunkStore, progress: Progress) -> str:
    whole = hashlib.sha256()

    def take(data: bytes) -> None:
        whole.update(data)
        progress(len(data))

    in_order(store.read, blob.chunks, take)
    return whole.hexdigest()


def _usr(parts: Parts, scratch: Path) -> tuple[Path, Verity | None]:
    """The file for the slot."""
    usr = scratch / "usr"
    if parts.usr.is_dir():
        _squash(parts.usr, usr)
    elif not parts.verity:
        return parts.usr, None
    else:
        with parts.usr.open("rb") as source, usr.open("wb") as target:
            _copy(source, target)
    if not parts.verity:
        return usr, None
    with usr.open("r+b") as file:
        return usr, append_tree(file)


def _squash(root: Path, target: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    command = ("mksquashfs", root, target, *_MKSQUASHFS, "-quiet", "-no-progress")
    try:
        done = subprocess.run(command, capture_output=True, env=environment, check=False)
    except FileNotFoundError:
        raise ImageError("mksquashfs is not installed; Debian has it in squashfs-tools") from None
    if done.returncode:
        raise ImageError(f"mksquashfs failed: {done.stderr.decode(errors='replace').strip()}")


def _copy(source: BinaryIO, target: BinaryIO) -> None:
    while piece := source.read(1 << 20):
        target.write(piece)


def _optional(path: Path | None, store: ChunkStore, progress: Progress) -> Blob | None:
    return None if path is None else _blob(path, store, progress)


def _blob(path: Path, store: ChunkStore, progress: Progress) -> Blob:
    size = path.stat().st_size
    if not size:
        raise ImageError(f"{path} is empty")
    whole = hashlib.sha256()
    chunks = []
    with path.open("rb") as file:
        try:
            for data in cut(lambda offset, length: os.pread(file.fileno(), length, offset), size):
                whole.update(data)
                chunks.append(store.add(data))
                progress(len(data))
        except EOFError as error:
            raise ImageError(f"{path} became shorter while it was read: {error}") from None
    return Blob(size, whole.hexdigest(), tuple(chunks))


def _checked(manifest: Manifest) -> Manifest:
    """As a reader would judge it, so that nothing is made that nobody takes."""
    return decode(encode(manifest))
