"""Revoked serial numbers as system records."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.kv.commands import Batch, Command, DeleteRange, Put, Range, Revoke, decode, encode
from core.kv.errors import LimitError, ReservedKeyError
from core.kv.keyspace import Keyspace, Outcome
from core.kv.memory import MemoryStore
from core.kv.outcomes import DeleteDone, Revoked
from core.kv.revocations import command_for


def apply(keyspace: Keyspace, *commands: Command) -> list[Outcome]:
    batch = decode(encode(Batch(1, commands)))
    return keyspace.apply(keyspace.applied[0] + 1, 1, batch)[0]


@given(st.sets(st.integers(min_value=1, max_value=(1 << 160) - 1), max_size=20))
def test_what_is_revoked_stays_revoked_and_nothing_else_is(serials: set[int]) -> None:
    keyspace = Keyspace(MemoryStore())
    for count, serial in enumerate(sorted(serials), 1):
        assert apply(keyspace, command_for(serial)) == [Revoked(1 + count, new=True)]
        assert apply(keyspace, command_for(serial)) == [Revoked(1 + count, new=False)]
    assert set(keyspace.revoked()) == serials
    assert keyspace.revocations == len(serials)
    assert all(keyspace.is_revoked(serial) for serial in serials)
    assert not any(keyspace.is_revoked(serial + 1) for serial in serials if serial + 1 not in serials)
    assert not keyspace.is_revoked(0)
    assert not keyspace.is_revoked(-1)


@pytest.mark.parametrize("serial", [b"", b"\0\1", b"x" * 21])
def test_what_is_no_serial_number_is_refused(serial: bytes) -> None:
    keyspace = Keyspace(MemoryStore())
    (outcome,) = apply(keyspace, Revoke(serial))
    assert isinstance(outcome, LimitError)
    assert keyspace.revoked() == []


@pytest.mark.parametrize("serial", [0, -1, 1 << 160])
def test_no_command_for_what_is_no_serial_number(serial: int) -> None:
    with pytest.raises(ValueError, match="serial number"):
        command_for(serial)


def test_no_client_can_see_write_or_delete_the_record() -> None:
    keyspace = Keyspace(MemoryStore())
    apply(keyspace, command_for(7))
    put, deleted = apply(keyspace, Put(b"\0corenode/revoked/\7"), DeleteRange(b"\0", b"\0"))
    read = keyspace.range(Range(b"\0", b"\0"))
    assert isinstance(put, ReservedKeyError)
    assert isinstance(deleted, DeleteDone)
    assert deleted.deleted == 0
    assert read.count == 0
    assert keyspace.is_revoked(7)
