"""Who is matched by whose patterns, and on which machines: the index behind Conflicts= and Replaces=.

A pattern is looked up by what its matches begin with, so a new name is held against few patterns; and each pattern
counts the placed units it matches by machine, so that a conflict is found without looking at what runs there.
"""

import msgspec

from core.sched import globs


class Pattern(msgspec.Struct, eq=False, gc=False):
    """One pattern, shared by all units that have it."""

    text: str
    owners: int = 0
    """Units that have it, placed or not."""
    matched: dict[str, int] = {}
    """How many placed units it matches, by machine."""
    conflicting: dict[str, int] = {}
    """How many placed units have it in Conflicts=, by machine."""
    replacing: dict[str, set[str]] = {}
    """Which placed units have it in Replaces=, by machine."""

    def matches(self, name: str) -> bool:
        return globs.matches(self.text, name)


class Patterns:
    """All patterns of the units that are wanted."""

    def __init__(self) -> None:
        self.version = 0
        """Changes with every pattern that comes or goes, and with nothing else."""
        self._by_text: dict[str, Pattern] = {}
        self._exact: dict[str, Pattern] = {}
        self._by_start: dict[str, list[Pattern]] = {}

    def get(self, text: str) -> Pattern | None:
        return self._by_text.get(text)

    def acquire(self, text: str) -> tuple[Pattern, bool]:
        """The pattern, for one more unit that has it; and whether it is new, and does not know yet what it matches."""
        pattern = self._by_text.get(text)
        new = pattern is None
        if pattern is None:
            pattern = self._by_text[text] = Pattern(text, matched={}, conflicting={}, replacing={})
            start, exact = globs.literal(text)
            if exact:
                self._exact[text] = pattern
            else:
                self._by_start.setdefault(start, []).append(pattern)
            self.version += 1
        pattern.owners += 1
        return pattern, new

    def release(self, pattern: Pattern) -> bool:
        """One unit less has it; whether it was the last."""
        pattern.owners -= 1
        if pattern.owners:
            return False
        del self._by_text[pattern.text]
        start, exact = globs.literal(pattern.text)
        if exact:
            del self._exact[pattern.text]
        else:
            self._by_start[start].remove(pattern)
            if not self._by_start[start]:
                del self._by_start[start]
        self.version += 1
        return True

    def matching(self, name: str) -> tuple[Pattern, ...]:
        """Every pattern that matches a name."""
        found = [self._exact[name]] if name in self._exact else []
        if self._by_start:
            for length in range(len(name) + 1):
                for pattern in self._by_start.get(name[:length], ()):
                    if pattern.matches(name):
                        found.append(pattern)
        return tuple(found)
