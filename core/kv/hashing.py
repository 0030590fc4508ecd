"""A hash of the keyspace at a revision, made in steps: members that agree on what they hold agree on it.

It is a CRC-32 over what the compaction floor shows and over every change behind the floor. What compaction hides is not
in it: each member removes that at a pace of its own.
"""

import zlib

from core.kv.errors import CompactedError
from core.kv.ledger import Ledger
from core.kv.reading import check_revision
from core.kv.records import POSITION
from core.kv.transaction import Table


class Hashing:
    """One hash in the making. Other writes may come between the steps; a compaction ends it (CompactedError)."""

    def __init__(self, ledger: Ledger, revision: int) -> None:
        """CompactedError or FutureRevisionError if the revision cannot be read."""
        if revision:
            check_revision(ledger, revision)
        self._ledger = ledger
        self.revision = revision or ledger.revision
        self.floor = ledger.floor
        self.value = 0
        """The hash, once `step` said that it is done: 32 bits."""
        self._tables: list[Table | None] = [Table.KEY, Table.DIRECTORY, None]
        self._next = b""

    def step(self, limit: int = 500) -> bool:
        """Go on by at most so many rows; whether there is more to do."""
        if self._ledger.floor != self.floor:
            raise CompactedError(self._ledger.floor)
        table = self._tables[0]
        more = self._changes(limit) if table is None else self._shown(table, limit)
        if not more:
            self._tables.pop(0)
            self._next = b"" if self._tables and self._tables[0] else POSITION.pack(self.floor + 1, 0)
        return bool(self._tables)

    def _shown(self, table: Table, limit: int) -> bool:
        """Versions that the floor shows. What is written in between shows nothing there."""
        for count, (name, row) in enumerate(self._ledger.rows.scan(table, self._next)):
            if count == limit:
                return True
            self._next = name + b"\0"
            position = self._ledger.shown(row, self.floor)
            if position is not None:
                self._add(position, self._ledger.rows.get(Table.REVISION, position) or b"")
        return False

    def _changes(self, limit: int) -> bool:
        end = POSITION.pack(self.revision + 1, 0)
        for count, (position, row) in enumerate(self._ledger.rows.scan(Table.REVISION, self._next, end)):
            if count == limit:
                return True
            self._next = position + b"\0"
            self._add(position, row)
        return False

    def _add(self, position: bytes, row: bytes) -> None:
        self.value = zlib.crc32(row, zlib.crc32(position, self.value))
