"""A member's directory of chunks: checked before they are kept, durable when kept, checked again when read."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import zstandard

from core.images.manifest import CHUNK_MAX, STORED_MAX, Blob, Chunk, ImageError, digest
from core.images.store import ChunkStore, unpacked
from core.tls import files

GRACE_SECONDS = 6 * 3600
"""How long a chunk that nothing names is kept: it may be of an image that is being uploaded."""
ROOM = 256 << 20
"""Bytes that stay free on the disk: the store of keys is there too."""


class NoRoomError(ImageError):
    """The disk is too full for more chunks."""


class Shelf:
    """Synchronous; its calls block. Several threads may use it at once."""

    def __init__(self, directory: Path, room: int = ROOM) -> None:
        """Make the directory, or take one that is there; unfinished files of an earlier process go. OSError."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory = directory
        self._chunks = ChunkStore(directory / "chunks")
        self._room = room
        self._letting_go = threading.Lock()
        """Held while a chunk is seen to be old and removed, and while it is wanted anew."""
        self._chunks.path.mkdir(mode=0o700, exist_ok=True)
        for left in self._chunks.path.glob("*/.*.part"):
            left.unlink(missing_ok=True)

    def has(self, sha256: str) -> bool:
        """Whether there is a file of that name."""
        return self._chunks.place(sha256).exists()

    def want(self, sha256: str) -> bool:
        """Whether there is a file of that name; if so, its grace begins again, because somebody relies on it."""
        with self._letting_go:
            try:
                os.utime(self._chunks.place(sha256))
            except FileNotFoundError:
                return False
            return True

    def keep(self, sha256: str, packed: bytes) -> None:
        """Keep a chunk, durably. ImageError unless it is that chunk, NoRoomError, OSError."""
        check(sha256, packed)
        place = self._chunks.place(sha256)
        if self.want(sha256):
            return
        if _free(self.directory) < self._room + len(packed):
            raise NoRoomError(f"the disk of {self.directory} has less than {self._room >> 20} MiB left")
        if not place.parent.exists():
            place.parent.mkdir(mode=0o700, exist_ok=True)
            files.sync_directory(self._chunks.path)
        with contextlib.suppress(FileExistsError):  # another thread was faster with the same
            files.write_new(place, packed, files.PRIVATE)

    def packed(self, sha256: str) -> bytes | None:
        """A chunk as it is kept, None if it is not there. A damaged one is removed, as if it had never been."""
        place = self._chunks.place(sha256)
        try:
            with place.open("rb") as file:
                data = file.read(STORED_MAX + 1)
        except FileNotFoundError:
            return None
        try:
            check(sha256, data)
        except ImageError:
            place.unlink(missing_ok=True)
            return None
        return data

    def plain(self, chunk: Chunk) -> bytes:
        """The bytes of a chunk. ImageError."""
        data = self.packed(chunk.sha256)
        if data is None:
            raise ImageError(f"chunk {chunk.sha256} is not here")
        return zstandard.ZstdDecompressor(max_window_size=1 << 23).decompress(data)

    def whole(self, blob: Blob, limit: int) -> bytes:
        """A small blob. ImageError if it is larger than `limit`, not here, or not what it should be."""
        if blob.size > limit:
            raise ImageError(f"a file of {blob.size} bytes is larger than the {limit} that are allowed")
        data = b"".join(self.plain(chunk) for chunk in blob.chunks)
        if len(data) != blob.size or digest(data) != blob.sha256:
            raise ImageError("the chunks of a file do not make up that file")
        return data

    def names(self) -> Iterator[str]:
        """All chunks there are."""
        for place in self._chunks.path.glob("??/*.zst"):
            yield place.name.removesuffix(".zst")

    def collect(self, named: Callable[[str], bool], now: float) -> int:
        """Remove chunks that nothing names and nobody has relied on lately; how many."""
        count = 0
        for name in list(self.names()):
            place = self._chunks.place(name)
            with self._letting_go, contextlib.suppress(FileNotFoundError):
                if not named(name) and place.stat().st_mtime < now - GRACE_SECONDS:
                    place.unlink()
                    count += 1
        return count


def check(sha256: str, packed: bytes) -> None:
    """ImageError unless these compressed bytes are the chunk of that name, and nothing is behind them."""
    if len(packed) > STORED_MAX:
        raise ImageError(f"a chunk has at most {STORED_MAX} bytes")
    try:
        announced = zstandard.get_frame_parameters(packed).content_size
    except zstandard.ZstdError as error:
        raise ImageError(f"chunk {sha256} cannot be unpacked: {error}") from None
    if not 0 < announced <= CHUNK_MAX:
        raise ImageError(f"chunk {sha256} does not say that it unpacks to at most {CHUNK_MAX} bytes")
    unpacked(Chunk(sha256, announced, len(packed)), packed)


def _free(directory: Path) -> int:
    state = os.statvfs(directory)
    return state.f_bavail * state.f_frsize
