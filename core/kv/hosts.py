"""Whose machine ids are: each is bound to the key of the host that had it first, as a system record.

A machine id is no secret and a host may choose it, so it proves nothing. What was placed on a host, and the texts that
go with it, must not fall to whoever names its id while it is away: until an operator lets go of the id (`HostForget`),
only the key it is bound to may have it. A member stands for itself: it may take any id, and one that is held by a
member that is none any more is free.
"""

from collections.abc import Iterator

import msgspec

from core.kv import membership
from core.kv.access import prefix_end
from core.kv.commands import HostBind, HostForget
from core.kv.errors import HostTakenError, LimitError
from core.kv.ledger import SYSTEM_PREFIX, Ledger
from core.kv.outcomes import HostDone
from core.kv.records import Action
from core.kv.transaction import Table

PREFIX = SYSTEM_PREFIX + b"host/"
DIGEST_BYTES = 32
MOST_ADDRESSES = 8
_ID_DIGITS = 32
_LONGEST_ADDRESS = 255


class Holder(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Whose a machine id is."""

    machine: str
    key: bytes
    """SHA-256 of the public key in the host's certificate; empty for a member."""
    addresses: tuple[str, ...] = ()
    """Addresses and names of the host: those its certificates are for, and from which it came with one."""
    member: int = 0
    """The member it is; 0: none."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Holder).decode


def bind(ledger: Ledger, command: HostBind) -> HostDone:
    """Give a machine id to a key or a member, or note where its holder is. HostTakenError."""
    _check(command)
    held = find(ledger, command.machine)
    if held is not None and held.key != command.key and not command.member:
        raise HostTakenError(command.machine)
    new = Holder(command.machine, command.key, command.addresses, command.member)
    if held == new:
        return HostDone(ledger.revision)
    key = _key(command.machine)
    previous = ledger.live(Table.KEY, key)
    ledger.tell(
        ledger.write(Table.KEY, key, ledger.revision + 1, 0, Action.SET, _encode(new), previous=previous), previous
    )
    return HostDone(ledger.revision)


def forget(ledger: Ledger, command: HostForget) -> HostDone:
    """Let go of a machine id: the next host that names it has it. Doing it again changes nothing."""
    record = ledger.live(Table.KEY, _key(command.machine))
    if record is not None:
        ledger.remove(Table.KEY, record, ledger.revision + 1, 0, Action.DELETE)
    return HostDone(ledger.revision)


def find(ledger: Ledger, machine: str) -> Holder | None:
    """Who holds a machine id; None if nobody does."""
    record = ledger.live(Table.KEY, _key(machine))
    return None if record is None else _valid(ledger, _decode(record.value))


def holders(ledger: Ledger) -> Iterator[Holder]:
    """All of them, by machine id."""
    for key, _ in list(ledger.rows.scan(Table.KEY, PREFIX, prefix_end(PREFIX))):
        record = ledger.live(Table.KEY, key)
        held = None if record is None else _valid(ledger, _decode(record.value))
        if held is not None:
            yield held


def _valid(ledger: Ledger, held: Holder) -> Holder | None:
    return None if held.member and membership.find(ledger, held.member) is None else held


def _key(machine: str) -> bytes:
    return PREFIX + machine.encode()[:_ID_DIGITS]


def _check(command: HostBind) -> None:
    if len(command.machine) != _ID_DIGITS or not command.machine.isalnum() or not command.machine.isascii():
        raise LimitError(f"a machine id has {_ID_DIGITS} hexadecimal digits")
    if len(command.key) != (0 if command.member else DIGEST_BYTES):
        raise LimitError(f"the key of a host is named by {DIGEST_BYTES} bytes, a member by its id alone")
    if len(command.addresses) > MOST_ADDRESSES or any(len(each) > _LONGEST_ADDRESS for each in command.addresses):
        raise LimitError(f"a host has at most {MOST_ADDRESSES} addresses of {_LONGEST_ADDRESS} characters")
