"""The ordered maps of the state machine in memory: the twin of the store on disk, for tests and for trying out."""

from collections.abc import Iterator, Mapping

from sortedcontainers import SortedDict

from core.kv.changed import Rows
from core.kv.transaction import Table


class MemoryStore:
    """A `core.kv.transaction.Transaction` that forgets everything at its end."""

    def __init__(self) -> None:
        self._tables: dict[Table, SortedDict[bytes, bytes]] = {table: SortedDict() for table in Table}

    def get(self, table: Table, key: bytes) -> bytes | None:
        """The value at `key`, or None."""
        return self._tables[table].get(key)

    def scan(
        self, table: Table, start: bytes = b"", end: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < end in byte order, or from the last backwards; good until the next write."""
        rows = self._tables[table]
        for key in rows.irange(start, end, inclusive=(True, False), reverse=reverse):
            yield key, rows[key]

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        """Store a row."""
        self._tables[table][key] = value

    def delete(self, table: Table, key: bytes) -> None:
        """Remove a row; removing what is not there is no error."""
        self._tables[table].pop(key, None)

    def take_over(self, changed: Mapping[Table, Rows], size: int) -> None:
        """Make all these changes, one after the other."""
        for table, rows in changed.items():
            for key, value in rows.rows.items():
                if value is None:
                    self.delete(table, key)
                else:
                    self.put(table, key, value)
