"""What a command came to. Tree writes come to an `Event`; a refusal to an exception of `core.kv.errors`."""

import msgspec

from core.kv.access import Role, User
from core.kv.records import Record


class PutDone(msgspec.Struct, frozen=True, gc=False):
    """A v3 put; `previous` is the version it replaced."""

    revision: int
    previous: Record | None


class DeleteDone(msgspec.Struct, frozen=True, gc=False):
    """A v3 delete range; `previous` are the versions it ended, by key, if they were asked for."""

    revision: int
    deleted: int
    previous: tuple[Record, ...] = ()


class RangeDone(msgspec.Struct, frozen=True, gc=False):
    """A read; `count` counts all keys in the range, `records` stops at the limit."""

    revision: int
    records: tuple[Record, ...]
    count: int

    @property
    def more(self) -> bool:
        return self.count > len(self.records)


class TxnDone(msgspec.Struct, frozen=True, gc=False):
    """A transaction: which branch, and what each of its operations came to."""

    revision: int
    succeeded: bool
    responses: "tuple[PutDone | DeleteDone | RangeDone | TxnDone, ...]"


class LeaseDone(msgspec.Struct, frozen=True, gc=False):
    """A lease granted or kept alive (`ttl` in seconds), or revoked (`ttl` 0)."""

    revision: int
    id: int
    ttl: int


class Compacted(msgspec.Struct, frozen=True, gc=False):
    """Compaction was accepted; space follows."""

    revision: int
    floor: int


class Revoked(msgspec.Struct, frozen=True, gc=False):
    """A certificate is revoked; `new` is False if it was before."""

    revision: int
    new: bool


class Published(msgspec.Struct, frozen=True, gc=False):
    """A member's word about itself; `taken` is False if it belongs to the cluster no more."""

    taken: bool


class Marked(msgspec.Struct, frozen=True, gc=False):
    """A place of the log at which the members compare their states."""

    index: int
    """The entry."""
    floor: int
    revision: int
    """The last index consumed before it."""


class Accused(msgspec.Struct, frozen=True, gc=False):
    """These members are under suspicion."""

    members: tuple[int, ...]


class HostDone(msgspec.Struct, frozen=True, gc=False):
    """A machine id was bound or let go, or that was so before."""

    revision: int


class Expired(msgspec.Struct, frozen=True, gc=False):
    """How many files, directories and leases were due and removed."""

    count: int


class AccessDone(msgspec.Struct, frozen=True, gc=False):
    """A change of the access records; `now` is the user or role as it is from then on, None if it is gone."""

    revision: int
    now: User | Role | None = None
