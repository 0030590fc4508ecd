"""An image into the slot that is not in use.

The order is what makes it safe: the boot loader is told that the slot does not start, durably; bytes are written, each
chunk checked before; they are made durable, read back from the disk and compared; only then the boot loader is told
that it may start. Whoever has more to do in between calls the steps one by one.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from core.images.build import Progress
from core.images.lanes import in_order
from core.images.manifest import Blob, Chunk, ImageError, Manifest, digest
from core.images.store import Source
from core.partitions.boot import TRIES, BootControl, Slot, Start
from core.partitions.device import Area
from core.partitions.disk import Disk

_BLOCK = 1 << 20
"""Bytes that a thread takes at a time."""
_SYNCED = 32 << 20
"""Bytes after which what was written is made durable."""


def install(
    disk: Disk,
    boot: BootControl,
    slot: Slot,
    manifest: Manifest,
    source: Source,
    *,
    tries: int = TRIES,
    progress: Progress = lambda _: None,
    readers: int = 1,
) -> None:
    """All steps. ImageError, DeviceError, BootError: no start of the slot, or as it was if nothing was written.

    `readers`: threads that ask the source.
    """
    start = start_of(manifest, source)
    with disk.opened(slot.partition) as area:
        begin(boot, slot, manifest, start)
        write(area, manifest.usr, source, progress, readers=readers)
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


def write(area: Area, blob: Blob, source: Source, progress: Progress = lambda _: None, *, readers: int = 1) -> None:
    """Write all chunks and return when they are durable.

    `readers`: threads that ask the source; with one it is this thread alone. What is durable early is not waited for
    at the end, so the disk is told to write every so often, beside the reading.
    """

    def put(offset: int, pieces: Iterable[bytes]) -> int:
        start = offset
        for piece in pieces:
            area.write(offset, piece)
            offset += len(piece)
        if start // _SYNCED != offset // _SYNCED:
            area.sync()
        return offset - start

    if readers > 1:
        in_order(lambda run: put(run.offset, map(source.read, run.chunks)), _runs(blob), progress, readers)
    else:
        read = ((run.offset, [source.read(chunk) for chunk in run.chunks]) for run in _runs(blob))
        in_order(lambda found: put(*found), read, progress, 1)
    area.sync()


def compare(area: Area, blob: Blob, progress: Progress = lambda _: None) -> None:
    """Read it back from the disk. ImageError if it is not what was to be written."""
    area.forget_cached()

    def read_back(run: _Run) -> int:
        data = memoryview(area.read(run.offset, run.size))
        offset = 0
        for chunk in run.chunks:
            if digest(data[offset : offset + chunk.size]) != chunk.sha256:
                raise ImageError(
                    "what the slot holds is not what was written to it; the disk may be failing, and the slot will not "
                    "start"
                )
            offset += chunk.size
        return len(data)

    in_order(read_back, _runs(blob), progress)


class _Run(NamedTuple):
    """Chunks that follow each other."""

    offset: int
    size: int
    chunks: list[Chunk]


def _runs(blob: Blob) -> Iterator[_Run]:
    """All of a blob, in pieces of a size that disks like."""
    start, chunks = 0, list[Chunk]()
    for offset, chunk in blob.placed():
        if chunks and offset + chunk.size - start > _BLOCK:
            yield _Run(start, offset - start, chunks)
            start, chunks = offset, []
        chunks.append(chunk)
    if chunks:
        yield _Run(start, blob.size - start, chunks)


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
