"""Command lines (ExecStart= and its kin) and environments (Environment=) as systemd reads them."""

import re
from collections.abc import Callable, Generator
from typing import TypeVar

import msgspec

from core.sched import words

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\udc80-\udcff]")
"""Also what is no UTF-8."""
SLICE = 500
"""Words between two pauses: about a millisecond."""

T = TypeVar("T")


class CommandError(ValueError):
    """This is no command line, or no assignment; the text says why."""


class Command(msgspec.Struct, frozen=True):
    """One command, its variables not yet replaced."""

    path: str
    """What is run. If it is not absolute it is looked for along the search path."""
    arguments: tuple[str, ...]
    """The whole argument vector, with the name the program is told it has in front."""
    ignore_failure: bool = False
    """`-`: its failure counts as success."""
    replace_variables: bool = True
    """Not `:`."""
    privileges: str = ""
    """`+`: all of them; `!`: as before User= and the like; `!!`: the same where ambient capabilities are missing."""


def _as_is(text: str) -> str:
    return text


def commands(line: str, expand: Callable[[str], str] = _as_is) -> list[Command]:
    """The commands of one line, which ` ; ` separates. `expand` replaces specifiers, word by word. CommandError."""
    return at_once(reading(line, expand))


def reading(line: str, expand: Callable[[str], str] = _as_is) -> Generator[None, None, list[Command]]:
    """The same in slices: a line may have thousands of words."""
    found = []
    at = 0
    while True:
        try:
            command, at = yield from _command(line, at, expand)
        except words.WordError as error:
            raise CommandError(str(error)) from None
        if command is not None:
            found.append(command)
        if at == len(line):
            return found


def at_once(slices: Generator[None, None, T]) -> T:
    """What comes of work in slices, without a pause."""
    while True:
        try:
            next(slices)
        except StopIteration as end:
            found: T = end.value
            return found


def _command(line: str, at: int, expand: Callable[[str], str]) -> Generator[None, None, tuple[Command | None, int]]:
    first, at = words.next_word(line, at)
    if first is None:
        return None, at
    path, marks = _marks(first)
    path = expand(path)
    if not path:
        raise CommandError(f"a command is missing in {words.short(line)}")
    if not path.isprintable():
        raise CommandError(f"the program's name {words.short(path)} has control characters in it")
    if path.endswith("/"):
        raise CommandError(f"{path} is a directory")
    arguments = [] if "@" in marks else [path]
    while at < len(line):
        if _stands_alone(line, at, ";"):
            at = words.skip(line, at + 1)
            break
        if _stands_alone(line, at, "\\;"):
            arguments.append(";")
            at = words.skip(line, at + 2)
        else:
            word, at = words.next_word(line, at)
            if word is None:
                break
            arguments.append(expand(word))
        if len(arguments) % SLICE == 0:
            yield
    yield
    if not arguments or not arguments[0]:
        raise CommandError(f"{path}: behind @ stands the name the program is told it has, and it is missing")
    privileges = "".join(mark for mark in marks if mark in "+!")
    return Command(path, tuple(arguments), "-" in marks, ":" not in marks, privileges), at


def _marks(word: str) -> tuple[str, str]:
    """A command's first word without the signs in front of it, and those signs, each as often as it counts."""
    marks = ""
    for place, sign in enumerate(word):
        if not _counts(sign, marks):
            return word[place:], marks
        marks += sign
    return "", marks


def _counts(sign: str, marks: str) -> bool:
    """Whether a sign behind those marks is one more mark, and no part of the program's name."""
    if sign == "!":
        return "+" not in marks and marks.count("!") < 2
    return sign in "-@:+" and sign not in marks and not (sign == "+" and "!" in marks)


def _stands_alone(line: str, at: int, sign: str) -> bool:
    after = at + len(sign)
    return line.startswith(sign, at) and (after == len(line) or line[after] in words.WHITE)


def assignments(
    line: str, expand: Callable[[str], str] = _as_is, faults: list[str] | None = None
) -> list[tuple[str, str]]:
    """Names and values of one Environment= line. CommandError if it cannot be split.

    What is no assignment is left out, as systemd leaves it out, and `faults` told why.
    """
    return at_once(reading_assignments(line, expand, faults))


def reading_assignments(
    line: str, expand: Callable[[str], str] = _as_is, faults: list[str] | None = None
) -> Generator[None, None, list[tuple[str, str]]]:
    """The same in slices."""
    pairs: list[tuple[str, str]] = []
    at = number = 0
    while True:
        try:
            found, at = words.next_word(line, at, strict=True)
        except words.WordError as error:
            raise CommandError(str(error)) from None
        if found is None:
            return pairs
        word = expand(found)
        name, equals, value = word.partition("=")
        if equals and _NAME.fullmatch(name) and is_value(value):
            pairs.append((name, value))
        elif faults is not None:
            faults.append(
                f"{words.short(word)} is left out: write it like NAME=value, in UTF-8 without control characters"
            )
        number += 1
        if number % SLICE == 0:
            yield


def is_value(value: str) -> bool:
    """Whether a variable of the environment can have this value: UTF-8, no control characters but tabs and newlines."""
    return not _CONTROL.search(value)
