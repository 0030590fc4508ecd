"""An image into the slot that is not in use.

The order is what makes it safe: the slot is made unbootable, durably; bytes are written, each chunk checked before;
they are made durable, read back from the disk and compared; only then the slot may start. Whoever has more to do
before the last step (a kernel, a boot entry) calls the steps one by one.
"""

import hashlib

from core.images.build import Progress
from core.images.manifest import Blob, ImageError, Manifest
from core.images.store import Source
from core.partitions import choice
from core.partitions.device import Area
from core.partitions.disk import Disk
from core.partitions.slots import slots_of

TRIES = 3
"""Starts that a new slot has to prove itself."""
_BLOCK = 1 << 20


def install(
    disk: Disk,
    number: int,
    manifest: Manifest,
    source: Source,
    *,
    tries: int = TRIES,
    progress: Progress = lambda _: None,
) -> None:
    """All steps. ImageError, DeviceError, TableError: the slot is unbootable, or as it was if nothing was written."""
    with disk.opened(number) as area:
        begin(disk, number, area, manifest)
        write(area, manifest.usr, source, progress)
        compare(area, manifest.usr, progress)
    end(disk, number, tries)


def passive_slot(disk: Disk, used: int | None) -> int:
    """The slot to write to: the one that is neither in use nor starts next. `used`: its partition, None if no slot."""
    numbers = [slot.number for slot in slots_of(disk.table)]
    if used in numbers:
        return next(number for number in numbers if number != used)
    chosen = choice.choose(disk.table)
    if chosen is None:
        raise ImageError("neither slot of the disk may start; `corenode slot mark-good --slot` says which one is kept")
    return next(number for number in numbers if number != chosen.number)


def begin(disk: Disk, number: int, area: Area, manifest: Manifest) -> None:
    """The slot no longer starts, durably. ImageError if the image does not fit, TableError if then nothing starts."""
    if manifest.usr.size > area.size:
        raise ImageError(
            f"the image needs {manifest.usr.size} bytes, and the slot in partition {number} has {area.size}; "
            "make the image smaller, or the slots of the disk larger"
        )
    disk.change(choice.begin_install(disk.table, number))


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


def end(disk: Disk, number: int, tries: int = TRIES) -> None:
    """The slot starts next. For after `compare`, and after all else it needs to start is durable."""
    disk.change(choice.end_install(disk.table, number, tries))
