"""The log of one member: entries and hard state, durable before they count.

One append is one LMDB commit and puts one record, whatever number of entries it brings: py-lmdb lets go of the
interpreter at every put, so many puts are slow beside a busy thread. A record stands under the index of its first entry
(8 bytes, big end first) and holds their number, the term of the last, and each entry's term, kind and data.
"""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import lmdb
import msgspec

from core.raft.messages import Entry, HardState
from core.store_lmdb import checksum
from core.store_lmdb.environment import DATA, Writer, open_environment, open_tables
from core.store_lmdb.errors import CorruptError, translated

_HEAD = struct.Struct("<IQ")
"""Number of entries, term of the last."""
_ENTRY = struct.Struct("<QBI")
"""Term, kind, length of the data that follows."""
_PLACE = struct.Struct("<QQ")
_HARD = struct.Struct("<QQQ")
_ORIGIN_HEAD = struct.Struct("<QQQ")

_HARD_STATE = b"hard"
_FLOOR = b"floor"
_ORIGIN = b"origin"

_DROP_AT_ONCE = 64
"""Records that one append removes at most, so that forgetting a long prefix delays no single append much."""


class Place(msgspec.Struct, frozen=True):
    """A place in the log."""

    index: int
    term: int


class Origin(msgspec.Struct, frozen=True):
    """What the state of this member began from."""

    index: int
    """The last entry it contains; 0 with an empty state."""
    term: int
    generation: int
    """The number N in the name of the directory `state-N`."""
    members: bytes
    """The members at that index, encoded by raft."""


