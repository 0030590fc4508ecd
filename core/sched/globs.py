"""Patterns on names of units, as fleet had them (Go's path.Match): `*`, `?`, `[a-z]`, `[^a-z]`, and a backslash."""

import re
from functools import lru_cache

LONGEST = 255
MOST_STARS = 8

_SPECIAL = re.compile(r"[*?\[\\]")


class GlobError(ValueError):
    """This is no pattern; the text says why."""


@lru_cache(maxsize=65_536)
def compiled(pattern: str) -> re.Pattern[str]:
    """A regular expression that matches the whole of what the pattern matches. GlobError."""
    parts = _parts(pattern)
    if len(parts) == 1:
        return re.compile(parts[0])
    # Each part between two stars is looked for once, from the left: no pattern takes more than quadratic time.
    middle = "".join(f"(?>[^/]*?{part})" for part in parts[1:-1] if part)
    return re.compile(f"{parts[0]}{middle}[^/]*{parts[-1]}")


def check(pattern: str) -> None:
    """GlobError if it is none, or one that takes long to look for."""
    if len(pattern) > LONGEST:
        raise GlobError(f"the pattern {pattern[:40]!r}… is longer than {LONGEST} letters, and so than any name")
    if len(_parts(pattern)) > MOST_STARS + 1:
        raise GlobError(f"the pattern {pattern!r} has more than {MOST_STARS} stars")


def _parts(pattern: str) -> list[str]:
    """What stands between the stars, each as a regular expression."""
    parts, at = [""], 0
    while at < len(pattern):
        letter = pattern[at]
        at += 1
        if letter == "*":
            parts.append("")
        elif letter == "?":
            parts[-1] += "[^/]"
        elif letter == "[":
            part, at = _set(pattern, at)
            parts[-1] += part
        else:
            if letter == "\\":
                letter, at = _escaped(pattern, at)
            parts[-1] += re.escape(letter)
    return parts


def _escaped(pattern: str, at: int) -> tuple[str, int]:
    if at == len(pattern):
        raise GlobError(f"the pattern {pattern!r} ends in a backslash")
    return pattern[at], at + 1


def _set(pattern: str, at: int) -> tuple[str, int]:
    """A set of characters, from behind its `[`."""
    begin = at
    negated = pattern.startswith("^", at)
    at += negated
    ranges = ""
    while True:
        if at >= len(pattern):
            raise GlobError(f"the pattern {pattern!r} has a [ without its ]")
        if pattern[at] == "]" and ranges:
            return f"[{'^' if negated else ''}{ranges}]", at + 1
        low, at = _member(pattern, at, begin)
        high = low
        if pattern.startswith("-", at):
            high, at = _member(pattern, at + 1, begin)
        if low > high:
            raise GlobError(f"the pattern {pattern!r} has a range that runs backwards")
        ranges += f"{re.escape(low)}-{re.escape(high)}"


def _member(pattern: str, at: int, begin: int) -> tuple[str, int]:
    if at >= len(pattern) or pattern[at] in "-]":
        raise GlobError(f"the pattern {pattern!r} has a set that cannot be read at {pattern[begin - 1 :]!r}")
    if pattern[at] == "\\":
        return _escaped(pattern, at + 1)
    return pattern[at], at + 1


def matches(pattern: str, name: str) -> bool:
    return compiled(pattern).fullmatch(name) is not None


def literal(pattern: str) -> tuple[str, bool]:
    """What every match begins with, and whether that is all there is to it."""
    special = _SPECIAL.search(pattern)
    return (pattern, True) if special is None else (pattern[: special.start()], False)
