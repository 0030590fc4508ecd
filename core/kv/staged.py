"""Writes that wait before the rows they will change, until all of them are made at once."""

from collections.abc import Collection, Iterator, Mapping

from core.kv.changed import Rows, merged
from core.kv.transaction import Table, Transaction


class Staged:
    """A `core.kv.transaction.Transaction` over another one, which sees nothing of it until `pour`."""

    def __init__(self, base: Transaction) -> None:
        self._base = base
        self._tables = {table: Rows() for table in Table}
        self._size = 0

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
        self._tables[table].rows[key] = value
        self._size += len(key) + len(value)

    def delete(self, table: Table, key: bytes) -> None:
        """Remove a row; removing what is not there is no error."""
        self._tables[table].rows[key] = None
        self._size += len(key)

    def take_over(self, changed: Mapping[Table, Rows], size: int) -> None:
        """Make many changes at once."""
        for table, rows in changed.items():
            self._tables[table].rows.update(rows.rows)
        self._size += size

    def changed(self, table: Table) -> Collection[bytes]:
        """The keys that were stored or removed in a table."""
        return self._tables[table].rows

    def pour(self) -> None:
        """Make all writes in the other transaction, and begin anew."""
        changed, self._tables = self._tables, {table: Rows() for table in Table}
        size, self._size = self._size, 0
        self._base.take_over(changed, size)
