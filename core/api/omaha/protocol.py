"""Omaha's requests and answers, as XML and as values.

The attributes are those that update_engine sends and reads, which differ from Google's in places: the hash of the whole
file in an action, hashes in base64.
"""

import re
from base64 import b64encode
from collections.abc import Iterable
from html import escape
from xml.parsers import expat

import msgspec

LARGEST = 64 << 10
"""Bytes of a request."""
DEPTH, ELEMENTS, LONGEST = 8, 256, 1024
"""Of elements in each other and in all, and characters of an attribute."""
APPS = 8
HEADERS = b"Content-Type: text/xml; charset=utf-8\r\n"

_ARCHITECTURES = {
    "amd64": "x86_64",
    "x64": "x86_64",
    "x86-64": "x86_64",
    "arm64": "aarch64",
    "arm": "aarch64",
}
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+~_-]{0,63}")
_MACHINE = re.compile(r"[0-9A-Za-z_-]{1,64}")


class OmahaError(ValueError):
    """A request that is none; the text says why."""


class Event(msgspec.Struct, frozen=True):
    """What happened at the host."""

    type: int
    result: int
    code: int = 0
    """Why it failed, by the numbers of update_engine."""


class App(msgspec.Struct, frozen=True):
    """One application on one host: its whole system, as a rule."""

    id: str
    """Lower case, without braces."""
    asked_as: str
    """The same as it was written."""
    version: str
    track: str
    machine: str
    architecture: str
    """As `uname -m` has it; empty if the request does not say it."""
    ping: bool = False
    check: bool = False
    events: tuple[Event, ...] = ()


class Update(msgspec.Struct, frozen=True):
    """What a host is to fetch."""

    version: str
    file: str
    size: int
    sha1: str
    sha256: str
    """Hexadecimal, both."""
    bases: tuple[str, ...]
    """URLs, ended by a slash, below which the file is; the best first."""


class Answer(msgspec.Struct, frozen=True):
    """To one app of the request."""

    app: App
    status: str = "ok"
    update: Update | None = None


class _Reader:
    """Takes elements as they come; whatever it does not know, it passes over."""

    def __init__(self) -> None:
        self.parser = expat.ParserCreate("UTF-8")
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.protocol: str | None = None
        self.system: dict[str, str] = {}
        self.apps: list[tuple[dict[str, str], list[tuple[str, dict[str, str]]]]] = []
        self._path: list[str] = []
        self._count = 0

    def _doctype(self, *_: object) -> None:
        raise OmahaError("it has a DOCTYPE, and needs none")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > ELEMENTS or len(self._path) >= DEPTH:
            raise OmahaError(f"it has more than {ELEMENTS} elements, or more than {DEPTH} in each other")
        if any(len(value) > LONGEST for value in attributes.values()):
            raise OmahaError(f"an attribute has more than {LONGEST} characters")
        match self._path:
            case [] if name != "request":
                raise OmahaError("it is no request of Omaha")
            case []:
                self.protocol = attributes.get("protocol", "")
            case ["request"] if name == "os":
                self.system = attributes
            case ["request"] if name == "app":
                self.apps.append((attributes, []))
            case ["request", "app"]:
                self.apps[-1][1].append((name, attributes))
        self._path.append(name)

    def _end(self, _: str) -> None:
        self._path.pop()


def parse(body: bytes) -> tuple[App, ...]:
    """The apps of a request. OmahaError."""
    if len(body) > LARGEST:
        raise OmahaError(f"it has more than {LARGEST} bytes")
    reader = _Reader()
    try:
        reader.parser.Parse(body, True)
    except expat.ExpatError as error:
        raise OmahaError(f"it is no XML that can be read: {error}") from None
    if reader.protocol != "3.0":
        raise OmahaError(f"it speaks version {reader.protocol!r} of Omaha, and 3.0 is spoken here")
    if not 0 < len(reader.apps) <= APPS:
        raise OmahaError(f"it names {len(reader.apps)} apps; 1 to {APPS} are expected")
    return tuple(_app(reader.system, attributes, inside) for attributes, inside in reader.apps)


def _app(system: dict[str, str], found: dict[str, str], inside: list[tuple[str, dict[str, str]]]) -> App:
    name, version, machine = found.get("appid", ""), found.get("version", ""), _bare(found.get("machineid", ""))
    if not _VERSION.fullmatch(version):
        raise OmahaError(f"{version[:70]!r} is no version: letters, digits and . + ~ _ - only, at most 64")
    if not _MACHINE.fullmatch(machine):
        raise OmahaError("an app has no machineid, or one that is no id: letters, digits, _ and - only, at most 64")
    return App(
        _bare(name),
        name,
        version,
        found.get("track", ""),
        machine,
        _architecture(system, found.get("board", "")),
        any(each == "ping" for each, _ in inside),
        any(each == "updatecheck" for each, _ in inside),
        tuple(_event(attributes) for each, attributes in inside if each == "event"),
    )


def _bare(identifier: str) -> str:
    return identifier.strip().removeprefix("{").removesuffix("}").lower()


def _event(found: dict[str, str]) -> Event:
    def number(name: str) -> int:
        value = found.get(name) or "0"
        if not re.fullmatch("[0-9]{1,9}", value):
            raise OmahaError(f"{name} of an event is no number")
        return int(value)

    return Event(number("eventtype"), number("eventresult"), number("errorcode"))


def _architecture(system: dict[str, str], board: str) -> str:
    """From the board, `amd64-usr`; else from `arch`; else from the service pack, `3374.2.0_x86_64`."""
    for said in (board.removesuffix("-usr"), system.get("arch", "")):
        if said in _ARCHITECTURES or said in _ARCHITECTURES.values():
            return _ARCHITECTURES.get(said, said)
    pack = system.get("sp", "")
    return next((each for each in ("x86_64", "aarch64") if pack.endswith(f"_{each}")), "")


def render(answers: Iterable[Answer], seconds: int) -> bytes:
    """The XML of an answer; `seconds` have passed since midnight UTC."""
    inner = "".join(map(_rendered, answers))
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<response protocol="3.0" server="corenode">'
    return f'{head}<daystart elapsed_seconds="{seconds}"/>{inner}</response>\n'.encode()


def _rendered(answer: Answer) -> str:
    app, good = answer.app, answer.status == "ok"
    inner = ""
    if good and app.ping:
        inner += '<ping status="ok"/>'
    if app.check:
        inner += _check(answer.update) if good else '<updatecheck status="error-internal"/>'
    if good:
        inner += '<event status="ok"/>' * len(app.events)
    return f'<app appid="{escape(app.asked_as)}" status="{answer.status}">{inner}</app>'


def _check(update: Update | None) -> str:
    if update is None:
        return '<updatecheck status="noupdate"/>'
    urls = "".join(f'<url codebase="{escape(base)}"/>' for base in update.bases)
    return (
        f'<updatecheck status="ok"><urls>{urls}</urls><manifest version="{escape(update.version)}">'
        f'<packages><package name="{escape(update.file)}" size="{update.size}" hash="{_base64(update.sha1)}"'
        f' hash_sha256="{update.sha256}" required="true"/></packages>'
        f'<actions><action event="postinstall" sha256="{_base64(update.sha256)}" needsadmin="false"'
        ' IsDeltaPayload="false" DisablePayloadBackoff="true"/></actions></manifest></updatecheck>'
    )


def _base64(digits: str) -> str:
    return b64encode(bytes.fromhex(digits)).decode()
