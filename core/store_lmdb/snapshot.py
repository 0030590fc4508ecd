"""The whole state in one file.

    magic       b"corenode snapshot\\n"
    format      4 bytes; all numbers little end first
    header      4 bytes length, then JSON (`Header`)
    tables      1 byte length of the name and the name, then its rows in order of their keys:
                4 bytes length of the key, 4 bytes length of the value, key, value; NO_ROW ends the table
    end         one zero byte in place of a name
    SHA-256     32 bytes, of all before

It is written, read and checked in pieces of bounded size; only a single row must fit in memory.
"""

import hashlib
import os
import struct
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

import msgspec

from core.kv.transaction import Table
from core.store_lmdb.environment import sync_directory
from core.store_lmdb.errors import SnapshotError, translated
from core.store_lmdb.state import Start, StateStore

MAGIC = b"corenode snapshot\n"
FORMAT = 1
PIECE = 1 << 18
"""Bytes of a piece, about."""
_NUMBER = struct.Struct("<I")
_ROW = struct.Struct("<II")
_NO_ROW = _ROW.pack(0xFFFFFFFF, 0)
_HASH = 32
_HEADER_LIMIT = 1 << 16
_KEY_LIMIT = 1 << 20
_VALUE_LIMIT = 1 << 28
_FLUSH = 16 << 20
"""Bytes of rows after which a state being filled is flushed."""


class Header(msgspec.Struct, frozen=True):
    """What a snapshot is of."""

    cluster: str
    """Cluster id, 16 hexadecimal digits."""
    revision: int
    """Last index of the keyspace."""
    index: int
    """Last log entry it contains, and its term."""
    term: int
    members: str = ""
    """The members at that entry, in raft's encoding, as hexadecimal digits."""


class Summary(msgspec.Struct, frozen=True):
    """What checking a snapshot found."""

    header: Header
    rows: dict[str, int]
    """Number of rows by table."""
    size: int
    """Bytes of the file."""
    sha256: str


def pieces(state: StateStore, header: Header) -> Generator[bytes, None, None]:
    """The snapshot of a state, in pieces of about PIECE bytes.

    All of it is of the moment of the first piece, whatever is written meanwhile. Until the end (or `close` of this
    generator) LMDB cannot reuse the pages freed since.
    """
    encoded = msgspec.json.encode(header)
    digest = hashlib.sha256()
    buffer = bytearray(MAGIC + _NUMBER.pack(FORMAT) + _NUMBER.pack(len(encoded)) + encoded)
    with state.frozen() as view:
        for table in Table:
            name = table.value.encode()
            buffer += bytes((len(name),)) + name
            for key, value in view.scan(table):
                buffer += _ROW.pack(len(key), len(value))
                buffer += key
                buffer += value
                if len(buffer) >= PIECE:
                    digest.update(buffer)
                    yield bytes(buffer)
                    buffer.clear()
            buffer += _NO_ROW
    buffer += b"\0"
    digest.update(buffer)
    yield bytes(buffer) + digest.digest()


def save(file: Path, content: Iterable[bytes]) -> Generator[int]:
    """Write pieces to a new file, step by step; yields the bytes written so far.

    The file gets its name when all of it is on the disk; a crash before leaves at most `file` with `.part` behind it.
    SnapshotError if the name is taken.
    """
    if file.exists():
        raise SnapshotError(f"{file}: exists already; choose another name")
    part = file.with_name(file.name + ".part")
    written = 0
    try:
        with translated(part, "write"), open(part, "wb", opener=_private) as stream:
            for piece in content:
                stream.write(piece)
                written += len(piece)
                yield written
            stream.flush()
            os.fsync(stream.fileno())
        with translated(file, "rename"):
            part.rename(file)
    finally:
        part.unlink(missing_ok=True)
    sync_directory(file.parent)


def verify(file: Path) -> Summary:
    """Read and check a whole snapshot. SnapshotError says what is wrong with it."""
    with translated(file, "read"), file.open("rb") as stream:
        reading = Reading(str(file), iter(lambda: stream.read(PIECE), b""))
        for _ in reading.rows():
            pass
        return reading.summary()


