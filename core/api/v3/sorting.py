"""Sorting a range by something else than its keys, in slices: sorted runs, merged when they are read.

What is held is a number or value and a position for each key, at most HELD_MAX bytes.
"""

from collections.abc import Callable, Iterator, Sequence
from heapq import merge
from operator import attrgetter, itemgetter
from typing import Any

from core.api.v3.errors import Code, RpcError
from core.kv.records import Record

HELD_MAX = 64 << 20
_ENTRY = 150
"""Bytes of memory that an entry takes besides its value."""
_BY: dict[int, Callable[[Record], Any]] = {
    1: attrgetter("version"),
    2: attrgetter("create_revision"),
    3: attrgetter("revision"),
    4: attrgetter("value"),
}
_first = itemgetter(0)


def ordered(records: list[Record], target: int, *, descending: bool) -> list[Record]:
    """A few records in that order."""
    return sorted(records, key=_BY[target], reverse=descending)


class Sorting:
    """Keys in the order of `target` (VERSION, CREATE, MOD, VALUE by number); those that are equal stay as they came."""

    def __init__(self, target: int, *, descending: bool) -> None:
        self._of = _BY[target]
        self._descending = descending
        self._runs: list[list[tuple[Any, bytes]]] = []
        self._held = 0

    def add(self, records: Sequence[Record]) -> None:
        """Take a slice of the range. RpcError 8 if it is too large to be sorted."""
        run = [(self._of(record), record.position) for record in records]
        for by, _ in run:
            self._held += _ENTRY + (len(by) if isinstance(by, bytes) else 0)
        if self._held > HELD_MAX:
            raise RpcError(
                Code.RESOURCE_EXHAUSTED,
                "etcdserver: too many keys to be sorted; ask for them in the order of keys, or for a smaller range",
            )
        run.sort(key=_first, reverse=self._descending)
        self._runs.append(run)

    def positions(self) -> Iterator[bytes]:
        """The positions of the versions, in order."""
        for _, position in merge(*self._runs, key=_first, reverse=self._descending):
            yield position
