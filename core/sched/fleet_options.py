"""Unit files as fleet's HTTP interface shows them: a list of options, named by the SHA-1 of what they serialise to.

It is read as fleet's library did (go-systemd's `unit`), which keeps continuation lines as they stand. Raw bytes remain
what is stored; this is a view of them.
"""

import hashlib

import msgspec

_GO_WHITE = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"


class FleetOption(msgspec.Struct, frozen=True):
    """One option, in the form of fleet's JSON."""

    section: str = ""
    name: str = ""
    value: str = ""


def options(text: str) -> list[FleetOption]:
    """The options of a unit file. ValueError for what fleet could not read, with its own words."""
    found = []
    section: str | None = None
    at = 0
    while at < len(text):
        letter = text[at]
        if letter == "[":
            section, at = _section(text, at + 1)
        elif letter in "#;":
            at = _after_comment(text, at + 1)
        elif section is None or letter in _GO_WHITE:
            at += 1
        else:
            name, at = _name(text, at)
            value, at = _value(text, at)
            found.append(FleetOption(section, name, value))
    return found


def _section(text: str, at: int) -> tuple[str, int]:
    end = text.find("]", at)
    if end < 0:
        raise ValueError("unable to find end of section")
    rest, after = _line(text, end + 1)
    if rest.strip(_GO_WHITE):
        raise ValueError(f"found garbage after section name {text[at:end]}: {rest.strip(_GO_WHITE)}")
    return text[at:end], after


def _line(text: str, at: int) -> tuple[str, int]:
    """The rest of a line without its end, and where the next begins."""
    end = text.find("\n", at)
    return (text[at:], len(text)) if end < 0 else (text[at:end], end + 1)


def _after_comment(text: str, at: int) -> int:
    while True:
        line, at = _line(text, at)
        if not line.removesuffix(" ").endswith("\\") or at == len(text):
            return at


def _name(text: str, at: int) -> tuple[str, int]:
    line, _ = _line(text, at)
    name, equals, _ = line.partition("=")
    if not equals or "\r" in name:
        raise ValueError("unexpected newline encountered while parsing option name")
    return name.strip(_GO_WHITE), at + len(name) + 1


def _value(text: str, at: int) -> tuple[str, int]:
    parts = ""
    while True:
        line, after = _line(text, at)
        last = text.find("\n", at) < 0
        at = after
        if not line.strip(_GO_WHITE):
            break
        parts += line
        if not line.endswith("\\"):
            break
        if last:
            break
        parts += "\n"
    return parts.strip(_GO_WHITE) + ("\n" if parts.endswith("\n") else ""), at


def serialise(given: list[FleetOption]) -> str:
    """The unit file of some options: grouped by section, else in their order."""
    sections: dict[str, list[FleetOption]] = {}
    for option in given:
        sections.setdefault(option.section, []).append(option)
    return "\n".join(
        f"[{name}]\n" + "".join(f"{option.name}={option.value}\n" for option in members)
        for name, members in sections.items()
    )


def sha1(given: list[FleetOption]) -> str:
    """The hash by which fleet names a unit's text, hexadecimal."""
    return hashlib.sha1(serialise(given).encode(), usedforsecurity=False).hexdigest()
