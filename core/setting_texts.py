"""How the texts of settings are read, wherever they come from. ValueError has a sentence for people."""

import re
import shlex
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from core.addresses import Url, parse
from core.machine_id import is_machine_id


def words(text: str) -> tuple[str, ...]:
    """A list, separated by commas."""
    return tuple(part for part in (piece.strip() for piece in text.split(",")) if part)


def urls(text: str) -> tuple[Url, ...]:
    """A list of URLs, separated by commas."""
    return tuple(parse(part) for part in words(text))


def initial_cluster(text: str) -> tuple[tuple[str, tuple[Url, ...]], ...]:
    """Members as `NAME=URL`, separated by commas; a name with several URLs stands there several times."""
    members: dict[str, list[Url]] = {}
    for part in words(text):
        member, mark, url = part.partition("=")
        if not mark:
            raise ValueError(f"{part!r} is no member; write it like node1=https://10.0.0.1:2380")
        members.setdefault(name(member), []).append(parse(url))
    return tuple((member, tuple(sorted(set(found)))) for member, found in members.items())


def discovery(text: str) -> str:
    """A discovery URL: one with a path."""
    parts = urlsplit(text)
    if text and (parts.scheme not in ("http", "https") or not parts.hostname or not parts.path.strip("/")):
        raise ValueError(
            f"{text!r} is no discovery URL; write it like http://10.0.0.1:2379/v2/keys/_etcd/registry/any-new-word"
        )
    return text.rstrip("/")


def boolean(text: str) -> bool:
    """`true` or `false`."""
    if text.lower() in ("true", "1"):
        return True
    if text.lower() in ("false", "0"):
        return False
    raise ValueError(f"{text!r} is neither true nor false")


def path(text: str) -> Path | None:
    """A path; None if empty."""
    return Path(text) if text else None


def name(text: str) -> str:
    """A member's name: it stands before the `=` of --initial-cluster."""
    if not text or len(text) > 255 or not text.isprintable() or any(mark in text for mark in "=,/ "):
        raise ValueError(f"{text!r} is no name: 1 to 255 printable characters without space, comma, slash or =")
    return text


def machine_id(text: str) -> str:
    """The id of a host; empty: to be found."""
    if text and not is_machine_id(text):
        raise ValueError(f"{text!r} is no machine id: 32 hexadecimal digits, in small letters")
    return text


def address(text: str) -> str:
    """An IP address; empty: to be found."""
    if text:
        try:
            return str(ip_address(text))
        except ValueError:
            raise ValueError(f"{text!r} is no IP address") from None
    return text


_KEY = re.compile(r"[A-Za-z0-9_.-]{1,200}")
_VOUCHED = "operator."
"""What a host says under such a key of itself does not count (`core.sched.view`)."""


def metadata(text: str) -> tuple[tuple[str, str], ...]:
    """`KEY=VALUE`, separated by commas."""
    found: dict[str, str] = {}
    for part in words(text):
        key, _, value = part.partition("=")
        if not _KEY.fullmatch(key) or not value or not value.isprintable():
            raise ValueError(f"{part!r} is no metadata; write it like disk=ssd,zone=b")
        if key.startswith(_VOUCHED):
            raise ValueError(f"{key} is for operators to say, with fleetctl or PATCH /fleet/v1/machines")
        if found.setdefault(key, value) != value:
            raise ValueError(f"{key} is given twice, as {found[key]} and {value}")
    return tuple(found.items())


def presence(text: str) -> int:
    """Seconds that a host may be silent, as `30s` or `2m`, or bare."""
    seconds = float(text) if text.isdecimal() else duration(text)
    if not _PRESENCE[0] <= seconds <= _PRESENCE[1] or seconds != int(seconds):
        raise ValueError(f"{text!r} is not within {_PRESENCE[0]} s and {_PRESENCE[1]} s")
    return int(seconds)


_PRESENCE = 2, 3600
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def duration(text: str) -> float:
    """Seconds in a duration such as `24h`, `1h30m` or `500ms`; a bare number counts hours, as in etcd."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text) * 3600
    if not re.fullmatch(rf"(?:{_DURATION.pattern})+", text):
        raise ValueError(f"{text!r} is no duration; write it like 24h, 1h30m or 90s")
    return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION.findall(text))


_SIZES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def size(text: str) -> int:
    """Bytes in a size such as `8589934592`, `512MiB` or `8GiB`; at least 1."""
    match = re.fullmatch(r"(\d+)\s*(?:([kmgt])i?b?)?", text.lower())
    if match is None or int(match[1]) == 0:
        raise ValueError(f"{text!r} is no size; write the number of bytes, or like 512MiB or 8GiB")
    return int(match[1]) * _SIZES[match[2] or ""]


def count(text: str) -> int:
    """A whole number of at least 1."""
    if not re.fullmatch(r"\d+", text) or int(text) == 0:
        raise ValueError(f"{text!r} is not a whole number above 0")
    return int(text)


def rate(text: str) -> int:
    """Bytes a second; empty: no limit, as 0."""
    return size(text) if text else 0


def seconds(text: str) -> float:
    """A time such as `90s` or `10m`."""
    if text.isdecimal():
        raise ValueError(f"{text!r} has no unit; write it like {text}s or {text}m")
    return duration(text)


def command(text: str) -> tuple[str, ...]:
    """A program with its arguments, split as a shell would; empty: none."""
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise ValueError(f"{text!r} is no command: {error}") from None


def slot(text: str) -> str | None:
    """A or B; empty: to be found."""
    if text.upper() not in ("", "A", "B"):
        raise ValueError(f"{text!r} is neither A nor B")
    return text.upper() or None


def group(text: str) -> str:
    """The name of a group of hosts."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", text):
        raise ValueError(f"{text!r} is no group: 1 to 64 letters, digits, dots, hyphens and underscores")
    return text


def strategy(text: str) -> str:
    """When a host restarts for an update; locksmith's word for `lock` is known, too."""
    return choice("lock", "reboot", "off")(text.lower().removeprefix("etcd-"))


def tls_version(text: str) -> str:
    """`1.2` or `1.3`; etcd writes `TLS1.2`."""
    version = text.upper().removeprefix("TLS")
    if version not in ("1.2", "1.3"):
        raise ValueError(f"{text!r} is neither 1.3 nor 1.2")
    return version


def choice(*words: str) -> Callable[[str], str]:
    """One of some words, in small letters."""

    def read(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"{text!r} is not one of {', '.join(words)}")
        return text.lower()

    return read
