"""A hash of the state as of a revision, made in steps: members that hold the same have the same hash.

What is in it: every record that the compaction floor leaves, up to the revision, and which record each key and each
directory shows at it. Records have all that reads are answered from: values, versions, leases, deadlines; users, roles
and revoked certificates are records too. What is not: how a member lays its rows out (versions that moved to the OLDER
table, deletions swept sooner or later), what waits for a flush, and rows that only help to find records (deadlines,
attached keys, terms of leases). If those differ, the next expiry or write makes records that differ.

A hash that is carried along from entry to entry would cost nothing, but would tell only what was once applied. This one
reads what is there. So it finds what carrying along cannot: a record that a fault of the disk, of memory or of a
program changed behind the back of the rules, with the checksum of its row in order; and, as well, commands that did not
come to the same on all members. Its price is a scan, about 8 s of one core for a million keys, in slices.
"""

import hashlib
import struct

from core.kv import compaction
from core.kv.errors import CompactedError, FutureRevisionError
from core.kv.ledger import Ledger
from core.kv.records import POSITION, SPILLED
from core.kv.transaction import Table

STEP_BYTES = 256 << 10
"""A step ends behind so many bytes of rows: a millisecond or two."""
_LENGTH = struct.Struct(">I")
_TABLES = (Table.REVISION, Table.KEY, Table.DIRECTORY)


class Hashing:
    """One hash in the making. Writes may come between the steps, and a compaction too, as long as nothing that the old
    floor shows is swept and the new floor is not above the revision; else it ends with CompactedError."""

    def __init__(self, ledger: Ledger, revision: int = 0, floor: int = 0) -> None:
        """Of `revision` (0: the present one) as `floor` (0: the present one) leaves it. CompactedError or
        FutureRevisionError if the revision cannot be read."""
        if revision:
            ledger.check_readable(revision)
        if revision > ledger.revision:
            raise FutureRevisionError
        self.revision = revision or ledger.revision
        self.floor = floor or ledger.floor
        self._ledger = ledger
        self._rows = ledger.rows
        self._hash = hashlib.blake2b(digest_size=16)
        self._swept: bytes | None = None
        """Up to where the sweep for this floor went; None while it goes on."""
        self._table = 0
        self._next = b""

    @property
    def digest(self) -> bytes:
        """The hash, once `step` said that it is done: 16 bytes."""
        return self._hash.digest()

    @property
    def value(self) -> int:
        """The first 32 bits of it."""
        return int.from_bytes(self.digest[:4], "big")

    def step(self, limit: int = 250) -> bool:
        """Go on by at most so many rows; whether there is more to do."""
        ledger = self._ledger
        if ledger.rows is not self._rows or ledger.floor > max(self.floor, self.revision):
            raise CompactedError(ledger.floor)
        if self._swept is None:
            if compaction.sweep(ledger, limit, self.floor):
                ledger.save_numbers()
                return True
            self._swept = ledger.swept
            if self._swept >= POSITION.pack(self.floor, 0):
                raise CompactedError(ledger.floor)
        if ledger.swept != self._swept and self._table == 0:
            raise CompactedError(ledger.floor)
        left = limit
        while left and self._table < len(_TABLES):
            table = _TABLES[self._table]
            left = self._records(left) if table is Table.REVISION else self._shown(table, left)
            if left:
                self._table += 1
                self._next = b""
        return self._table < len(_TABLES)

    def _records(self, left: int) -> int:
        """Go on in the records; how many rows are left to look at then, 0 if there may be more records."""
        found: list[bytes] = []
        size = 0
        for position, row in self._rows.scan(Table.REVISION, self._next, POSITION.pack(self.revision + 1, 0)):
            if len(row) > 1 and row[1] & SPILLED:
                row = b"%c%c%b" % (row[0], row[1] & ~SPILLED, row[2:])
            found += position, _LENGTH.pack(len(row)), row
            size += len(row)
            left -= 1
            self._next = position + b"\0"
            if not left or size >= STEP_BYTES:
                left = 0
                break
        self._hash.update(b"".join(found))
        return left

    def _shown(self, table: Table, left: int) -> int:
        """Go on in the rows of a table; as above."""
        found: list[bytes] = [table.value.encode()] if not self._next else []
        for name, row in self._rows.scan(table, self._next):
            position = self._ledger.shown(row, self.revision)
            if position is not None:
                found += _LENGTH.pack(len(name)), name, position
            self._next = name + b"\0"
            left -= 1
            if not left:
                break
        self._hash.update(b"".join(found))
        return left
