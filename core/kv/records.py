"""One version of a key or directory, as it rests in the revision table, and the change it tells of."""

import struct
from enum import IntEnum

import msgspec

POSITION = struct.Struct(">QI")
NOWHERE = b""
"""In place of a position: there is none."""


class Action(IntEnum):
    """What made a version, in v2's words; a v3 put is a set and a v3 delete a delete."""

    SET = 1
    CREATE = 2
    UPDATE = 3
    COMPARE_AND_SWAP = 4
    DELETE = 5
    COMPARE_AND_DELETE = 6
    EXPIRE = 7

    __hash__ = int.__hash__  # that of Enum is a Python function

    @property
    def word(self) -> str:
        """The v2 spelling, such as `compareAndSwap`."""
        return _WORDS[self]


_ACTIONS = (None, *Action)
"""By number: a look-up takes a tenth of the time of `Action(number)`."""
_WORDS = {
    Action.SET: "set",
    Action.CREATE: "create",
    Action.UPDATE: "update",
    Action.COMPARE_AND_SWAP: "compareAndSwap",
    Action.DELETE: "delete",
    Action.COMPARE_AND_DELETE: "compareAndDelete",
    Action.EXPIRE: "expire",
}

DIRECTORY = 1
GONE = 2
REFRESH = 4
SPILLED = 8


class Record(msgspec.Struct, frozen=True, gc=False):
    """A version. Its place in the revision table is `position` (index and sub-number)."""

    position: bytes
    """12 bytes: the v2 index of the change, and a sub-number; 0 is the change itself, more are its silent parts."""
    key: bytes
    value: bytes
    action: Action
    flags: int
    """DIRECTORY, GONE (a deletion), REFRESH (no watcher is told), SPILLED (older versions moved at this write)."""
    revision: int
    """The v3 mod revision: the last index of the command that made it."""
    modified: int
    """The v2 modifiedIndex; for the TTL update of a directory that of the version before."""
    created: int
    """The v2 createdIndex."""
    create_revision: int
    """The v3 create revision; 0 for a deletion."""
    version: int
    """The v3 version: 1 at creation; 0 for a deletion."""
    lease: int
    """Lease id, or 0."""
    deadline: int
    """Cluster time in ns when it expires by its own TTL; 0: never."""
    previous: bytes
    """Position of the version it replaces or deletes, or NOWHERE."""
    time: int
    """Cluster time in ns of the change."""

    @property
    def index(self) -> int:
        """The v2 index of the change."""
        index: int = POSITION.unpack(self.position)[0]
        return index

    @property
    def directory(self) -> bool:
        return bool(self.flags & DIRECTORY)

    @property
    def gone(self) -> bool:
        return bool(self.flags & GONE)

    @property
    def refresh(self) -> bool:
        return bool(self.flags & REFRESH)

    @property
    def silent(self) -> bool:
        """Whether it is a part of another change, of which v2 is not told."""
        return any(self.position[8:])


class Event(msgspec.Struct, frozen=True, gc=False):
    """One change: the new version and the one it replaced. `record.index` is its v2 index. Behind a directory that
    ended stand the files that ended with it: silent, so no changes of their own in v2, but v3 sees each."""

    record: Record
    previous: Record | None


_FIXED = struct.Struct(">BBQQQQQQqQBI")


def encode(record: Record) -> bytes:
    """The value of the record's row; its position is the row's key."""
    key = record.key
    previous = record.previous
    return b"".join(
        (
            _FIXED.pack(
                record.action,
                record.flags,
                record.revision,
                record.modified,
                record.created,
                record.create_revision,
                record.version,
                record.deadline,
                record.lease,
                record.time,
                len(previous),
                len(key),
            ),
            previous,
            key,
            record.value,
        )
    )


def decode(position: bytes, row: bytes) -> Record:
    """The record at `position`; ValueError if the row is none."""
    if len(row) < _FIXED.size:
        raise ValueError(f"a record of {len(row)} bytes is cut short")
    action, flags, revision, modified, created, create_revision, version, deadline, lease, time, n_previous, n_key = (
        _FIXED.unpack_from(row)
    )
    start = _FIXED.size + n_previous
    if len(row) < start + n_key:
        raise ValueError(f"a record of {len(row)} bytes is cut short")
    known = _ACTIONS[action] if action < len(_ACTIONS) else None
    if known is None:
        raise ValueError(f"a record of action {action}, which there is not")
    end = start + n_key
    return Record(
        position,
        row[start:end],
        row[end:],
        known,
        flags,
        revision,
        modified,
        created,
        create_revision,
        version,
        lease,
        deadline,
        row[_FIXED.size : start],
        time,
    )