def fill(
    state: StateStore, source: str, content: Iterable[bytes], *, start: Start | None = None, flush: int = _FLUSH
) -> Generator[Header | Summary]:
    """Bring a snapshot into an empty state, step by step: its header, again for each flush, at last its summary.

    The state must not be used before the summary came: only then is the hash known to be right, and all of it flushed.
    `source` names the snapshot in errors, `flush` is the size of a step in bytes. If `start` runs something in a
    thread, the next step is read while one is synced.
    """
    reading = Reading(source, content)
    yield reading.header
    for table, key, value in reading.rows():
        state.put(table, key, value)
        if state.dirty_bytes - state.leaving_bytes >= flush:
            if start is None:
                state.flush()
            else:
                state.settle(wait=True)
                state.begin_flush(start, at_once=True)
            yield reading.header
    summary = reading.summary()
    state.flush()
    yield summary


class Reading:
    """A snapshot being read from its pieces, which may be cut anywhere."""

    def __init__(self, source: str, content: Iterable[bytes]) -> None:
        """Read the header. `source` names the snapshot in errors."""
        self._source = source
        self._content = iter(content)
        self._buffer = bytearray()
        self._position = 0
        self._digest = hashlib.sha256()
        self._size = 0
        self._rows: dict[str, int] = {}
        self._hash = ""
        if self._take(len(MAGIC)) != MAGIC:
            raise self._wrong("not a snapshot of corenode")
        (version,) = _NUMBER.unpack(self._take(_NUMBER.size))
        if version != FORMAT:
            raise self._wrong(f"format {version}, this program knows only {FORMAT}; use the version that saved it")
        (length,) = _NUMBER.unpack(self._take(_NUMBER.size))
        if length > _HEADER_LIMIT:
            raise self._wrong("damaged: its header is impossibly long")
        try:
            self.header = msgspec.json.decode(self._take(length), type=Header)
        except msgspec.DecodeError as error:
            raise self._wrong(f"damaged: {error}") from error

    def rows(self) -> Iterator[tuple[Table, bytes, bytes]]:
        """Every row; the hash is checked behind the last."""
        while length := self._take(1)[0]:
            name = self._take(length).decode("ascii", "replace")
            if name not in set(Table):
                raise self._wrong(f"damaged, or of a newer version: unknown table {name!r}")
            table = Table(name)
            count = 0
            while (head := self._take(_ROW.size)) != _NO_ROW:
                key_length, value_length = _ROW.unpack(head)
                if key_length > _KEY_LIMIT or value_length > _VALUE_LIMIT:
                    raise self._wrong("damaged: a row is impossibly long")
                yield table, self._take(key_length), self._take(value_length)
                count += 1
            self._rows[name] = count
        self._check_hash()

    def summary(self) -> Summary:
        """What was read; call it when `rows` has ended."""
        if not self._hash:
            raise self._wrong("not read to its end")
        return Summary(self.header, self._rows, self._size, self._hash)

    def _check_hash(self) -> None:
        self._digest.update(memoryview(self._buffer)[: self._position])
        del self._buffer[: self._position]
        self._position = 0
        expected = self._digest.digest()
        while len(self._buffer) <= _HASH and (piece := next(self._content, b"")):
            self._buffer += piece
            self._size += len(piece)
        if self._buffer != expected:
            raise self._wrong("damaged: its SHA-256 does not fit its content")
        self._hash = expected.hex()

    def _take(self, length: int) -> bytes:
        """The next bytes; SnapshotError if there are not so many."""
        if self._position > PIECE:
            self._digest.update(memoryview(self._buffer)[: self._position])
            del self._buffer[: self._position]
            self._position = 0
        end = self._position + length
        while len(self._buffer) < end:
            piece = next(self._content, b"")
            if not piece:
                raise self._wrong(f"cut short after {self._size} bytes")
            self._buffer += piece
            self._size += len(piece)
        taken = bytes(memoryview(self._buffer)[self._position : end])
        self._position = end
        return taken

    def _wrong(self, what: str) -> SnapshotError:
        return SnapshotError(f"{self._source}: {what}")


def _private(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
