"""Changed rows that lie over the stored ones, and the reads that see both as one."""

from collections.abc import Iterator
from itertools import islice

from sortedcontainers import SortedList


class Rows:
    """Changed rows of one table."""

    __slots__ = ("_ordered", "rows")

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes | None] = {}
        """None for a deletion. Whoever changes a row puts it in here, and takes none out."""
        self._ordered: SortedList[bytes] = SortedList()
        """The first of the keys: the rest is put in order when somebody scans, which is seldom."""

    def keys(self, start: bytes, end: bytes | None, *, reverse: bool) -> Iterator[bytes]:
        """The keys of a range, in order."""
        ordered = self._ordered
        if len(ordered) < len(self.rows):
            ordered.update(islice(self.rows, len(ordered), None))
        found: Iterator[bytes] = ordered.irange(start, end, inclusive=(True, False), reverse=reverse)
        return found

    def forget(self, limit: int) -> int:
        """Let go of some rows, for nobody reads these any more: to let go of all at once takes a while where they are
        many. How many are left."""
        self._ordered = SortedList()
        rows = self.rows
        if len(rows) <= limit:
            rows.clear()
        else:
            for _ in range(limit):
                rows.popitem()
        return len(rows)


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
