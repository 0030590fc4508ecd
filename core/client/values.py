"""What is asked of a store, and what it answers. Keys and values are bytes; revisions, versions, ids are integers."""

from typing import Literal, Self

import msgspec

Target = Literal["value", "version", "create", "mod", "lease"]
Relation = Literal["=", "!=", "<", ">"]
SortBy = Literal["key", "version", "create", "mod", "value"]

_REST = b"\0"


class Keys(msgspec.Struct, frozen=True):
    """A range of keys: those with `start <= key < end`."""

    start: bytes
    end: bytes
    """`b"\\0"`: no end."""

    def __contains__(self, key: bytes) -> bool:
        return key >= self.start and (self.end == _REST or key < self.end)

    def behind(self, key: bytes) -> Self:
        """The part of the range that follows a key of it."""
        return msgspec.structs.replace(self, start=key + b"\0")


EVERYTHING = Keys(b"\0", _REST)
"""All keys."""


def prefix(start: bytes) -> Keys:
    """All keys that begin with `start`."""
    if not start:
        return EVERYTHING
    head = start.rstrip(b"\xff")
    return Keys(start, head[:-1] + bytes([head[-1] + 1]) if head else _REST)


def from_key(start: bytes) -> Keys:
    """`start` and all keys behind it."""
    return Keys(start or b"\0", _REST)


class KeyValue(msgspec.Struct, frozen=True):
    """A key as it is at some revision. Of a deleted one only `key` and `mod_revision` say anything."""

    key: bytes = b""
    value: bytes = b""
    create_revision: int = 0
    """When it was made; the same as long as it lives."""
    mod_revision: int = 0
    """Its last change."""
    version: int = 0
    """Changes since it was made, which is 1."""
    lease: int = 0
    """The lease it ends with; 0: none."""


# What is asked


class Compare(msgspec.Struct, frozen=True):
    """One condition of a transaction: `target` of the key, or of every key of the range, stands in `relation` to
    `operand`. A key that is not there has version, revisions and lease 0, and no value: nothing holds for that."""

    keys: bytes | Keys
    target: Target
    relation: Relation
    operand: int | bytes

    def __post_init__(self) -> None:
        if isinstance(self.operand, bytes) != (self.target == "value"):
            raise ValueError(f"{self.target} cannot be compared with {self.operand!r}")

    @classmethod
    def absent(cls, key: bytes) -> Self:
        """The key is not there."""
        return cls(key, "create", "=", 0)

    @classmethod
    def present(cls, key: bytes) -> Self:
        """The key is there."""
        return cls(key, "create", ">", 0)

    @classmethod
    def unchanged(cls, seen: KeyValue) -> Self:
        """The key is as it was seen: nobody has written or deleted it since."""
        return cls(seen.key, "mod", "=", seen.mod_revision)


class Range(msgspec.Struct, frozen=True):
    """Read one key, or a range of them. Bounds of revisions are inclusive; 0: no bound."""

    keys: bytes | Keys
    limit: int = 0
    """How many keys at most; 0: all."""
    revision: int = 0
    """As of this revision; 0: now."""
    sort: SortBy = "key"
    descending: bool = False
    keys_only: bool = False
    count_only: bool = False
    min_mod_revision: int = 0
    max_mod_revision: int = 0
    min_create_revision: int = 0
    max_create_revision: int = 0


class Put(msgspec.Struct, frozen=True):
    """Store a value."""

    key: bytes
    value: bytes = b""
    lease: int = 0
    """The lease it ends with; 0: none."""
    previous: bool = False
    """Tell what it replaces."""
    keep_value: bool = False
    """Change only the lease of a key that must be there."""
    keep_lease: bool = False
    """Change only the value of a key that must be there."""


class Delete(msgspec.Struct, frozen=True):
    """Delete one key, or a range of them; that nothing is there is no error."""

    keys: bytes | Keys
    previous: bool = False
    """Tell what was deleted."""


class Txn(msgspec.Struct, frozen=True):
    """If every condition holds do `then`, else `otherwise`; all of it at once, at one revision. May be nested."""

    compare: tuple[Compare, ...] = ()
    then: "tuple[Operation, ...]" = ()
    otherwise: "tuple[Operation, ...]" = ()


Operation = Range | Put | Delete | Txn


def only_reads(operation: Operation) -> bool:
    """Whether it changes nothing, so that it may be repeated."""
    if isinstance(operation, Txn):
        return all(only_reads(each) for each in (*operation.then, *operation.otherwise))
    return isinstance(operation, Range)


# What is answered


class RangeResult(msgspec.Struct, frozen=True):
    """Keys that were read."""

    revision: int
    """The store's revision when it was read; where a watch goes on is one behind it."""
    kvs: tuple[KeyValue, ...]
    count: int
    """How many keys the range has, whatever limit and bounds left out."""
    more: bool
    """Whether the limit left any out."""

    @property
    def first(self) -> KeyValue | None:
        """The key, where one was asked for; None if it is not there."""
        return self.kvs[0] if self.kvs else None


class Page(msgspec.Struct, frozen=True):
    """A part of a range that is read piece by piece."""

    revision: int
    """The store's revision when the first part was read: all are as of it."""
    kvs: tuple[KeyValue, ...]
    rest: Keys | None
    """What follows; None: nothing."""


class PutResult(msgspec.Struct, frozen=True):
    """A value was stored."""

    revision: int
    previous: KeyValue | None
    """What it replaced, if that was asked for and something was there."""


class DeleteResult(msgspec.Struct, frozen=True):
    """Keys were deleted."""

    revision: int
    deleted: int
    previous: tuple[KeyValue, ...]
    """What they were, if that was asked for."""


class TxnResult(msgspec.Struct, frozen=True):
    """A transaction was done: one branch, and what each of its operations came to."""

    revision: int
    succeeded: bool
    responses: "tuple[Result, ...]"


Result = RangeResult | PutResult | DeleteResult | TxnResult


class Event(msgspec.Struct, frozen=True):
    """A change of a key."""

    kind: Literal["put", "delete"]
    kv: KeyValue
    previous: KeyValue | None = None
    """What it replaced, if that was asked for, something was there, and it is not compacted away."""


class Batch(msgspec.Struct, frozen=True):
    """Changes in order, those of one revision all together; none: progress."""

    revision: int
    """Everything up to and including it has been told: a watch from `revision + 1` goes on without a gap."""
    events: tuple[Event, ...]


class LeaseStatus(msgspec.Struct, frozen=True):
    """A lease. Times in seconds."""

    id: int
    ttl: int
    """Left."""
    granted: int
    keys: tuple[bytes, ...] = ()
    """Its keys in order, if they were asked for."""
