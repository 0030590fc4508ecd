"""Commands of much work, carried out step by step: between two steps whoever applies them can do something else."""

from collections import deque
from collections.abc import Generator, Iterator
from itertools import islice
from typing import TypeVar

from core.kv.transaction import Reader, Table

_Outcome = TypeVar("_Outcome")
_Item = TypeVar("_Item")

Steps = Generator[None, None, _Outcome]
"""Work that yields after each step and returns its outcome at the end."""

CHANGES = 32
"""Changes of one step: one or two milliseconds."""
_FIRST_ROWS = 16
_MOST_ROWS = 512


def finish(work: Steps[_Outcome]) -> _Outcome:
    """All of it at once."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            outcome: _Outcome = end.value
            return outcome


def scan(rows: Reader, table: Table, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
    """Rows with start <= key < end, in pieces that are sought anew: other than `Reader.scan` this goes on behind writes
    and flushes, and sees what was written behind the piece it is at."""
    size = _FIRST_ROWS
    while True:
        piece = list(islice(rows.scan(table, start, end), size))
        yield from piece
        if len(piece) < size:
            return
        start = piece[-1][0] + b"\0"
        size = min(2 * size, _MOST_ROWS)


def taken(queue: deque[_Item]) -> Iterator[_Item]:
    """What is in a queue, each let go of as it is taken: all of many at the end would take a while."""
    while queue:
        yield queue.popleft()
