"""Changed rows that lie over the stored ones, and the reads that see both as one."""

from collections.abc import Iterator

from sortedcontainers import SortedList


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

    def forget(self, limit: int) -> int:
        """Let go of some rows, for nobody reads these any more: to let go of all at once takes a while where they are
        many. How many are left."""
        self.ordered, self.fresh = SortedList(), []
        rows = self.rows
        for _ in range(min(limit, len(rows))):
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
