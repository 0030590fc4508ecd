"""The log of one member: entries and hard state, durable before they count.

An append is one record of the journal (`journal`), whatever number of entries it brings. When it is large, when it does
something else than add, or when the journal is full, it is one commit of LMDB that takes over what the journal holds. A
member that is alone flushes its state sooner, and then there is nothing to take over.

A record of LMDB stands under the index of its first entry (8 bytes, big end first) and holds their number, the term of
the last, and each entry's term, kind and data: py-lmdb lets go of the interpreter at every put, so there are few. What
the journal holds is in memory too, until LMDB has it or nobody wants it any more.
"""

import contextlib
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import lmdb
import msgspec

from core.raft.messages import Entry, HardState
from core.store_lmdb import checksum
from core.store_lmdb.environment import DATA, Writer, open_environment, open_tables
from core.store_lmdb.errors import CorruptError, DiskFailedError, DiskFullError, translated
from core.store_lmdb.journal import NAME, Journal, Mark

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
_JOURNAL = b"journal"

_DROP_AT_ONCE = 64
"""Records that one commit removes at most, so that forgetting a long prefix delays no single append much."""
_RECORD_BYTES = 1 << 18
"""Data that a record of LMDB brings together, about: whoever reads one entry reads its record."""
_LARGE = 1 << 18
"""Bytes of an append that go to LMDB at once: to write them twice would take longer than the second sync."""


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
        self._recent: list[Entry] = []
        """Those that only the journal holds: the last ones."""
        self._environment = open_environment(path, 2, create=create)
        self._writer = Writer(self._environment, self.file)
        try:
            self._entries, self._meta = open_tables(self._environment, self.file, ["entries", "meta"], create=create)
            with translated(self.file, "read"), self._environment.begin() as transaction:
                mark = self._recall(transaction)
            self._stored = self.last
            """The last that LMDB has."""
            self._journal = Journal(path / NAME, mark)
            self._is_marked = mark is not None
            """Whether LMDB says what counts in the journal."""
            try:
                if mark is not None:
                    self._recall_journal()
                self._check_end()
            except BaseException:
                self._journal.close()
                raise
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
        if not entries and hard == self.hard_state and self._unwanted <= self.floor.index:
            return
        self._forget()
        if self._is_marked and self._write_to_journal(entries, hard):
            self._recent += entries
            self.hard_state = hard
            if entries:
                self.last = Place(entries[-1].index, entries[-1].term)
        else:
            self._take_over(entries, hard)

    def drop_until(self, index: int) -> None:
        """Entries up to and with `index` are no longer needed. Later appends remove them: from LMDB in whole records,
        then from memory. This only takes note, so it may be called while another thread appends."""
        self._unwanted = max(self._unwanted, index)

    def install(self, origin: Origin, hard_state: HardState) -> None:
        """Begin anew from a snapshot whose state is durable already: one commit records it and drops every entry."""
        self._journal.check()
        place = Place(origin.index, origin.term)
        with self._writer.commit() as transaction:
            transaction.drop(self._entries, delete=False)
            body = _ORIGIN_HEAD.pack(origin.index, origin.term, origin.generation) + origin.members
            self._put_meta(transaction, _ORIGIN, body)
            self._put_meta(transaction, _FLOOR, _PLACE.pack(place.index, place.term))
            mark = self._put_end(transaction, hard_state)
        self.origin, self.hard_state, self.floor, self.last = origin, hard_state, place, place
        self._begin_journal(mark)

    def read(self, first: int, last: int, size: int = 1 << 20) -> list[Entry]:
        """Entries first <= index <= last, fewer when their data exceed `size` bytes but at least one.

        IndexError if some of them are not in the log; CorruptError if their record is damaged.
        """
        if not self.floor.index < first <= last <= self.last.index:
            raise IndexError(f"entries {first}..{last} asked for, {self.floor.index + 1}..{self.last.index} here")
        found: list[Entry] = []
        for entry in self._from(first):
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
        if self._recent and self._recent[0].index <= index <= self.last.index:
            return self._recent[index - self._recent[0].index].term
        return self.read(index, index)[0].term

    def size_on_disk(self) -> int:
        """Bytes of the files."""
        return self.file.stat().st_size + self._journal.size

    def close(self) -> None:
        """Let go of the files; what the journal holds goes to LMDB, if there is room."""
        if not self._journal.closed and self._journal.number != self._journal.first:
            with contextlib.suppress(DiskFullError, DiskFailedError):
                self._take_over((), self.hard_state)
        self._journal.close()
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

    def _forget(self) -> None:
        """Let go of what nobody wants, but for the last entry. What the journal has of it need not come to LMDB, once
        that holds nothing any more."""
        if self._recent and self.floor.index < self._stored.index <= self._unwanted:
            with contextlib.suppress(DiskFullError):  # then later
                self._empty()
        count = min(self._unwanted, self.last.index - 1) - self.floor.index
        if count > 0 and self.floor.index == self._stored.index:
            last = self._recent[count - 1]
            self.floor = self._stored = Place(last.index, last.term)
            del self._recent[:count]

    def _empty(self) -> None:
        """Remove what LMDB holds, in one commit, or some of it."""
        with self._writer.commit() as transaction:
            floor = self._drop(transaction, self.last)
            self._put_meta(transaction, _FLOOR, _PLACE.pack(floor.index, floor.term))
        self.floor = floor

    def _write_to_journal(self, entries: Sequence[Entry], hard: HardState) -> bool:
        """Whether that could be: it only adds, is not large, and there is room."""
        first = entries[0].index if entries else self.last.index + 1
        if first <= self.last.index:
            return False
        self._writer.check()
        body = _HARD.pack(hard.term, hard.vote, hard.commit) + _name(first) + _packed(entries)
        if len(body) > _LARGE or not self._journal.fits(len(body)):
            return False
        try:
            self._journal.write(body)
        except DiskFullError:
            return False  # LMDB may have room in its file
        return True

    def _take_over(self, entries: Sequence[Entry], hard: HardState) -> None:
        """Bring what the journal holds to LMDB, and these entries, in the place of what was there, with them."""
        self._journal.check()
        recent, floor, last = self._recent, self.floor, self.last
        with self._writer.commit() as transaction:
            if entries:
                first = entries[0].index
                recent = [entry for entry in recent if entry.index < first]
                if first <= self._stored.index:
                    self._truncate(transaction, first)
                last = Place(entries[-1].index, entries[-1].term)
            added = [*recent, *entries]
            if self._unwanted > floor.index:
                floor = self._drop(transaction, last)
                count = min(self._unwanted, last.index - 1) - floor.index
                if count > 0 and floor.index == self._stored.index:
                    # LMDB holds nothing any more: what is not wanted need not come there. The last entry stays.
                    floor = Place(added[count - 1].index, added[count - 1].term)
                    del added[:count]
            self._put_meta(transaction, _FLOOR, _PLACE.pack(floor.index, floor.term))
            self._put_records(transaction, added)
            mark = self._put_end(transaction, hard)
        self.hard_state, self.floor, self.last = hard, floor, last
        self._begin_journal(mark)

    def _put_end(self, transaction: "lmdb.Transaction[bytes]", hard: HardState) -> Mark:
        """Put what goes with every commit: the hard state, and that the journal begins anew."""
        mark = Mark.after(self._journal.number)
        self._put_meta(transaction, _HARD_STATE, _HARD.pack(hard.term, hard.vote, hard.commit))
        self._put_meta(transaction, _JOURNAL, mark.pack())
        return mark

    def _begin_journal(self, mark: Mark) -> None:
        self._journal.restart(mark)
        self._is_marked = True
        self._stored = self.last
        self._recent = []

    def _put_records(self, transaction: "lmdb.Transaction[bytes]", entries: Sequence[Entry]) -> None:
        """Put entries behind all that are there."""
        start = size = 0
        for number, entry in enumerate(entries, 1):
            size += len(entry.data)
            if size >= _RECORD_BYTES or number == len(entries):
                self._put_record(transaction, entries[start:number], append=True)
                start, size = number, 0

    def _put_record(self, transaction: "lmdb.Transaction[bytes]", entries: Sequence[Entry], *, append: bool) -> None:
        name = _name(entries[0].index)
        transaction.put(name, checksum.seal(name, _packed(entries)), append=append, db=self._entries)

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
        return floor

    def _recall(self, transaction: "lmdb.Transaction[bytes]") -> Mark | None:
        """Read the meta rows, and every record once; what counts in the journal (None: there was none yet)."""
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
        mark = self._get_meta(transaction, _JOURNAL)
        return None if mark is None else Mark.unpack(mark)

    def _recall_journal(self) -> None:
        """Add what the journal holds."""
        for body in self._journal.recall():
            first = _index(body[_HARD.size : _HARD.size + 8])
            if first != self.last.index + 1:
                raise CorruptError(self._journal.file, f"entry {self.last.index + 1} is missing, {first} is there")
            self.hard_state = HardState(*_HARD.unpack_from(body))
            found = list(_unpacked(first, body, _HARD.size + 8))
            self._recent += found
            if found:
                self.last = Place(found[-1].index, found[-1].term)

    def _check_end(self) -> None:
        """CorruptError if entries that are committed are not here."""
        if self.hard_state.commit > self.last.index:
            missing = f"entries {self.last.index + 1} to {self.hard_state.commit} are missing from the log"
            raise CorruptError(self.file, missing)

    def _get_meta(self, transaction: "lmdb.Transaction[bytes]", name: bytes) -> bytes | None:
        row = transaction.get(name, db=self._meta)
        if row is None:
            return None
        if not checksum.is_whole(name, row):
            raise CorruptError(self.file, f"row {name.decode()!r} of the log's meta table: wrong checksum")
        return row[: -checksum.SIZE]

    def _from(self, first: int) -> Iterator[Entry]:
        """Entries from `first`, which is here, on."""
        if first <= self._stored.index:
            with self._environment.begin() as transaction:
                yield from self._stored_from(transaction, first)
        if self._recent:
            yield from self._recent[max(0, first - self._recent[0].index) :]

    def _stored_from(self, transaction: "lmdb.Transaction[bytes]", first: int) -> Iterator[Entry]:
        """Those that LMDB has."""
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
        self._head(name, row)
        return _unpacked(_index(name), row, 0)


def _packed(entries: Sequence[Entry]) -> bytes:
    """Entries as a record holds them."""
    parts = [_HEAD.pack(len(entries), entries[-1].term if entries else 0)]
    for entry in entries:
        parts.append(_ENTRY.pack(entry.term, entry.kind, len(entry.data)))
        parts.append(entry.data)
    return b"".join(parts)


def _unpacked(first: int, row: bytes, position: int) -> Iterator[Entry]:
    """The entries that were packed to that place of a row; the first has index `first`."""
    count, _ = _HEAD.unpack_from(row, position)
    position += _HEAD.size
    for index in range(first, first + count):
        term, kind, length = _ENTRY.unpack_from(row, position)
        position += _ENTRY.size
        yield Entry(index, term, kind, row[position : position + length])
        position += length


def _name(index: int) -> bytes:
    return index.to_bytes(8, "big")


def _index(name: bytes) -> int:
    return int.from_bytes(name, "big")
