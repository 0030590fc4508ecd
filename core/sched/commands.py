"""Command lines (ExecStart= and its kin) and environments (Environment=, EnvironmentFile=) as systemd reads them."""

import re
from collections.abc import Callable, Mapping

import msgspec

from core.sched import words

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VARIABLE = re.compile(r"\$(?:\$|\{([A-Za-z_][A-Za-z0-9_]*)\})")
_WHOLE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\udc80-\udcff]")
"""Also what is no UTF-8."""


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
    found = []
    at = 0
    while True:
        try:
            command, at = _command(line, at, expand)
        except words.WordError as error:
            raise CommandError(str(error)) from None
        if command is not None:
            found.append(command)
        if at == len(line):
            return found


def _command(line: str, at: int, expand: Callable[[str], str]) -> tuple[Command | None, int]:
    first, at = words.next_word(line, at)
    if first is None:
        return None, at
    path, marks = _marks(first)
    path = expand(path)
    if not path:
        raise CommandError(f"a command is missing in {line!r}")
    if not path.isprintable():
        raise CommandError(f"the program's name {path!r} has control characters in it")
    if path.endswith("/"):
        raise CommandError(f"{path} is a directory")
    arguments = [] if "@" in marks else [path]
    while at < len(line):
        if _stands_alone(line, at, ";"):
            at = _skip(line, at + 1)
            break
        if _stands_alone(line, at, "\\;"):
            arguments.append(";")
            at = _skip(line, at + 2)
            continue
        word, at = words.next_word(line, at)
        if word is None:
            break
        arguments.append(expand(word))
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


def _skip(line: str, at: int) -> int:
    while at < len(line) and line[at] in words.WHITE:
        at += 1
    return at


def substitute(arguments: tuple[str, ...], environment: Mapping[str, str]) -> list[str]:
    """The argument vector with variables replaced: `$NAME` as a word of its own is split into words, `${NAME}` anywhere
    is replaced where it stands, `$$` is `$`. A variable that is not set is empty.
    """
    done = []
    for argument in arguments:
        whole = _WHOLE.fullmatch(argument)
        if whole is not None:
            done += _relaxed(environment.get(whole[1], ""))
        else:
            done.append(_VARIABLE.sub(lambda match: environment.get(match[1], "") if match[1] else "$", argument))
    return done


def _relaxed(value: str) -> list[str]:
    """The words of a variable: quotes count, backslashes do not, and a quote that does not end goes to the end."""
    found, word, quote, begun = [], "", "", False
    for letter in value:
        if quote:
            if letter == quote:
                quote = ""
            else:
                word += letter
        elif letter in "\"'":
            quote, begun = letter, True
        elif letter in words.WHITE:
            if begun:
                found.append(word)
            word, begun = "", False
        else:
            word, begun = word + letter, True
    return [*found, word] if begun else found


def assignments(line: str, expand: Callable[[str], str] = _as_is) -> list[tuple[str, str]]:
    """Names and values of one Environment= line. CommandError."""
    try:
        found = words.split(line, strict=True)
    except words.WordError as error:
        raise CommandError(str(error)) from None
    return [_assignment(expand(word)) for word in found]


def _assignment(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals or not _NAME.fullmatch(name):
        raise CommandError(f"{word!r} is no assignment; write it like NAME=value")
    if not is_value(value):
        raise CommandError(f"the value of {name} has control characters in it, or is no UTF-8")
    return name, value


def is_value(value: str) -> bool:
    """Whether a variable of the environment can have this value: UTF-8, no control characters but tabs and newlines."""
    return not _CONTROL.search(value)
