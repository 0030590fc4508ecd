"""When a host may reboot: a time of day or of the week, and how long from then on, as locksmith writes it.

The start is `HH:MM` or `Ddd HH:MM` in the host's local time, the length one of Go's durations, as `1h30m`.
"""

import re
from datetime import datetime, timedelta

import msgspec

_START = re.compile(r"(?:([A-Za-z]{3}) +)?(\d{1,2}):(\d{2})")
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|m|s|us|µs|ns)")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DAY, _WEEK = timedelta(days=1), timedelta(days=7)


class WindowError(ValueError):
    """What was written is no window; the text says what is expected."""


class Window(msgspec.Struct, frozen=True):
    """A time that comes back each day or each week. It may cross midnight, and the end of the week."""

    weekday: int | None
    """0 is Monday; None: each day."""
    hour: int
    minute: int
    length: timedelta

    @property
    def period(self) -> timedelta:
        """How often it comes back."""
        return _DAY if self.weekday is None else _WEEK

    def began(self, now: datetime) -> datetime:
        """The last time it began, at `now` or before."""
        start = now.replace(hour=self.hour, minute=self.minute, second=0, microsecond=0)
        if self.weekday is not None:
            start -= timedelta(days=(now.weekday() - self.weekday) % 7)
        return start - self.period if start > now else start

    def holds(self, now: datetime) -> bool:
        """Whether a host may reboot now; the last moment belongs to it."""
        return now <= self.began(now) + self.length

    def wait(self, now: datetime) -> timedelta:
        """How long until it holds; zero if it does."""
        return timedelta() if self.holds(now) else self.began(now) + self.period - now


def parse(start: str, length: str) -> Window:
    """A window from its two settings. WindowError."""
    found = _START.fullmatch(start.strip())
    if found is None or int(found[2]) > 23 or int(found[3]) > 59:
        raise WindowError(f"{start!r} is no start of a window; write it like 14:00 or Thu 23:00")
    weekday = None
    if found[1] is not None:
        if found[1].lower() not in _DAYS:
            raise WindowError(f"{found[1]!r} is no day of the week; write Mon, Tue, Wed, Thu, Fri, Sat or Sun")
        weekday = _DAYS.index(found[1].lower())
    window = Window(weekday, int(found[2]), int(found[3]), _duration(length))
    if not timedelta() < window.length < window.period:
        raise WindowError(f"{length!r} is no length of a window: it is longer than nothing and shorter than what "
                          f"lies between two of them, {'a day' if weekday is None else 'a week'}")  # fmt: skip
    return window


def _duration(text: str) -> timedelta:
    rest, seconds = text.strip(), 0.0
    while rest:
        part = _PART.match(rest)
        if part is None:
            break
        seconds += float(part[1]) * _UNITS[part[2]]
        rest = rest[part.end() :]
    if rest or not text.strip():
        raise WindowError(f"{text!r} is no length of time; write it like 1h30m")
    return timedelta(seconds=seconds)