class LogStore:
    """Entries from `floor` (exclusive) to `last`, without a gap. One thread at a time."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        """Open the log in directory `path` and read all of it once. CorruptError if it has a gap or damage."""
        self.file = path / DATA
        self.hard_state = HardState()
        self.origin = Origin(0, 0, 1, b"")
        self.floor = Place(0, 0)
        """The place before the first entry that is here."""
        self.last = Place(0, 0)
        self._unwanted = 0
        self._environment = open_environment(path, 2, create=create)
        self._writer = Writer(self._environment, self.file)
        try:
            self._entries, self._meta = open_tables(self._environment, self.file, ["entries", "meta"], create=create)
            with translated(self.file, "read"), self._environment.begin() as transaction:
                self._recall(transaction)
        except BaseException:
            self._environment.close()
            raise

    def append(self, entries: Sequence[Entry], hard_state: HardState | None = None) -> None:
        """Make entries and hard state durable in one commit; when this returns they are.

        The first entry may stand anywhere above the commit index: what was there before, and behind, is replaced.
        After DiskFullError all is as before. ValueError for entries out of place.
        """
        self._check_place(entries)
        hard = hard_state if hard_state is not None else self.hard_state
        floor, last = self.floor, self.last
        with self._writer.commit() as transaction:
            if entries:
                if entries[0].index <= last.index:
                    self._truncate(transaction, entries[0].index)
                last = Place(entries[-1].index, entries[-1].term)
                self._put_record(transaction, entries, append=True)
            if hard != self.hard_state:
                self._put_meta(transaction, _HARD_STATE, _HARD.pack(hard.term, hard.vote, hard.commit))
            if self._unwanted > floor.index:
                floor = self._drop(transaction, last)
        self.hard_state, self.floor, self.last = hard, floor, last

    def drop_until(self, index: int) -> None:
        """Entries up to and with `index` are no longer needed. The next appends remove them, in whole records."""
        self._unwanted = max(self._unwanted, index)

    def install(self, origin: Origin, hard_state: HardState) -> None:
        """Begin anew from a snapshot whose state is durable already: one commit records it and drops every entry."""
        place = Place(origin.index, origin.term)
        with self._writer.commit() as transaction:
            transaction.drop(self._entries, delete=False)
            body = _ORIGIN_HEAD.pack(origin.index, origin.term, origin.generation) + origin.members
            self._put_meta(transaction, _ORIGIN, body)
            self._put_meta(transaction, _FLOOR, _PLACE.pack(place.index, place.term))
            hard = _HARD.pack(hard_state.term, hard_state.vote, hard_state.commit)
            self._put_meta(transaction, _HARD_STATE, hard)
        self.origin, self.hard_state, self.floor, self.last = origin, hard_state, place, place

    def read(self, first: int, last: int, size: int = 1 << 20) -> list[Entry]:
        """Entries first <= index <= last, fewer when their data exceed `size` bytes but at least one.

        IndexError if some of them are not in the log; CorruptError if their record is damaged.
        """
        if not self.floor.index < first <= last <= self.last.index:
            raise IndexError(f"entries {first}..{last} asked for, {self.floor.index + 1}..{self.last.index} here")
        found: list[Entry] = []
        with self._environment.begin() as transaction:
            for entry in self._from(transaction, first):
                size -= len(entry.data)
                if entry.index > last or (size < 0 and found):
                    break
                found.append(entry)
        return found

    def term(self, index: int) -> int:
        """The term of the entry at `index`, the floor included. IndexError if it is not here."""
        if index == self.last.index:
            return self.last.term
        if index == self.floor.index:
            return self.floor.term
        return self.read(index, index)[0].term

    def size_on_disk(self) -> int:
        """Bytes of the file."""
        return self.file.stat().st_size

    def close(self) -> None:
        """Let go of the files."""
        self._environment.close()

    def _check_place(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        first = entries[0].index
        if not max(self.floor.index, self.hard_state.commit) < first <= self.last.index + 1:
            raise ValueError(f"entry {first} cannot follow {self.last} with commit {self.hard_state.commit}")
        for index, entry in enumerate(entries, first):
            if entry.index != index:
                raise ValueError(f"entry {entry.index} where {index} was due")

    def _put_record(self, transaction: "lmdb.Transaction[bytes]", entries: Sequence[Entry], *, append: bool) -> None:
        parts = [_HEAD.pack(len(entries), entries[-1].term)]
        for entry in entries:
            parts.append(_ENTRY.pack(entry.term, entry.kind, len(entry.data)))
            parts.append(entry.data)
        name = _name(entries[0].index)
        transaction.put(name, checksum.seal(name, b"".join(parts)), append=append, db=self._entries)

    def _put_meta(self, transaction: "lmdb.Transaction[bytes]", name: bytes, body: bytes) -> None:
        transaction.put(name, checksum.seal(name, body), db=self._meta)

    def _truncate(self, transaction: "lmdb.Transaction[bytes]", index: int) -> None:
        """Remove the entries from `index` on; of a record across it the front stays."""
        front: list[Entry] = []
        with transaction.cursor(self._entries) as cursor:
            found = cursor.last()
            while found and _index(cursor.key()) >= index:
                cursor.delete()
                found = cursor.last()
            if found:
                front = [entry for entry in self._decode(*cursor.item()) if entry.index < index]
        if front:
            self._put_record(transaction, front, append=False)

    def _drop(self, transaction: "lmdb.Transaction[bytes]", last: Place) -> Place:
        """Remove some of the unwanted records from the front; return the new floor."""
        floor = self.floor
        with transaction.cursor(self._entries) as cursor:
            found = cursor.first()
            for _ in range(_DROP_AT_ONCE):
                if not found:
                    break
                name, row = cursor.item()
                count, term = self._head(name, row)
                end = _index(name) + count - 1
                if end > self._unwanted or end >= last.index:
                    break
                floor = Place(end, term)
                found = cursor.delete() and cursor.first()
        if floor != self.floor:
            self._put_meta(transaction, _FLOOR, _PLACE.pack(floor.index, floor.term))
        return floor

    def _recall(self, transaction: "lmdb.Transaction[bytes]") -> None:
        """Read the meta rows, and every record once."""
        if body := self._get_meta(transaction, _HARD_STATE):
            self.hard_state = HardState(*_HARD.unpack(body))
        if body := self._get_meta(transaction, _FLOOR):
            self.floor = Place(*_PLACE.unpack(body))
        if body := self._get_meta(transaction, _ORIGIN):
            index, term, generation = _ORIGIN_HEAD.unpack_from(body)
            self.origin = Origin(index, term, generation, body[_ORIGIN_HEAD.size :])
        index, term = self.floor.index, self.floor.term
        with transaction.cursor(self._entries) as cursor:
            for name, row in cursor.iternext():
                count, term = self._head(name, row)
                if _index(name) != index + 1 or count < 1:
                    raise CorruptError(self.file, f"entry {index + 1} is missing from the log")
                index += count
        self.last = Place(index, term)
        if self.hard_state.commit > index:
            raise CorruptError(self.file, f"entries {index + 1} to {self.hard_state.commit} are missing from the log")

    def _get_meta(self, transaction: "lmdb.Transaction[bytes]", name: bytes) -> bytes | None:
        row = transaction.get(name, db=self._meta)
        if row is None:
            return None
        if not checksum.is_whole(name, row):
            raise CorruptError(self.file, f"row {name.decode()!r} of the log's meta table: wrong checksum")
        return row[: -checksum.SIZE]

    def _from(self, transaction: "lmdb.Transaction[bytes]", first: int) -> Iterator[Entry]:
        """Entries from `first`, which is here, on."""
        with transaction.cursor(self._entries) as cursor:
            if not cursor.set_range(_name(first + 1)):
                cursor.last()
            else:
                cursor.prev()
            for name, row in cursor.iternext():
                for entry in self._decode(name, row):
                    if entry.index >= first:
                        yield entry

    def _head(self, name: bytes, row: bytes) -> tuple[int, int]:
        """Number of entries and last term of a record whose checksum is right."""
        if len(name) != 8 or not checksum.is_whole(name, row):
            raise CorruptError(self.file, f"log record {name.hex()} (hex): wrong checksum")
        count, term = _HEAD.unpack_from(row)
        return count, term

    def _decode(self, name: bytes, row: bytes) -> Iterator[Entry]:
        count, _ = self._head(name, row)
        first = _index(name)
        position = _HEAD.size
        for index in range(first, first + count):
            term, kind, length = _ENTRY.unpack_from(row, position)
            position += _ENTRY.size
            yield Entry(index, term, kind, row[position : position + length])
            position += length


def _name(index: int) -> bytes:
    return index.to_bytes(8, "big")


def _index(name: bytes) -> int:
    return int.from_bytes(name, "big")
