"""How the rows of an ordered byte map rest in LMDB.

LMDB orders keys of 1 to 511 bytes; ours have 0 B to 64 KiB. So a key is stored under a *name*:

- A key shorter than LONG bytes is its own name. A key that is empty or begins with a zero byte gets one more zero in
  front, because LMDB knows no empty key; order stays as it was.
- A longer key is named by its first LONG bytes (with the same extra zero) and the BLAKE2b-256 of the whole key. No
  short key has a name that long. The names of one group, the keys that share their first LONG bytes, lie together but
  in the order of their hashes; scans read the group and put it in order.

A row is what is stored under a name: for a long key its length and itself, then the value, then a CRC-32 of the name
and all of that (`checksum`).
"""

import heapq
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import lmdb

from core.store_lmdb import checksum
from core.store_lmdb.errors import CorruptError, translate, translated

LONG = 478
"""The name of a shorter key is at most this long, that of any other is longer."""
_HASH = 32
_LENGTH = 4
_AT_ONCE = 256
"""Keys of a group held in memory at a time (64 KiB each at most); a larger group is read once for each so many."""

_crc32 = checksum.crc32


def name_of(key: bytes) -> bytes:
    """The name under which LMDB finds a key."""
    if len(key) >= LONG:
        prefix = key[:LONG]
        hashed = blake2b(key, digest_size=_HASH).digest()
        return b"\0" + prefix + hashed if prefix[0] == 0 else prefix + hashed
    return b"\0" + key if key[:1] <= b"\0" else key


def row_of(name: bytes, key: bytes, value: bytes) -> bytes:
    """The row to store under a name."""
    if len(key) >= LONG:
        value = b"".join((len(key).to_bytes(_LENGTH, "little"), key, value))
    return checksum.seal(name, value)


class Layout:
    """The rows of one table, read through one LMDB transaction at a time."""

    def __init__(self, file: Path, table: str, database: "lmdb._Database") -> None:
        self._file = file
        self._table = table
        self._database = database

    def get(self, transaction: "lmdb.Transaction[bytes]", key: bytes) -> bytes | None:
        """The value at a key, or None. CorruptError if the row is not what was written."""
        is_short = len(key) < LONG
        name = (key if key[:1] > b"\0" else b"\0" + key) if is_short else name_of(key)
        try:
            row = transaction.get(name, None, self._database)
        except lmdb.Error as error:
            raise translate(error, self._file, "read") from error
        if row is None:
            return None
        if _crc32(row, _crc32(name)) != checksum.WHOLE:
            raise self._damaged(name)
        return row[: -checksum.SIZE] if is_short else self._split(name, row)[1]

    def scan(
        self, transaction: "lmdb.Transaction[bytes]", start: bytes, end: bytes | None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < end in byte order of the keys."""
        with translated(self._file, "read"), transaction.cursor(self._database) as cursor:
            found = cursor.set_range(_group(start[:LONG]))
            while found:
                for name, row in cursor.iternext():
                    if len(name) > LONG:
                        break
                    key, value = self._split(name, row)
                    if end is not None and key >= end:
                        return
                    yield key, value
                else:
                    return
                group = name[:-_HASH]
                for key, value in self._members(transaction, group, reverse=False):
                    if end is not None and key >= end:
                        return
                    if key >= start:
                        yield key, value
                found = cursor.set_range(_behind(group))

    def scan_back(
        self, transaction: "lmdb.Transaction[bytes]", start: bytes, end: bytes | None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < end, from the last one backwards."""
        with translated(self._file, "read"), transaction.cursor(self._database) as cursor:
            if end is None:
                found = cursor.last()
            else:
                group = _group(end[:LONG])
                found = _before(cursor, _behind(group) if len(end) >= LONG else group)
            while found:
                for name, row in cursor.iterprev():
                    if len(name) > LONG:
                        break
                    key, value = self._split(name, row)
                    if key < start:
                        return
                    yield key, value
                else:
                    return
                group = name[:-_HASH]
                for key, value in self._members(transaction, group, reverse=True):
                    if key < start:
                        return
                    if end is None or key < end:
                        yield key, value
                found = _before(cursor, group)

    def _members(
        self, transaction: "lmdb.Transaction[bytes]", group: bytes, *, reverse: bool
    ) -> Iterator[tuple[bytes, bytes]]:
        """The rows of one group, in order of their whole keys."""
        last: bytes | None = None
        while True:
            rest = (
                key for key in self._keys(transaction, group) if last is None or (key < last if reverse else key > last)
            )
            keys = heapq.nlargest(_AT_ONCE, rest) if reverse else heapq.nsmallest(_AT_ONCE, rest)
            for key in keys:
                value = self.get(transaction, key)
                if value is None:
                    raise self._damaged(name_of(key))
                yield key, value
            if len(keys) < _AT_ONCE:
                return
            last = keys[-1]

    def _keys(self, transaction: "lmdb.Transaction[bytes]", group: bytes) -> Iterator[bytes]:
        length = len(group) + _HASH
        with transaction.cursor(self._database) as cursor:
            found = cursor.set_range(group)
            while found:
                name, row = cursor.item()
                if len(name) != length or not name.startswith(group):
                    return
                yield self._split(name, row)[0]
                found = cursor.next()

    def _split(self, name: bytes, row: bytes) -> tuple[bytes, bytes]:
        """The key and value of a row."""
        if _crc32(row, _crc32(name)) != checksum.WHOLE:
            raise self._damaged(name)
        if len(name) <= LONG:
            return name[1:] if name[0] == 0 else name, row[: -checksum.SIZE]
        length = int.from_bytes(row[:_LENGTH], "little")
        key = row[_LENGTH : _LENGTH + length]
        if name_of(key) != name:
            raise self._damaged(name)
        return key, row[_LENGTH + length : -checksum.SIZE]

    def _damaged(self, name: bytes) -> CorruptError:
        shown = name[:64].hex() + ("…" if len(name) > 64 else "")
        return CorruptError(self._file, f"table {self._table!r}, row {shown} (hex): wrong checksum")


def _group(prefix: bytes) -> bytes:
    """The least name of a key that begins with `prefix`, which is no longer than LONG."""
    return b"\0" + prefix if prefix[:1] <= b"\0" else prefix


def _behind(group: bytes) -> bytes:
    """A name behind every name of the group."""
    return group + b"\xff" * _HASH


def _before(cursor: "lmdb.Cursor[bytes]", name: bytes) -> bool:
    """Move to the last name before `name`."""
    return cursor.prev() if cursor.set_range(name) else cursor.last()
