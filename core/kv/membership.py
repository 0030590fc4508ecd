"""Who belongs to the cluster, as of the applied entry: rows beside the keyspace, without revisions.

The set that counts is raft's and rests here in raft's encoding, in one transaction with the applied index. Beside it
stands what people call each member and where it is reached. Who was removed stays known, so that it can be told.
"""

from collections.abc import Collection

import msgspec

from core.kv import suspicion, versions
from core.kv.commands import Publish
from core.kv.ledger import Ledger
from core.kv.outcomes import Published
from core.kv.transaction import Table

COUNTED = b"members"
"""The row of `Table.META` for what `counted` returns."""
_DESCRIBED = b"member/"
_REMOVED = b"removed/"


class Member(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is known of a member beside its vote."""

    id: int
    name: str
    """Empty until it has started for the first time, if it was added without one."""
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...] = ()
    version: str = ""
    """The program's, as the member last told."""


class Change(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What goes with a change of the members into its entry."""

    described: tuple[Member, ...] = ()
    """Those that are new, or are reached at other URLs."""
    member: int = 0
    """The member that asked for it, and by which token it waits; 0: the leader itself."""
    token: int = 0


_encode = msgspec.msgpack.Encoder().encode
_decode_member = msgspec.msgpack.Decoder(Member).decode
_decode_change = msgspec.msgpack.Decoder(Change).decode


def encode(change: Change) -> bytes:
    """The context of a membership entry."""
    return _encode(change)


def decode(context: bytes) -> Change:
    """`encode`'s argument; nothing stands for no description. msgspec.DecodeError."""
    return _decode_change(context) if context else Change()


def settle(ledger: Ledger, counted: bytes, left: Collection[int], change: Change) -> None:
    """From here on `counted` (raft's encoding) are the members; those in `left` are so no more."""
    ledger.rows.put(Table.META, COUNTED, counted)
    for member in change.described:
        known = find(ledger, member.id)
        _put(ledger, member if known is None else msgspec.structs.replace(known, peer_urls=member.peer_urls))
    for gone in left:
        ledger.rows.delete(Table.META, _DESCRIBED + _name(gone))
        ledger.rows.put(*tombstone(gone))
    suspicion.absolve(ledger, tuple(left))
    versions.settle(ledger, [member.version for member in members(ledger)])


def publish(ledger: Ledger, command: Publish) -> Published:
    """Take a member's word on its name, its client URLs and its version. From one that was removed it means nothing."""
    known = find(ledger, command.id)
    if known is not None:
        _put(
            ledger,
            msgspec.structs.replace(known, name=command.name, client_urls=command.client_urls, version=command.version),
        )
        versions.settle(ledger, [member.version for member in members(ledger)])
    return Published(known is not None)


def row(member: Member) -> tuple[Table, bytes, bytes]:
    """The row in which `find` finds it."""
    return Table.META, _DESCRIBED + _name(member.id), _encode(member)


def tombstone(member: int) -> tuple[Table, bytes, bytes]:
    """The row that says that a member was removed."""
    return Table.META, _REMOVED + _name(member), b""


def counted(ledger: Ledger) -> bytes | None:
    """The members in raft's encoding; None in a state that was made before there could be more than one."""
    return ledger.rows.get(Table.META, COUNTED)


def find(ledger: Ledger, member: int) -> Member | None:
    """What is known of a member."""
    row = ledger.rows.get(Table.META, _DESCRIBED + _name(member))
    return None if row is None else _decode_member(row)


def members(ledger: Ledger) -> list[Member]:
    """All that are described, by id."""
    end = _DESCRIBED[:-1] + bytes([_DESCRIBED[-1] + 1])
    return [_decode_member(row) for _, row in ledger.rows.scan(Table.META, _DESCRIBED, end)]


def removed(ledger: Ledger) -> list[int]:
    """The ids of all that were removed."""
    end = _REMOVED[:-1] + bytes([_REMOVED[-1] + 1])
    return [int.from_bytes(name[len(_REMOVED) :], "big") for name, _ in ledger.rows.scan(Table.META, _REMOVED, end)]


def was_removed(ledger: Ledger, member: int) -> bool:
    """Whether it once belonged to the cluster and does no more. Ids are never used again."""
    return ledger.rows.get(Table.META, _REMOVED + _name(member)) is not None


def _put(ledger: Ledger, member: Member) -> None:
    ledger.rows.put(*row(member))


def _name(member: int) -> bytes:
    return member.to_bytes(8, "big")
