"""The text of a unit file as systemd.syntax(7) has it: sections, options, comments, continuation lines.

The bytes stay as they are; only what they say is taken out of them.
"""

import hashlib
import re

import msgspec

LARGEST = 64 * 1024
"""Bytes of a unit's text: units that people write have some hundreds, and this has room for a script in a command."""
MOST_LINES = 4096
"""It is read in one go, which takes some microseconds a line."""

_END_OF_LINE = re.compile(r"\r\n|\n\r|\n|\r")
_SECTION_NAME = re.compile(r"""[^\x00-\x1f\x7f"'\\]+""")
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
            if option.name == name and option.section == section:
                if option.value:
                    found.append(option.value)
                else:
                    found.clear()
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
    lines = _END_OF_LINE.split(_text(data))
    if len(lines) > MOST_LINES:
        raise UnitTextError(0, f"a unit's text has at most {MOST_LINES:,} lines, and this has {len(lines):,}")
    reader = _Reader()
    begun: list[str] = []
    lines[0] = lines[0].removeprefix(_BOM)
    for reader.line, line in enumerate(lines, 1):
        if line.lstrip(_WHITE).startswith(_COMMENTS):
            continue
        if line.endswith("\\") and _continues(line):
            begun += (line[:-1], " ")
            continue
        if begun:
            line = "".join((*begun, line))
            begun.clear()
        reader.take(line.strip(_WHITE))
    reader.take("".join(begun).strip(_WHITE))
    return UnitText(data, tuple(reader.options), tuple(reader.sections), tuple(reader.remarks))


def _text(data: bytes) -> str:
    """The bytes decoded. UnitTextError with the place of the first that is of no text."""
    nul = data.find(b"\0")
    try:
        if nul < 0:
            return data.decode()
        data[:nul].decode()
    except UnicodeDecodeError as error:
        before = _END_OF_LINE.split(data[: error.start].decode())
        column = len(before[-1].encode()) + 1
        raise UnitTextError(len(before), f"byte {data[error.start]:#04x} at column {column} is no UTF-8") from None
    raise UnitTextError(len(_END_OF_LINE.split(data[:nul].decode())), "a NUL byte, which no text has")


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
        if not line.endswith("]") or not _SECTION_NAME.fullmatch(name):
            raise UnitTextError(self.line, f"{line[:40]!r} is no section; write it like [Service]")
        self._section = name
        self.sections[name] = None

    def _remark(self, text: str) -> None:
        self.remarks.append(Remark(self.line, text))
