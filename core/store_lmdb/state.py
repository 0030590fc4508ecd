"""The replicated state: what is applied, some of it on the disk already and the rest in memory."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb
from sortedcontainers import SortedList

from core.kv.transaction import Reader, Table
from core.store_lmdb.environment import DATA, Writer, open_environment, open_tables
from core.store_lmdb.errors import SnapshotError, translated
from core.store_lmdb.layout import Layout, name_of, row_of

VIEWS = 8
"""Frozen views at a time. Each holds a reader slot of LMDB, and a flush that finds none would end the process."""
_ROW_COST = 200
"""Bytes of memory that a waiting row takes beside its key and value."""


class _Waiting:
    """The rows of one table that are not on the disk yet; None for a deletion."""

    __slots__ = ("fresh", "ordered", "rows")

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes | None] = {}
        self.fresh: list[bytes] = []
        """Keys not in `ordered` yet. Most tables are written far more often than scanned."""
        self.ordered: SortedList[bytes] = SortedList()

    def keys(self, start: bytes, end: bytes | None, *, reverse: bool) -> Iterator[bytes]:
        if self.fresh:
            self.ordered.update(self.fresh)
            self.fresh.clear()
        found: Iterator[bytes] = self.ordered.irange(start, end, inclusive=(True, False), reverse=reverse)
        return found


class StateStore:
    """The ordered maps of the state machine over one LMDB environment; a `core.kv.transaction.Transaction`.

    Writes go to memory and are seen by reads at once. `flush` makes all of them durable in one commit, so the disk
    always holds the state as it was after some whole batch, provided the caller flushes between batches only. One
    thread at a time.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        """Open the environment in directory `path`. CorruptError if tables are missing."""
        self.file = path / DATA
        self._environment = open_environment(path, len(Table), create=create)
        self._writer = Writer(self._environment, self.file)
        try:
            names = [table.value for table in Table]
            self._databases = dict(
                zip(Table, open_tables(self._environment, self.file, names, create=create), strict=True)
            )
            self._reading = self._begin()
        except BaseException:
            self._environment.close()
            raise
        self._layouts = {table: Layout(self.file, table.value, self._databases[table]) for table in Table}
        self._waiting = {table: _Waiting() for table in Table}
        self._waiting_bytes = 0
        self._views = 0

    def get(self, table: Table, key: bytes) -> bytes | None:
        """The value at `key`, or None. CorruptError if its row on the disk is damaged."""
        rows = self._waiting[table].rows
        if key in rows:
            return rows[key]
        return self._layouts[table].get(self._reading, key)

    def scan(
        self, table: Table, start: bytes = b"", end: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < end in byte order, or from the last backwards; good until a write or flush."""
        layout = self._layouts[table]
        stored = (layout.scan_back if reverse else layout.scan)(self._reading, start, end)
        waiting = self._waiting[table]
        if not waiting.rows:
            return stored
        return _merged(stored, waiting.keys(start, end, reverse=reverse), waiting.rows, reverse=reverse)

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        """Store a row, in memory until the next flush."""
        waiting = self._waiting[table]
        if key not in waiting.rows:
            waiting.fresh.append(key)
        waiting.rows[key] = value
        self._waiting_bytes += len(key) + len(value)

    def delete(self, table: Table, key: bytes) -> None:
        """Remove a row, in memory until the next flush; removing what is not there is no error."""
        waiting = self._waiting[table]
        if key not in waiting.rows:
            waiting.fresh.append(key)
        waiting.rows[key] = None
        self._waiting_bytes += len(key)

    @property
    def dirty_rows(self) -> int:
        """Rows and deletions that wait for a flush."""
        return sum(len(waiting.rows) for waiting in self._waiting.values())

    @property
    def dirty_bytes(self) -> int:
        """About how many bytes of memory they take; a row written twice counts twice."""
        return self._waiting_bytes + _ROW_COST * self.dirty_rows

    def flush(self) -> None:
        """Make every write so far durable, in one commit; when this returns they are.

        After DiskFullError all is as before and the writes still wait. After DiskFailedError the process must end.
        Blocks for some 5 to 10 microseconds a row and two syncs of the disk.
        """
        if not any(waiting.rows for waiting in self._waiting.values()):
            return
        self._reading.abort()  # or this commit could not reuse the pages that the last one freed
        try:
            with self._writer.commit() as transaction:
                for table, waiting in self._waiting.items():
                    if waiting.rows:
                        with transaction.cursor(self._databases[table]) as cursor:
                            _write(cursor, waiting.rows)
        finally:
            self._reading = self._begin()
        for table in self._waiting:
            self._waiting[table] = _Waiting()
        self._waiting_bytes = 0

    def _begin(self) -> "lmdb.Transaction[bytes]":
        with translated(self.file, "read"):
            return self._environment.begin()

    def size_in_use(self) -> int:
        """Bytes of the pages that hold rows on the disk; free pages, which later writes reuse, are not counted."""
        size = 0
        for database in self._databases.values():
            counts = self._reading.stat(database)
            size += counts["psize"] * (counts["branch_pages"] + counts["leaf_pages"] + counts["overflow_pages"])
        return size

    @contextmanager
    def frozen(self) -> Iterator[Reader]:
        """Flush, then read the state as it is now however it is written to meanwhile.

        Until the end LMDB cannot reuse pages that are freed meanwhile, so the file may grow. SnapshotError if VIEWS
        others are open.
        """
        if self._views == VIEWS:
            raise SnapshotError(f"{self.file}: already read {VIEWS} times at once; try again when a snapshot has ended")
        self.flush()
        transaction = self._begin()
        self._views += 1
        try:
            yield _Frozen(self._layouts, transaction)
        finally:
            self._views -= 1
            transaction.abort()

    def count(self) -> dict[str, int]:
        """Rows on the disk by table, each read and checked. CorruptError at the first that is damaged."""
        return {
            table.value: sum(1 for _ in layout.scan(self._reading, b"", None))
            for table, layout in self._layouts.items()
        }

    def size_on_disk(self) -> int:
        """Bytes of the file."""
        return os.stat(self.file).st_size

    def close(self) -> None:
        """Let go of the files. What was not flushed is forgotten; the log has it."""
        self._reading.abort()
        self._environment.close()


class _Frozen:
    """The rows on the disk at one moment."""

    def __init__(self, layouts: dict[Table, Layout], transaction: "lmdb.Transaction[bytes]") -> None:
        self._layouts = layouts
        self._transaction = transaction

    def get(self, table: Table, key: bytes) -> bytes | None:
        return self._layouts[table].get(self._transaction, key)

    def scan(
        self, table: Table, start: bytes = b"", end: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        layout = self._layouts[table]
        return (layout.scan_back if reverse else layout.scan)(self._transaction, start, end)


def _merged(
    stored: Iterator[tuple[bytes, bytes]],
    keys: Iterator[bytes],
    rows: dict[bytes, bytes | None],
    *,
    reverse: bool,
) -> Iterator[tuple[bytes, bytes]]:
    """Stored rows and waiting rows in one order; a waiting row hides the stored one."""
    row = next(stored, None)
    for key in keys:
        while row is not None and (row[0] > key if reverse else row[0] < key):
            yield row
            row = next(stored, None)
        if row is not None and row[0] == key:
            row = next(stored, None)
        value = rows[key]
        if value is not None:
            yield key, value
    if row is not None:
        yield row
        yield from stored


def _write(cursor: "lmdb.Cursor[bytes]", rows: dict[bytes, bytes | None]) -> None:
    """Bring the rows of one table to the disk, in the order of their names so that neighbours share page writes."""
    puts: list[tuple[bytes, bytes]] = []
    deletions: list[bytes] = []
    for key, value in rows.items():
        name = name_of(key)
        if value is None:
            deletions.append(name)
        else:
            puts.append((name, row_of(name, key, value)))
    deletions.sort()
    for name in deletions:
        if cursor.set_key(name):
            cursor.delete()
    puts.sort()
    # Names behind the last stored one are appended: LMDB then fills pages instead of halving them.
    last = cursor.key() if cursor.last() else b""
    behind = len(puts)
    while behind and puts[behind - 1][0] > last:
        behind -= 1
    if behind:
        cursor.putmulti(puts[:behind])
    if behind < len(puts):
        cursor.putmulti(puts[behind:], append=True)
