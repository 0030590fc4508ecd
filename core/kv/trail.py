"""History of a few keys or directories, read from their own rows: what happened to all the others costs nothing."""

import heapq
from collections.abc import Iterator, Sequence

from core.kv import records, rows
from core.kv.ledger import Ledger
from core.kv.records import POSITION, Record
from core.kv.transaction import Table


def after(position: bytes) -> bytes:
    """The position that follows."""
    return (int.from_bytes(position, "big") + 1).to_bytes(12, "big")


def first_of(ledger: Ledger, revision: int) -> bytes:
    """The position from which on records have that v3 revision or a later one. The changes of one command share the
    last of their indexes as revision, so it may be an earlier index."""
    low, high = 0, revision
    before = next(ledger.rows.scan(Table.REVISION, b"", POSITION.pack(high, 0), reverse=True), None)
    if before is None or records.decode(*before).revision < revision:
        return POSITION.pack(high, 0)
    while high - low > 1:
        middle = (low + high) // 2
        found = next(ledger.rows.scan(Table.REVISION, POSITION.pack(middle, 0)), None)
        if found is None or records.decode(*found).revision >= revision:
            high = middle
        else:
            low = middle
    return POSITION.pack(high, 0)


class Trail:
    """The versions of one row from a position on, oldest first, good across writes.

    A row names its older versions in chunks, the newest first. So the way down to the chunk where reading begins comes
    before the first version; it is walked one chunk a step.
    """

    __slots__ = ("_down", "_found", "_key", "_last_chunk", "_ledger", "_next", "_table", "_up")

    def __init__(self, ledger: Ledger, table: Table, key: bytes, start: bytes) -> None:
        self._ledger = ledger
        self._table = table
        self._key = key
        self._next = start
        self._down: bytes | None = None
        """The chunk to look at next on the way down."""
        self._up: list[bytes] = []
        """Chunks passed on the way down, to be read on the way up."""
        self._last_chunk = rows.EMPTY
        """The chunk read last: it and what is below it are done."""
        self._found: list[bytes] = []
        """Positions that come next, the first at the end."""

    @property
    def head(self) -> bytes | None:
        """Position of the next version, once `step` returns False; None: there is none for now."""
        return self._found[-1] if self._found else None

    def step(self) -> bool:
        """Look at one row more; False if that is not needed, because `head` is known."""
        if self._found:
            return False
        get = self._ledger.rows.get
        if self._down is not None:
            self._descend(self._down)
            return True
        if self._up:
            self._last_chunk = self._up.pop()
            self._take(get(Table.OLDER, self._last_chunk))
            return True
        row = get(self._table, self._key)
        if row is not None and rows.newest(row) >= self._next:
            self._down = self._below(row)
            if self._down is not None:
                return True
            self._take(row)
        return False

    def pop(self) -> Record:
        """The version at `head`."""
        position = self._found.pop()
        self._next = after(position)
        return self._ledger.existing(position)

    def _descend(self, pointer: bytes) -> None:
        chunk = self._ledger.rows.get(Table.OLDER, pointer)
        if chunk is None:  # compacted away
            self._last_chunk = pointer
            self._down = None
        else:
            self._up.append(pointer)
            self._down = self._below(chunk)

    def _below(self, row: bytes) -> bytes | None:
        """The chunk below a row, if it may hold what comes next."""
        chunk = rows.older(row)
        if chunk == self._last_chunk or rows.positions(row)[0] <= self._next:
            return None
        return chunk

    def _take(self, row: bytes | None) -> None:
        """Keep the positions of a row that are still to come; a chunk that is gone was compacted away."""
        if row is not None:
            self._found = [position for position in reversed(rows.positions(row)) if position >= self._next]


def merged(trails: Sequence[Trail]) -> Iterator[Record | None]:
    """The versions of all trails in order of their positions. Good until the next write; None where it looked at a row
    and has no version yet, so that a caller can count work. What was not drawn stays in the trails."""
    heads: list[tuple[bytes, int]] = []
    for number, trail in enumerate(trails):
        while trail.step():
            yield None
        if trail.head is not None:
            heads.append((trail.head, number))
    heapq.heapify(heads)
    while heads:
        _, number = heads[0]
        trail = trails[number]
        yield trail.pop()
        while trail.step():
            yield None
        if trail.head is None:
            heapq.heappop(heads)
        else:
            heapq.heapreplace(heads, (trail.head, number))
