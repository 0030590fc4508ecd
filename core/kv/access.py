"""Who may read and write what: users, roles, permissions on ranges of keys, and the one decision over them.

Pure values. A range is a key alone (`end` None) or start <= key < end; end `\\0` means all from `key` on, as in v3.
v2's patterns are ranges too: `/a` is a key, `/a/*` all that begins with `/a/`.
"""

from collections.abc import Iterable, Sequence
from enum import IntEnum

import msgspec

ROOT = "root"
"""The user that must exist before access is restricted, and the role that may do everything."""
GUEST = "guest"
"""The role of whoever shows no credentials."""
_ALL = b"\0"


class Right(IntEnum):
    """What a permission allows; READWRITE is both bits."""

    READ = 1
    WRITE = 2
    READWRITE = 3


class Office(IntEnum):
    """What a caller may do with system records; each office may do what those before it may."""

    NONE = 0
    READER = 1
    """Look at the node."""
    OPERATOR = 2
    """Take snapshots, compact."""
    ADMIN = 3
    """Everything, users and keys included."""


class Permission(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A right on a range of keys."""

    right: Right
    key: bytes
    end: bytes | None = None


class User(msgspec.Struct, frozen=True, array_like=True):
    """A user; `password` is a hash with its parameters, or None: it has none and cannot log in by one."""

    name: str
    password: str | None = None
    roles: tuple[str, ...] = ()
    """In order, without repetition."""


class Role(msgspec.Struct, frozen=True, array_like=True):
    """A named set of permissions, at most one for each range."""

    name: str
    permissions: tuple[Permission, ...] = ()
    """In order of key and end."""


class Identity(msgspec.Struct, frozen=True):
    """A caller as far as it is proven."""

    name: str
    """For the audit log: `user alice`, `certificate alice`, `unix socket`, `anonymous`."""
    office: Office = Office.NONE
    user: str | None = None
    """The user of the records it is."""
    host: str = ""
    """The machine id of the host it is, if it is one."""
    member: bool = False
    """It is a member of the cluster."""
    key: bytes = b""
    """SHA-256 of the public key in its certificate, if it is a host or a member."""


class Span(msgspec.Struct, frozen=True, gc=False):
    """start <= key < stop; None: no end."""

    start: bytes
    stop: bytes | None


def span(key: bytes, end: bytes | None) -> Span:
    """A range as v3 writes it. A key alone ends before the next possible key, itself with a zero byte."""
    if end is None:
        return Span(key, key + b"\0")
    return Span(b"" if key == _ALL else key, None if end == _ALL else end)


def prefix_end(prefix: bytes) -> bytes:
    """The end of the range of all keys that begin with `prefix`."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes((kept[-1] + 1,)) if kept else _ALL


def pattern_range(pattern: bytes) -> tuple[bytes, bytes | None]:
    """Key and end of a v2 pattern, which is not empty."""
    if not pattern.endswith(b"*"):
        return pattern, None
    prefix = pattern[:-1]
    return prefix or _ALL, prefix_end(prefix)


def pattern_of(key: bytes, end: bytes | None) -> bytes | None:
    """The v2 pattern of a range, or None if no pattern says it."""
    if end is None:
        return None if key.endswith(b"*") else key
    prefix = b"" if key == _ALL else key
    return prefix + b"*" if end == prefix_end(prefix) else None


def tree_spans(path: bytes, *, recursive: bool) -> tuple[Span, ...]:
    """What an operation on a clean path touches: the path, and with `recursive` all below it."""
    if not recursive:
        return (span(path, None),)
    if path == b"/":
        return (span(b"/", b"0"),)
    return (span(path, None), span(path + b"/", path + b"0"))


def covers(permissions: Iterable[Permission], right: Right, wanted: Span) -> bool:
    """Whether the permissions together give `right` on every key of a span."""
    reached = wanted.start
    granted = sorted(
        (span(each.key, each.end) for each in permissions if each.right & right == right),
        key=lambda each: each.start,
    )
    for part in granted:
        if part.start > reached:
            return False
        if part.stop is None:
            return True
        reached = max(reached, part.stop)
        if wanted.stop is not None and reached >= wanted.stop:
            return True
    return False


def may(office: Office, roles: Sequence[Role], right: Right, wanted: Iterable[Span]) -> bool:
    """The decision: an admin and the role root may do everything, others what their roles cover together."""
    if office is Office.ADMIN or any(role.name == ROOT for role in roles):
        return True
    permissions = [permission for role in roles for permission in role.permissions]
    return all(covers(permissions, right, each) for each in wanted)
