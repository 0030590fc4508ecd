"""Which of two versions is later: numbers by value, words by letters, and what has a `-` or `~` before what has not."""

import re
from functools import lru_cache

_PART = re.compile(r"\d+|[A-Za-z]+")
_BEFORE = re.compile("[-~]")

Key = tuple[tuple[tuple[int, int, str], ...], int, tuple[tuple[int, int, str], ...]]


@lru_cache(maxsize=4096)
def key(version: str) -> Key:
    """What to sort versions by: `1.9 < 1.10-rc1 < 1.10 < 1.10.1`."""
    main, *rest = _BEFORE.split(version, maxsplit=1)
    parts = _parts(main)
    while parts and parts[-1] == (1, 0, ""):
        parts = parts[:-1]  # 1.0 and 1.0.0 are one version
    return parts, 0 if rest else 1, _parts(rest[0]) if rest else ()


def _parts(text: str) -> tuple[tuple[int, int, str], ...]:
    return tuple((1, int(each), "") if each.isdigit() else (0, 0, each) for each in _PART.findall(text))
