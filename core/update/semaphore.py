"""The counting lock of reboots as a value, and the JSON in which locksmith keeps it.

`{"semaphore":1,"max":1,"holders":null}`: how many may still take it, how many may hold it in all, and who does.
"""

from collections.abc import Iterable
from typing import Self

import msgspec


class SemaphoreError(Exception):
    """The lock cannot be had or let go; the text is locksmith's."""


class Semaphore(msgspec.Struct, frozen=True):
    """Hosts that may reboot at the same time."""

    semaphore: int = 1
    """Free places; below 0 if `max` was lowered while more than that held it."""
    max: int = 1
    holders: tuple[str, ...] = ()
    """Machine ids, in order."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """SemaphoreError if it is none. Holders may be null."""
        try:
            found = msgspec.json.decode(data, type=_Stored)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise SemaphoreError(f"what is stored there is no semaphore: {error}") from None
        return cls(found.semaphore, found.max, tuple(found.holders or ()))

    def encode(self) -> bytes:
        """As locksmith writes it."""
        return msgspec.json.encode(_Stored(self.semaphore, self.max, list(self.holders) or None))

    def taken(self, holder: str) -> Self:
        """With one more holder; the same if it is one already. SemaphoreError if no place is free."""
        if holder in self.holders:
            return self
        if self.semaphore <= 0:
            raise SemaphoreError(f"semaphore is at {self.semaphore}")
        return self._with(self.semaphore - 1, (*self.holders, holder))

    def let_go(self, holder: str) -> Self:
        """Without a holder. SemaphoreError if it is none."""
        if holder not in self.holders:
            raise SemaphoreError("holder does not exist")
        return self._with(self.semaphore + 1, (each for each in self.holders if each != holder))

    def resized(self, most: int) -> Self:
        """With another `max`. Nobody is thrown out; then there may be fewer than no free places."""
        return msgspec.structs.replace(self, max=most, semaphore=self.semaphore + most - self.max)

    def _with(self, free: int, holders: Iterable[str]) -> Self:
        return msgspec.structs.replace(self, semaphore=free, holders=tuple(sorted(holders)))


class _Stored(msgspec.Struct):
    semaphore: int
    max: int
    holders: list[str] | None = None
