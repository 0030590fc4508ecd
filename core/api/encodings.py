"""Bytes that many watches send: an event is encoded once, however many wait for it."""

from collections.abc import Callable, Hashable

KEPT = 8 << 20
"""Bytes kept, about; all are forgotten at once when there are more."""
_COST = 200
"""Bytes of memory that an entry takes beside its own."""


class Encodings:
    """Encoded events by whatever tells them apart, such as the position of their record in history."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, bytes] = {}
        self._size = 0

    def get(self, name: Hashable, encode: Callable[[], bytes]) -> bytes:
        """The bytes of that name, encoded if they are not here."""
        found = self._kept.get(name)
        if found is None:
            found = encode()
            self._size += len(found) + _COST
            if self._size > KEPT:
                self._kept.clear()
                self._size = len(found) + _COST
            self._kept[name] = found
        return found
