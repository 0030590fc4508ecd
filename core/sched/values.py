"""Values of options as systemd reads them: booleans, time spans (systemd.time(7)), sizes, percentages."""

import math
import re


class ValueFormError(ValueError):
    """This is no value of that form; the text says what would be one."""


_YES = frozenset({"1", "yes", "y", "true", "t", "on"})
_NO = frozenset({"0", "no", "n", "false", "f", "off"})

_MICROSECONDS = {
    1: ("usec", "us", "µs", "μs"),
    1_000: ("msec", "ms"),
    1_000_000: ("seconds", "second", "sec", "s"),
    60_000_000: ("minutes", "minute", "min", "m"),
    3_600_000_000: ("hours", "hour", "hr", "h"),
    86_400_000_000: ("days", "day", "d"),
    604_800_000_000: ("weeks", "week", "w"),
    2_629_800_000_000: ("months", "month", "M"),
    31_557_600_000_000: ("years", "year", "y"),
}
_UNIT = {word: size for size, words in _MICROSECONDS.items() for word in words}
_WHITE = " \t\n\r"
_SPAN = re.compile(
    rf"[{_WHITE}]*\+?([0-9]*)(?:\.([0-9]+))?[{_WHITE}]*"
    rf"({'|'.join(sorted(map(re.escape, _UNIT), key=len, reverse=True))})?"
)
_LONGEST_SPAN = 2**64 - 1
_LONGEST = 200
"""Characters of a value. Python makes no number of some thousand digits, and no float of some hundred."""

_SIZE = re.compile(rf"[{_WHITE}]*\+?([0-9]+)(?:\.([0-9]+))?[{_WHITE}]*([BKMGTPE]?)")
_POWER = {letter: 1024**power for power, letter in enumerate("BKMGTPE")} | {"": 1}
_PERCENT = re.compile(r"([0-9]+)(?:\.([0-9]{1,2}))?%")


def boolean(text: str) -> bool:
    """1 yes y true t on, 0 no n false f off, in any case."""
    word = text.lower()
    if word in _YES:
        return True
    if word in _NO:
        return False
    raise ValueFormError(f"{text!r} is neither yes nor no")


def time_span(text: str, default: str = "s") -> float:
    """Seconds in `1min 20s`, `500ms`, `1.5h`, `infinity` (math.inf); a number alone is of the unit `default`."""
    if text.strip(_WHITE) == "infinity":
        return math.inf
    if len(text) > _LONGEST:
        raise _no_span(text)
    total, at, end = 0, 0, len(text.rstrip(_WHITE))
    while at < end:
        match = _SPAN.match(text, at, end)
        if match is None or match.end() == at or not (match[1] or match[2]):
            raise _no_span(text)
        if match[3] is None and match.end() < end and text[match.end() - 1] not in _WHITE:
            raise _no_span(text)
        unit = _UNIT[match[3] or default]
        total += int(match[1] or 0) * unit
        for digit in match[2] or "":
            unit //= 10
            total += int(digit) * unit
        at = match.end()
    if not end or total > _LONGEST_SPAN:
        raise _no_span(text)
    return total / 1_000_000


def _no_span(text: str) -> ValueFormError:
    return ValueFormError(f"{text[:_LONGEST]!r} is no time span; write it like 90, 1min 30s, 500ms or infinity")


def size(text: str) -> int | None:
    """Bytes in `512M`, `1.5G`, `1G 512M`, in powers of 1024; None for `infinity`."""
    if text == "infinity":
        return None
    if len(text) > _LONGEST:
        raise _no_size(text)
    total, at, end, last = 0.0, 0, len(text.rstrip(_WHITE)), math.inf
    while at < end:
        match = _SIZE.match(text, at, end)
        if match is None or _POWER[match[3]] >= last:
            raise _no_size(text)
        last = _POWER[match[3]]
        total += (int(match[1]) + (int(match[2]) / 10 ** len(match[2]) if match[2] else 0)) * last
        at = match.end()
        if last == 1 and at < end:
            raise _no_size(text)
    if not end or total >= 2**64:
        raise _no_size(text)
    return int(total)


def _no_size(text: str) -> ValueFormError:
    return ValueFormError(f"{text[:_LONGEST]!r} is no size; write it like 4096, 512M, 1.5G or infinity")


def percentage(text: str) -> float:
    """`150%` as 1.5."""
    match = _PERCENT.fullmatch(text)
    if match is None or len(text) > _LONGEST:
        raise ValueFormError(f"{text[:_LONGEST]!r} is no percentage; write it like 50% or 12.5%")
    return (int(match[1]) * 100 + int((match[2] or "").ljust(2, "0"))) / 10_000


def size_or_share(text: str, whole: int) -> int | None:
    """As `size`, or `25%` of `whole` bytes."""
    return int(percentage(text) * whole) if text.endswith("%") else size(text)
