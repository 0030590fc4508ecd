"""Specifiers of unit files (systemd.unit(5)), and systemd's escaping of paths and text in names of units."""

import re
from collections.abc import Mapping

import msgspec

from core.sched.names import UnitName

_KEPT = frozenset(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ:_.")
_ESCAPED = re.compile(rb"\\x([0-9a-fA-F]{2})")
_SPECIFIER = re.compile(r"%(.)", re.DOTALL)

OF_NAME = "nNpPiIjJf"
"""Specifiers that the unit's name answers."""
OF_HOST = "aAbBCdDEgGhHlLmMoqsStTuUvVwWyY"
"""Specifiers that only the host or its service manager can answer."""


class SpecifierError(ValueError):
    """A specifier whose value is not known here, or cannot be made from this name."""


class Context(msgspec.Struct, frozen=True):
    """What specifiers stand for."""

    name: UnitName
    host: Mapping[str, str] = {}
    """Values of the specifiers in OF_HOST, by letter."""


def expand(text: str, context: Context) -> str:
    """`text` with its specifiers replaced. What is no specifier is kept, as systemd keeps it. SpecifierError."""
    if "%" not in text:
        return text
    return _SPECIFIER.sub(lambda match: _value(match[1], context), text)


def expand_names(text: str, name: UnitName) -> str:
    """The four that fleet replaced in [X-Fleet]: %n %N %p %i, one after the other; it knew no `%%`."""
    if "%" not in text:
        return text
    for letter, value in (("n", name.text), ("N", name.stem), ("p", name.prefix), ("i", name.instance or "")):
        text = text.replace(f"%{letter}", value)
    return text


def _value(letter: str, context: Context) -> str:
    name = context.name
    if letter == "%":
        return "%"
    if letter in OF_NAME:
        return _of_name(letter, name)
    if letter in OF_HOST:
        if letter not in context.host:
            raise SpecifierError(f"%{letter} in {name.text} is not known on this host")
        return context.host[letter]
    return f"%{letter}"


def _of_name(letter: str, name: UnitName) -> str:
    instance = name.instance or ""
    match letter:
        case "n":
            return name.text
        case "N":
            return name.stem
        case "p":
            return name.prefix
        case "P":
            return unescape(name.prefix)
        case "i":
            return instance
        case "I":
            return unescape(instance)
        case "j":
            return name.prefix.rpartition("-")[2]
        case "J":
            return unescape(name.prefix.rpartition("-")[2])
        case _:
            return unescape_path(instance) if instance else "/" + unescape(name.prefix)


def escape(text: str) -> str:
    """Any text as part of a unit's name: `/` as `-`, and what a name cannot have as `\\x20`."""
    data = text.encode("utf-8", "surrogateescape")
    done = []
    for place, byte in enumerate(data):
        if byte == 0x2F:
            done.append("-")
        elif byte in _KEPT and not (place == 0 and byte == 0x2E):
            done.append(chr(byte))
        else:
            done.append(f"\\x{byte:02x}")
    return "".join(done)


def unescape(text: str) -> str:
    """The text that was escaped. SpecifierError if a backslash begins no escape."""
    data = text.replace("-", "/").encode("utf-8", "surrogateescape")
    done = _ESCAPED.sub(lambda match: b"\0" + match[1], data)
    if b"\\" in done:
        raise SpecifierError(f"{text!r} is no escaped text: a backslash begins \\x and two hexadecimal digits")
    restored = re.sub(rb"\0(..)", lambda match: bytes.fromhex(match[1].decode()), done)
    return restored.decode("utf-8", "surrogateescape")


def escape_path(path: str) -> str:
    """A path of a file system as part of a unit's name; `/` alone is `-`. SpecifierError for one with `..`."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise SpecifierError(f"{path!r} goes up, which no unit's name can say")
    return escape("/".join(parts)) if parts else "-"


def unescape_path(text: str) -> str:
    """The absolute path that was escaped."""
    return "/" if text == "-" else "/" + unescape(text).lstrip("/")
