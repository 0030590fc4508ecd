"""Writes that wait before the rows they will change, and the reads that see both as one."""

from collections.abc import Iterable, Iterator

from sortedcontainers import SortedList

from core.kv.transaction import Table, Transaction


class Rows:
    """Changed rows of one table; None for a deletion."""

    __slots__ = ("fresh", "ordered", "rows")

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes | None] = {}
        self.fresh: list[bytes] = []
        """Keys not in `ordered` yet. Most tables are written far more often than scanned."""
        self.ordered: SortedList[bytes] = SortedList()

    def keys(self, start: bytes, end: bytes | None, *, reverse: bool) -> Iterator[bytes]:
        """The keys of a range, in order."""
        if self.fresh:
            self.ordered.update(self.fresh)
            self.fresh.clear()
        found: Iterator[bytes] = self.ordered.irange(start, end, inclusive=(True, False), reverse=reverse)
        return found

    def put(self, key: bytes, value: bytes | None) -> None:
        """Change one row."""
        if key not in self.rows:
            self.fresh.append(key)
        self.rows[key] = value

    def put_all(self, rows: dict[bytes, bytes | None]) -> None:
        """Change many."""
        known = self.rows
        self.fresh.extend([key for key in rows if key not in known])
        known.update(rows)


class Staged:
    """A `core.kv.transaction.Transaction` over another one, which sees nothing of it until `pour`."""

    def __init__(self, base: Transaction) -> None:
        self._base = base
        self._tables = {table: Rows() for table in Table}

    def get(self, table: Table, key: bytes) -> bytes | None:
        """The value at `key`, or None."""
        rows = self._tables[table].rows
        return rows[key] if key in rows else self._base.get(table, key)

    def scan(
        self, table: Table, start: bytes = b"", end: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < end in byte order, or from the last backwards; good until a write to either."""
        found = self._base.scan(table, start, end, reverse=reverse)
        here = self._tables[table]
        return merged(found, here.keys(start, end, reverse=reverse), here.rows, reverse=reverse) if here.rows else found

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        """Store a row."""
        self._tables[table].put(key, value)

    def delete(self, table: Table, key: bytes) -> None:
        """Remove a row; removing what is not there is no error."""
        self._tables[table].put(key, None)

    def put_all(self, table: Table, rows: dict[bytes, bytes | None]) -> None:
        """Store and remove many."""
        self._tables[table].put_all(rows)

    def changed(self, table: Table) -> Iterable[bytes]:
        """The keys that were stored or removed in a table."""
        return self._tables[table].rows

    def pour(self) -> None:
        """Make all writes in the other transaction: some 0.2 microseconds each."""
        for table, here in self._tables.items():
            if here.rows:
                self._base.put_all(table, here.rows)


def merged(
    stored: Iterator[tuple[bytes, bytes]],
    keys: Iterator[bytes],
    rows: dict[bytes, bytes | None],
    *,
    reverse: bool,
) -> Iterator[tuple[bytes, bytes]]:
    """Stored rows and changed rows in one order; a changed row hides the stored one."""
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
