"""Leases, and everything that ends with time: keys and directories with a TTL, leases with their keys.

Time is the cluster time of the batch. What is due is found in the EXPIRY table, earliest first.
"""

from collections.abc import Iterator
from itertools import islice

import msgspec

from core.kv import tree
from core.kv.commands import Expire, LeaseGrant, LeaseKeepAlive, LeaseRevoke
from core.kv.errors import LeaseExistsError, LeaseNotFoundError, LimitError, ReservedKeyError
from core.kv.ledger import EXPIRES_DIRECTORY, EXPIRES_LEASE, Ledger
from core.kv.outcomes import Expired, LeaseDone
from core.kv.records import Action, Record
from core.kv.reserved import WORLDS, world_end
from core.kv.steps import CHANGES, Steps, scan
from core.kv.transaction import Table

_SECOND = 1_000_000_000
_IDS = range(1, 1 << 63)
_TTLS = range(9_000_000_001)
"""Seconds; etcd has the same limit."""


class Lease(msgspec.Struct, frozen=True, array_like=True):
    """The terms of a lease; `ttl` in seconds, `deadline` in ns of cluster time."""

    ttl: int
    deadline: int


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Lease)


def find(ledger: Ledger, lease: int) -> Lease | None:
    """The lease of that id."""
    row = ledger.rows.get(Table.LEASE, _id(lease)) if lease in _IDS else None
    return None if row is None else _decoder.decode(row)


def deadline(ledger: Ledger, record: Record) -> int:
    """Cluster time in ns when a record expires by its own TTL or its lease; 0: never."""
    if record.lease:
        lease = find(ledger, record.lease)
        return lease.deadline if lease else 0
    return record.deadline


def attached(ledger: Ledger, lease: int) -> Iterator[bytes]:
    """The keys of a lease, in order; good while what it has shown is removed."""
    end = None if lease + 1 == 1 << 63 else _id(lease + 1)
    return (name[8:] for name, _ in scan(ledger.rows, Table.ATTACHED, _id(lease), end))


def host_key(ledger: Ledger, lease: int) -> bytes | None:
    """The first key of `core.kv.reserved` on a lease: it tells whose lease that is, since only its owner hangs such
    keys there."""
    if lease not in _IDS:
        return None
    name = _id(lease)
    for world in WORLDS:
        for found, _ in ledger.rows.scan(Table.ATTACHED, name + world, name + world_end(world)):
            return found[len(name) :]
    return None


def ids(ledger: Ledger, after: int, limit: int) -> list[int]:
    """The next ids of leases behind `after`, in order."""
    found = islice(ledger.rows.scan(Table.LEASE, _id(after + 1)), limit)
    return [int.from_bytes(name, "big") for name, _ in found]


def grant(ledger: Ledger, command: LeaseGrant) -> LeaseDone:
    """Make a lease."""
    if command.id not in _IDS or command.ttl not in _TTLS:
        raise LimitError(f"a lease has an id from 1 to {_IDS[-1]} and a TTL of 0 to {_TTLS[-1]} s")
    if find(ledger, command.id) is not None:
        raise LeaseExistsError
    _write(ledger, command.id, command.ttl)
    return LeaseDone(ledger.revision, command.id, command.ttl)


def keep_alive(ledger: Ledger, command: LeaseKeepAlive) -> LeaseDone:
    """Start a lease's time anew."""
    lease = find(ledger, command.id)
    if lease is None:
        raise LeaseNotFoundError
    _check_reserved(ledger, command)
    ledger.rows.delete(Table.EXPIRY, _expiry(lease.deadline, command.id))
    _write(ledger, command.id, lease.ttl)
    return LeaseDone(ledger.revision, command.id, lease.ttl)


def revoke(ledger: Ledger, command: LeaseRevoke) -> Steps[LeaseDone]:
    """End a lease and delete its keys, as one command."""
    lease = find(ledger, command.id)
    if lease is None:
        raise LeaseNotFoundError
    _check_reserved(ledger, command)
    yield from _end(ledger, command.id, lease, Action.DELETE)
    return LeaseDone(ledger.revision, command.id, 0)


def expire(ledger: Ledger, command: Expire) -> Steps[Expired]:
    """Remove what is due, each as a change of its own, earliest first."""
    due = ledger.rows.scan(Table.EXPIRY, b"", (ledger.time + 1).to_bytes(8, "big"))
    count = 0
    for when, _ in list(islice(due, max(command.limit, 0))):
        if ledger.rows.get(Table.EXPIRY, when) is None:
            continue  # gone with the directory or lease before it
        count += 1
        if count % CHANGES == 0:
            yield
        kind, name = when[8:9], when[9:]
        if kind == EXPIRES_LEASE:
            lease = find(ledger, int.from_bytes(name, "big"))
            if lease is not None:
                yield from _end(ledger, int.from_bytes(name, "big"), lease, Action.EXPIRE)
        else:
            record = ledger.live(Table.DIRECTORY if kind == EXPIRES_DIRECTORY else Table.KEY, name)
            if record is not None:
                yield from tree.take(ledger, record, Action.EXPIRE)
        ledger.rows.delete(Table.EXPIRY, when)
    ledger.expired += count
    return Expired(count)


def next_deadline(ledger: Ledger) -> int | None:
    """Cluster time in ns of the next expiry, if there is any."""
    first = next(ledger.rows.scan(Table.EXPIRY), None)
    return None if first is None else int.from_bytes(first[0][:8], "big")


def _check_reserved(ledger: Ledger, command: LeaseKeepAlive | LeaseRevoke) -> None:
    """ReservedKeyError if the lease is that of a host, and whoever asks may not touch it."""
    if not command.reserved and host_key(ledger, command.id) is not None:
        raise ReservedKeyError("the lease holds keys below \\0corenode/")


def _end(ledger: Ledger, lease_id: int, lease: Lease, action: Action) -> Steps[None]:
    first_event = len(ledger.events)
    ledger.begin_group()
    for number, key in enumerate(attached(ledger, lease_id), 1):
        if number % CHANGES == 0:
            yield
        record = ledger.live(Table.KEY, key)
        if record is not None:
            yield from tree.take(ledger, record, action)
    yield from ledger.end_group(first_event)
    ledger.rows.delete(Table.LEASE, _id(lease_id))
    ledger.rows.delete(Table.EXPIRY, _expiry(lease.deadline, lease_id))


def _write(ledger: Ledger, lease_id: int, ttl: int) -> None:
    lease = Lease(ttl, ledger.time + ttl * _SECOND)
    ledger.rows.put(Table.LEASE, _id(lease_id), _encoder.encode(lease))
    ledger.rows.put(Table.EXPIRY, _expiry(lease.deadline, lease_id), b"")


def _expiry(due: int, lease_id: int) -> bytes:
    return due.to_bytes(8, "big") + EXPIRES_LEASE + _id(lease_id)


def _id(lease: int) -> bytes:
    return lease.to_bytes(8, "big")
