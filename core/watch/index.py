"""Which ranges hold a key: single keys by a dict, ranges of many keys by a tree that is never rebuilt.

A range is hung up where its two ends part: under the bytes they share, in the smallest binary interval of the next
symbol that holds both ends. All ranges in one such place hold the middle of that interval. So a key below the middle is
in those that begin at or before it, a key above in those that end behind it, and with the ranges in order of both ends
only hits are looked at. Opening and closing cost a few dict and list operations, whatever else is open; finding costs
a look-up for each length of shared bytes that occurs, and the hits.
"""

from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Generic, TypeVar

from sortedcontainers import SortedKeyList

DEEPEST = 256
"""Shared bytes that are looked at. Ranges that share more lie in one place, and all of them are looked through."""
_SYMBOLS = 9
"""Bits of a symbol: the end of a key (0), a byte (1 to 256), behind all bytes (257)."""

Member = TypeVar("Member")


class Group(Generic[Member]):
    """Everybody who watches the same range: key alone (`stop` None and `single`), or start <= key < stop."""

    __slots__ = ("members", "single", "start", "stop")

    def __init__(self, start: bytes, stop: bytes | None, *, single: bool) -> None:
        self.start = start
        self.stop = stop
        self.single = single
        self.members: set[Member] = set()


def _stop(group: Group[Member]) -> tuple[bool, bytes]:
    return (True, b"") if group.stop is None else (False, group.stop)


_start: Callable[[Group[Member]], bytes] = attrgetter("start")


class _Place(Generic[Member]):
    """The ranges that hold one middle."""

    __slots__ = ("by_start", "by_stop")

    def __init__(self) -> None:
        self.by_start: SortedKeyList[Group[Member], bytes] = SortedKeyList(key=_start)
        self.by_stop: SortedKeyList[Group[Member], tuple[bool, bytes]] = SortedKeyList(key=_stop)


_Where = tuple[int, int]
"""Height of a binary interval of symbols, and its number among those of this height."""


class RangeIndex(Generic[Member]):
    """Members by the key or range they watch. Do not add or discard while iterating over `find`."""

    def __init__(self) -> None:
        self._keys: dict[bytes, Group[Member]] = {}
        self._ranges: dict[tuple[bytes, bytes | None], Group[Member]] = {}
        self._places: dict[bytes, dict[_Where, _Place[Member]]] = {}
        self._lengths: dict[int, int] = {}
        """How many of `_places` have so many shared bytes."""

    def __bool__(self) -> bool:
        return bool(self._keys) or bool(self._ranges)

    def add(self, member: Member, key: bytes, end: bytes | None) -> None:
        """Add a member for a key alone (`end` None) or for start <= key < end; end `\\0` means all from `key` on."""
        if end is None:
            group = self._keys.get(key)
            if group is None:
                group = self._keys[key] = Group(key, None, single=True)
        else:
            stop = None if end == b"\0" else end
            group = self._ranges.get((key, stop))
            if group is None:
                group = self._ranges[key, stop] = Group(key, stop, single=False)
                self._hang_up(group)
        group.members.add(member)

    def discard(self, member: Member, key: bytes, end: bytes | None) -> bool:
        """Take a member out again, as it was added; whether it was there."""
        stop = None if end == b"\0" else end
        group = self._keys.get(key) if end is None else self._ranges.get((key, stop))
        if group is None or member not in group.members:
            return False
        group.members.remove(member)
        if not group.members:
            if group.single:
                del self._keys[key]
            else:
                del self._ranges[key, stop]
                self._take_down(group)
        return True

    def find(self, key: bytes) -> Iterator[Group[Member]]:
        """The groups that watch a key."""
        alone = self._keys.get(key)
        if alone is not None:
            yield alone
        for length in self._lengths:
            if length <= len(key):
                places = self._places.get(key[:length])
                if places is not None:
                    yield from _find(places, key, length)

    def members(self) -> Iterator[Member]:
        """Everybody."""
        for groups in (self._keys, self._ranges):
            for group in groups.values():
                yield from group.members

    def _hang_up(self, group: Group[Member]) -> None:
        shared, where = _where(group)
        places = self._places.get(shared)
        if places is None:
            places = self._places[shared] = {}
            self._lengths[len(shared)] = self._lengths.get(len(shared), 0) + 1
        place = places.setdefault(where, _Place())
        place.by_start.add(group)
        place.by_stop.add(group)

    def _take_down(self, group: Group[Member]) -> None:
        shared, where = _where(group)
        places = self._places[shared]
        place = places[where]
        place.by_start.remove(group)
        place.by_stop.remove(group)
        if not place.by_start:
            del places[where]
        if not places:
            del self._places[shared]
            self._lengths[len(shared)] -= 1
            if not self._lengths[len(shared)]:
                del self._lengths[len(shared)]


def _find(places: dict[_Where, _Place[Member]], key: bytes, length: int) -> Iterator[Group[Member]]:
    symbol = _symbol(key, length)
    for height in range(_SYMBOLS + 1):
        place = places.get((height, symbol >> height))
        if place is None:
            continue
        if height and symbol & 1 << height - 1:  # above the middle, where all have begun
            yield from place.by_stop.irange_key((False, key), None, inclusive=(False, True))
        else:
            for group in place.by_start.irange_key(None, key):
                if group.stop is None or key < group.stop:
                    yield group


def _where(group: Group[Member]) -> tuple[bytes, _Where]:
    """Shared bytes, and the smallest binary interval of the next symbol that holds both ends."""
    start, stop = group.start, group.stop
    if stop is None:
        shared = 0
        last = 257
    else:
        shared = _shared(start, stop)
        last = _symbol(stop, shared)
    first = _symbol(start, shared)
    height = (first ^ last).bit_length()
    return start[:shared], (height, first >> height)


def _shared(start: bytes, stop: bytes) -> int:
    """How many bytes both begin with, DEEPEST at most."""
    most = min(len(start), len(stop), DEEPEST)
    for at in range(most):
        if start[at] != stop[at]:
            return at
    return most


def _symbol(key: bytes, at: int) -> int:
    return key[at] + 1 if at < len(key) else 0
