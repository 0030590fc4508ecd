"""Slower with each failure: how long somebody must wait before the next guess at a password.

An attempt counts as a failure from its beginning, until it succeeds: a hundred guesses at once are a hundred guesses.
"""

import msgspec

FREE_FOR_USER = 3
"""Failures for one user from one address that cost nothing."""
FREE_FOR_ADDRESS = 20
"""Failures from one address for whatever users."""
FIRST_SECONDS = 0.5
LONGEST_FOR_USER = 60.0
LONGEST_FOR_ADDRESS = 8.0
"""Shorter: others behind the same address wait as well."""
FORGOTTEN_SECONDS = 900.0
ENTRIES = 4096

_Name = tuple[str, str]


class _Failures(msgspec.Struct):
    count: int
    last: float


class Throttle:
    """Failures by user and address, and by address. The table is bounded: the oldest entry goes."""

    def __init__(self) -> None:
        self._failures: dict[_Name, _Failures] = {}

    def begin(self, user: str, address: str, now: float) -> float:
        """Begin an attempt; how many seconds it is too early (0: go on), and then it is not counted."""
        wait = max(
            self._wait((user, address), FREE_FOR_USER, LONGEST_FOR_USER, now),
            self._wait(("", address), FREE_FOR_ADDRESS, LONGEST_FOR_ADDRESS, now),
        )
        if wait <= 0:
            self._count((user, address), now)
            self._count(("", address), now)
        return max(wait, 0.0)

    def succeeded(self, user: str, address: str) -> None:
        """The attempt was none of guessing."""
        self._failures.pop((user, address), None)
        others = self._failures.get(("", address))
        if others is not None:
            others.count -= 1

    def _wait(self, name: _Name, free: int, longest: float, now: float) -> float:
        found = self._failures.get(name)
        if found is None or found.count < free:
            return 0.0
        if now - found.last > FORGOTTEN_SECONDS:
            del self._failures[name]
            return 0.0
        pause = min(FIRST_SECONDS * (1 << min(found.count - free, 16)), longest)
        return found.last + pause - now

    def _count(self, name: _Name, now: float) -> None:
        found = self._failures.pop(name, None) or _Failures(0, now)
        found.count += 1
        found.last = now
        if len(self._failures) >= ENTRIES:
            del self._failures[next(iter(self._failures))]
        self._failures[name] = found  # the last to go
