"""A body of JSON objects, one behind the other, cut into them as it comes."""

import re

from core.api.v3.errors import Code, RpcError

LONGEST = 1 << 20
"""Bytes of one object; keys have 64 KiB at most."""

_outside = re.compile(rb'["{}]')
_inside = re.compile(rb'["\\]')
_blank = re.compile(rb"[ \t\r\n]*")


class Splitter:
    """Feed it pieces, take whole objects. Every byte is looked at once."""

    __slots__ = ("_data", "_depth", "_in_string", "_place", "_start")

    def __init__(self) -> None:
        self._data = b""
        self._start = 0
        """Where the object begins that comes next."""
        self._place = 0
        """What lies before this was looked at."""
        self._depth = 0
        self._in_string = False

    @property
    def held(self) -> int:
        """Bytes not taken yet."""
        return len(self._data) - self._start

    def feed(self, piece: bytes) -> None:
        """Add what came."""
        self._data = self._data[self._start :] + piece
        self._place -= self._start
        self._start = 0

    def next(self) -> bytes | None:
        """The next object, if all of it is here. RpcError 3 for what cannot be one."""
        data = self._data
        if self._depth == 0 and not self._begin():
            return None
        place = self._place
        while True:
            found = (_inside if self._in_string else _outside).search(data, place)
            if found is None:
                place = len(data)
                break
            at = found.start()
            mark = data[at]
            place = at + 1
            if mark == 0x5C:  # a backslash: the next byte stands for itself
                if place == len(data):
                    place = at
                    break
                place += 1
            elif mark == 0x22:
                self._in_string = not self._in_string
            elif mark == 0x7B:
                self._depth += 1
            else:
                self._depth -= 1
                if self._depth == 0:
                    whole = data[self._start : place]
                    self._start = self._place = place
                    return whole
        self._place = place
        if self.held > LONGEST:
            raise RpcError(Code.INVALID_ARGUMENT, f"a message has more than {LONGEST:,} bytes")
        return None

    def end(self) -> None:
        """The body ended. RpcError 3 in the middle of an object."""
        if self._depth:
            raise RpcError(Code.INVALID_ARGUMENT, "unexpected EOF")

    def _begin(self) -> bool:
        """Find the beginning of an object."""
        blank = _blank.match(self._data, self._start)
        self._start = self._start if blank is None else blank.end()
        self._place = self._start
        if self._start == len(self._data):
            return False
        if self._data[self._start] != 0x7B:
            found = self._data[self._start : self._start + 1].decode(errors="replace")
            raise RpcError(Code.INVALID_ARGUMENT, f"invalid character {found!r} looking for beginning of value")
        return True
