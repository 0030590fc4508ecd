"""The text of a unit file as systemd.syntax(7) has it: sections, options, comments, continuation lines.

The bytes stay as they are; only what they say is taken out of them.
"""

import hashlib
import re

import msgspec

LARGEST = 256 * 1024
"""Bytes of a unit's text."""

_END_OF_LINE = re.compile(rb"\r\n|\n\r|\n|\r")
_WHITE = " \t\n\r"
_COMMENTS = ("#", ";")
_BOM = "\ufeff"


class UnitTextError(ValueError):
    """This text is no unit file; `.line` is where, counted from 1, or 0 if it is the whole."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}" if line else reason)
        self.line = line
        self.reason = reason


class Remark(msgspec.Struct, frozen=True):
    """Something that will not have the effect its author may expect."""

    line: int
    """Counted from 1; 0 if it concerns the whole."""
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}" if self.line else self.text


class Option(msgspec.Struct, gc=False, frozen=True):
    """One assignment."""

    section: str
    name: str
    value: str
    """Continuation lines joined by blanks."""
    line: int
    """Where it ends, as systemd counts."""


class UnitText(msgspec.Struct, frozen=True, gc=False):
    """A unit file: its bytes, and what they say."""

    data: bytes
    options: tuple[Option, ...]
    sections: tuple[str, ...]
    """Each once, in the order of appearance."""
    remarks: tuple[Remark, ...]
    """Lines that systemd ignores."""

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes, hexadecimal: the name the text is stored under."""
        return digest(self.data)

    def all(self, section: str, name: str) -> list[str]:
        """Every value of an option, in order; an empty one takes back those before it."""
        found: list[str] = []
        for option in self.options:
            if option.section == section and option.name == name:
                found = [*found, option.value] if option.value else []
        return found

    def last(self, section: str, name: str) -> str | None:
        """The value that counts for an option that has one; None if it is not there or taken back."""
        found = self.all(section, name)
        return found[-1] if found else None


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def parse(data: bytes) -> UnitText:
    """What a unit file says. UnitTextError if systemd would not take it, or it is no text, or too large."""
    if len(data) > LARGEST:
        raise UnitTextError(0, f"a unit's text has at most {LARGEST:,} bytes, and this has {len(data):,}")
    reader = _Reader()
    pending = ""
    for number, raw in enumerate(_END_OF_LINE.split(data), 1):
        line = _text(raw, number)
        if number == 1:
            line = line.removeprefix(_BOM)
        reader.line = number
        if line.lstrip(_WHITE).startswith(_COMMENTS):
            continue
        line = pending + line
        if _continues(line):
            pending = line[:-1] + " "
            continue
        pending = ""
        reader.take(line.strip(_WHITE))
    reader.take(pending.strip(_WHITE))
    return UnitText(data, tuple(reader.options), tuple(reader.sections), tuple(reader.remarks))


def _text(raw: bytes, number: int) -> str:
    if b"\0" in raw:
        raise UnitTextError(number, "a NUL byte, which no text has")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise UnitTextError(number, f"byte {raw[error.start]:#04x} at column {error.start + 1} is no UTF-8") from None


def _continues(line: str) -> bool:
    """Whether it ends in a backslash that is not itself escaped."""
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


class _Reader:
    """Whole lines become options of the section they stand in."""

    def __init__(self) -> None:
        self.line = 0
        self.options: list[Option] = []
        self.sections: dict[str, None] = {}
        self.remarks: list[Remark] = []
        self._section = ""

    def take(self, line: str) -> None:
        if not line:
            return
        if line.startswith("["):
            self._begin(line)
            return
        name, equals, value = line.partition("=")
        if not equals:
            self._remark(f"{line[:40]!r} has no =, and is ignored")
        elif not self._section:
            self._remark(f"{name.strip(_WHITE)[:40]}= stands before the first section, and is ignored")
        else:
            self.options.append(Option(self._section, name.rstrip(_WHITE), value.strip(_WHITE), self.line))

    def _begin(self, line: str) -> None:
        name = line[1:-1]
        if (
            not line.endswith("]")
            or not name
            or not all(" " <= letter != "\x7f" and letter not in "\"'\\" for letter in name)
        ):
            raise UnitTextError(self.line, f"{line[:40]!r} is no section; write it like [Service]")
        self._section = name
        self.sections[name] = None

    def _remark(self, text: str) -> None:
        self.remarks.append(Remark(self.line, text))
