"""Flags as Go's flag package reads them, for names of other programs: one dash or two, `=` or the next word."""

from collections.abc import Mapping, Sequence

_TRUE, _FALSE = ("1", "t", "T", "true", "TRUE", "True"), ("0", "f", "F", "false", "FALSE", "False")


class FlagError(Exception):
    """Wrong usage, in Go's words."""


def parse(arguments: Sequence[str], flags: Mapping[str, bool]) -> tuple[dict[str, list[str]], list[str]]:
    """The values of the flags in front, by name, and the words behind them. `flags` says which are known, and whether
    they are switches, which stand for themselves and have the value `true` or `false`. FlagError."""
    found: dict[str, list[str]] = {}
    rest = list(arguments)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        name, mark, text = word.removeprefix("-").removeprefix("-").partition("=")
        if not name or name.startswith("-"):
            raise FlagError(f"bad flag syntax: {word}")
        if name not in flags:
            raise FlagError(f"flag provided but not defined: -{name}")
        if flags[name]:
            text = _boolean(text, name) if mark else "true"
        elif not mark:
            if not rest:
                raise FlagError(f"flag needs an argument: -{name}")
            text = rest.pop(0)
        found.setdefault(name, []).append(text)
    return found, rest


def _boolean(text: str, name: str) -> str:
    if text in _TRUE:
        return "true"
    if text in _FALSE:
        return "false"
    raise FlagError(f'invalid boolean value "{text}" for -{name}')
