"""An image into the slot that is not in use.

The order is what makes it safe: the boot loader is told that the slot does not start, durably; bytes are written, each
chunk checked before; they are made durable, read back from the disk and compared; only then the boot loader is told
that it may start. Whoever has more to do in between calls the steps one by one.
"""

import hashlib
from collections.abc import Iterator

import msgspec

from core.images.build import Progress
from core.images.manifest import Blob, ImageError, Manifest
from core.images.store import Source
from core.partitions.boot import TRIES, BootControl, Slot, Start
from core.partitions.device import Area
from core.partitions.disk import Disk

_BLOCK = 1 << 20


def install(
    disk: Disk,
    boot: BootControl,
    slot: Slot,
    manifest: Manifest,
    source: Source,
    *,
    tries: int = TRIES,
    progress: Progress = lambda _: None,
) -> None:
    """All steps. ImageError, DeviceError, BootError: no start of the slot, or as it was if nothing was written."""
    start = start_of(manifest, source)
    with disk.opened(slot.partition) as area:
        begin(boot, slot, manifest, start)
        write(area, manifest.usr, source, progress)
        compare(area, manifest.usr, progress)
    boot.end(slot.name, start, tries)


def start_of(manifest: Manifest, source: Source) -> Start:
    """What the boot loader needs to know of an image, and to be given."""
    verity = manifest.verity
    return Start(
        f"{manifest.product} {manifest.version}",
        None if manifest.kernel is None else _Pieces(manifest.kernel, source),
        None if manifest.initrd is None else _Pieces(manifest.initrd, source),
        manifest.cmdline,
        "" if verity is None else verity.root_hash,
        0 if verity is None else verity.hash_offset,
    )


def begin(boot: BootControl, slot: Slot, manifest: Manifest, start: Start) -> None:
    """The slot no longer starts, durably. ImageError if the image does not fit, BootError if then nothing starts."""
    if manifest.usr.size > slot.size:
        raise ImageError(
            f"the image needs {manifest.usr.size} bytes, and the slot in partition {slot.partition} has {slot.size}; "
            "make the image smaller, or the slots of the disk larger"
        )
    boot.begin(slot.name, start)


def write(area: Area, blob: Blob, source: Source, progress: Progress = lambda _: None) -> None:
    """Write all chunks and return when they are durable."""
    for offset, chunk in blob.placed():
        area.write(offset, source.read(chunk))
        progress(chunk.size)
    area.sync()


def compare(area: Area, blob: Blob, progress: Progress = lambda _: None) -> None:
    """Read it back from the disk. ImageError if it is not what was to be written."""
    area.forget_cached()
    whole = hashlib.sha256()
    offset = 0
    while offset < blob.size:
        piece = area.read(offset, min(_BLOCK, blob.size - offset))
        if not piece:
            break
        whole.update(piece)
        offset += len(piece)
        progress(len(piece))
    if whole.hexdigest() != blob.sha256:
        raise ImageError(
            "what the slot holds is not what was written to it; the disk may be failing, and the slot will not start"
        )


class _Pieces(msgspec.Struct, frozen=True):
    """A blob as what a boot loader reads."""

    blob: Blob
    source: Source

    @property
    def size(self) -> int:
        return self.blob.size

    @property
    def sha256(self) -> str:
        return self.blob.sha256

    def pieces(self) -> Iterator[bytes]:
        for chunk in self.blob.chunks:
            yield self.source.read(chunk)
