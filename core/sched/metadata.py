"""Conditions on a machine's metadata: `MachineMetadata=`.

    zone=a        equal; several of one key mean any of them, as in fleet
    zone in a, b  any of them (`zone in (a, b)` too)
    zone!=a       another value, or none
    zone not in a, b
    disk>=200G    also > <= <; a number, with K M G T P E in powers of 1024
    ssd           the key is there with any value
    !ssd          it is not

All conditions must hold.
"""

import re
from collections.abc import Mapping

import msgspec

_KEY = r"[A-Za-z0-9_.\-/]+"
_COMPARED = re.compile(rf"({_KEY})\s*(!=|>=|<=|>|<|=)\s*(.*)", re.DOTALL)
_LISTED = re.compile(rf"({_KEY})\s+(in|not\s+in)\s*(?:\s|(?=\())(.*)", re.DOTALL)
_PRESENT = re.compile(rf"(!?)\s*({_KEY})")
_NUMBER = re.compile(r"([+-]?[0-9]+(?:\.[0-9]+)?)([KMGTPE]?)")
_POWER = {letter: 1024**power for power, letter in enumerate("KMGTPE", 1)} | {"": 1}


class ConditionError(ValueError):
    """This is no condition, or a set of them that no machine can meet."""


class Condition(msgspec.Struct, gc=False, frozen=True):
    """One condition on one key."""

    key: str
    operator: str
    """`in`, `not in`, `>=`, `<=`, `>`, `<`, `exists` or `absent`."""
    values: tuple[str, ...] = ()
    number: float = 0.0
    """Of the four comparisons."""

    def holds(self, metadata: Mapping[str, str]) -> bool:
        value = metadata.get(self.key)
        match self.operator:
            case "in":
                return value in self.values
            case "not in":
                return value not in self.values
            case "exists":
                return value is not None
            case "absent":
                return value is None
        found = None if value is None else number(value)
        if found is None:
            return False
        match self.operator:
            case ">=":
                return found >= self.number
            case "<=":
                return found <= self.number
            case ">":
                return found > self.number
            case _:
                return found < self.number

    def __str__(self) -> str:
        match self.operator:
            case "in":
                return f"{self.key}={self.values[0]}" if len(self.values) == 1 else f"{self.key} in {self._list()}"
            case "not in":
                return f"{self.key}!={self.values[0]}" if len(self.values) == 1 else f"{self.key} not in {self._list()}"
            case "exists":
                return f"{self.key} to be there"
            case "absent":
                return f"{self.key} not to be there"
        return f"{self.key}{self.operator}{self.values[0]}"

    def _list(self) -> str:
        return "(" + ", ".join(self.values) + ")"


def number(text: str) -> float | None:
    """The number in a value, such as 8, 2.5 or 16G; None if it is none."""
    match = _NUMBER.fullmatch(text)
    return None if match is None else float(match[1]) * _POWER[match[2]]


def parse(text: str) -> Condition:
    """One condition. ConditionError with a sentence for people."""
    text = text.strip()
    listed = _LISTED.fullmatch(text)
    if listed is not None:
        operator = "in" if listed[2] == "in" else "not in"
        return Condition(listed[1], operator, _values(text, listed[3]))
    compared = _COMPARED.fullmatch(text)
    if compared is not None:
        return _comparison(text, compared[1], compared[2], compared[3].strip())
    present = _PRESENT.fullmatch(text)
    if present is None:
        raise ConditionError(f"{text!r} is no condition on metadata; write it like zone=a, zone!=a, disk>=200G, ssd")
    return Condition(present[2], "absent" if present[1] else "exists")


def _comparison(text: str, key: str, operator: str, value: str) -> Condition:
    if not value:
        raise ConditionError(f"{text!r} compares with nothing; {key} alone asks whether the key is there")
    if operator in ("=", "!="):
        return Condition(key, "in" if operator == "=" else "not in", (value,))
    found = number(value)
    if found is None:
        raise ConditionError(f"{text!r} compares with {value!r}, which is no number; write it like disk>=200G")
    return Condition(key, operator, (value,), found)


def _values(text: str, listed: str) -> tuple[str, ...]:
    listed = listed.strip()
    if listed.startswith("(") != listed.endswith(")"):
        raise ConditionError(f"{text!r} has one parenthesis without the other")
    values = tuple(value.strip() for value in listed.strip("()").split(","))
    if not all(values):
        raise ConditionError(f"{text!r} has an empty value in its list; write it like zone in (a, b)")
    return values


def combine(conditions: list[Condition]) -> tuple[Condition, ...]:
    """Conditions all of which must hold: equalities of one key become one. ConditionError if nothing can meet them."""
    equal: dict[str, list[str]] = {}
    others: list[Condition] = []
    for condition in conditions:
        if condition.operator == "in":
            equal.setdefault(condition.key, []).extend(condition.values)
        elif condition not in others:
            others.append(condition)
    for key in {condition.key: None for condition in conditions}:
        _check(key, equal.get(key), [condition for condition in others if condition.key == key])
    return (*(Condition(key, "in", tuple(dict.fromkeys(values))) for key, values in equal.items()), *others)


def _check(key: str, values: list[str] | None, others: list[Condition]) -> None:
    """Whether some value, or none, of one key can meet all."""
    words = " and ".join(map(str, others))
    if values is not None:
        if not any(all(condition.holds({key: value}) for condition in others) for value in values):
            raise ConditionError(f"no machine can have {Condition(key, 'in', tuple(values))} and {words}")
        return
    operators = {condition.operator for condition in others}
    if "absent" in operators and operators - {"absent", "not in"}:
        raise ConditionError(f"no machine can have {words}")
    low = [(condition.number, condition.operator == ">") for condition in others if condition.operator in (">", ">=")]
    high = [(condition.number, condition.operator == "<") for condition in others if condition.operator in ("<", "<=")]
    if low and high:
        (bottom, above), (top, below) = max(low), min(high, key=lambda bound: (bound[0], not bound[1]))
        if bottom > top or (bottom == top and (above or below)):
            raise ConditionError(f"no machine can have {words}")
