"""What travels: to plain values and back, and what is refused on the way."""

from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.raft import messages
from core.raft.members import Members, encode
from core.raft.messages import (
    Append,
    AppendReply,
    Entry,
    Heartbeat,
    InstallSnapshot,
    Kind,
    Message,
    MessageError,
    Snapshot,
    check,
    from_bytes,
    to_bytes,
)

NUMBERS = st.integers(0, (1 << 63) - 1)
IDS = st.lists(st.integers(1, (1 << 64) - 1), unique=True, max_size=4).map(lambda ids: tuple(sorted(ids)))
ENTRIES = st.lists(st.builds(Entry, NUMBERS, NUMBERS, st.integers(0, 255), st.binary(max_size=9)), max_size=3).map(
    tuple
)
SNAPSHOTS = st.builds(Snapshot, NUMBERS, NUMBERS, st.builds(Members, IDS, IDS))
FIELDS: dict[Any, st.SearchStrategy[Any]] = {bool: st.booleans(), tuple[Entry, ...]: ENTRIES, Snapshot: SNAPSHOTS}


def _any_of(kind: type[Message]) -> st.SearchStrategy[Message]:
    fields = msgspec.structs.fields(kind)
    return st.builds(kind, *(FIELDS.get(field.type, NUMBERS) for field in fields))


ANY = st.one_of(*map(_any_of, get_args(messages.Message)))
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.binary(max_size=4)
    | st.text(max_size=4)
    | st.floats(),
    lambda inner: st.lists(inner, max_size=6),
    max_leaves=6,
)


@given(ANY)
def test_there_and_back(message: Message) -> None:
    assert from_bytes(to_bytes(message)) == message


@given(PLAIN | st.lists(st.integers(0, 14) | PLAIN, min_size=1, max_size=7))
def test_garbage_is_refused_or_a_message(plain: object) -> None:
    try:
        message = from_bytes(msgspec.msgpack.encode(plain))
    except msgspec.MsgspecError:
        return
    assert from_bytes(to_bytes(message)) == message


@pytest.mark.parametrize(
    "plain",
    [
        [7, -1, 0, 0],
        [7, 1 << 63, 0, 0],
        [7, 1, 0],
        [7, True, 0, 0],
        [99, 1, 0, 0],
        [5, 1, 1, 1, 1, [[1, 1, 300, b""]]],
        [5, 1, 1, 1, 1, [[1, 1, 0, "text"]]],
        [5, 1, 1, 1, 1, None],
    ],
)
def test_wrong_types_and_ranges_are_refused(plain: list[Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        from_bytes(msgspec.msgpack.encode(plain))


@given(ANY)
def test_only_what_fits_together_passes_the_check(message: Message) -> None:
    fits = True
    if isinstance(message, Append):
        terms = [message.log_term, *(entry.term for entry in message.entries), message.term]
        indexes = [entry.index for entry in message.entries]
        fits = (
            terms == sorted(terms)
            and all(terms[1:-1])
            and indexes == list(range(message.index + 1, message.index + 1 + len(indexes)))
            and all(entry.kind != Kind.MEMBERSHIP for entry in message.entries)
        )
    elif isinstance(message, InstallSnapshot):
        snapshot = message.snapshot
        known = snapshot.members
        fits = snapshot.index > 0 and 0 < snapshot.term <= message.term
        fits = fits and bool(known.voters) and not set(known.voters) & set(known.learners)
    if fits:
        check(message)
    else:
        with pytest.raises(MessageError):
            check(message)


def test_a_row_of_entries_passes() -> None:
    members = encode(Members((1, 2)))
    check(Append(5, 3, 2, 9, (Entry(4, 2, 0, b""), Entry(5, 4, Kind.MEMBERSHIP, members), Entry(6, 5, 0, b"x"))))
    check(Append(5, 0, 0, 0, (Entry(1, 1, 0, b""),)))


def test_ids_have_64_bits() -> None:
    """They come from outside the bounds that a plain number is checked for."""
    with pytest.raises(MessageError, match="64 bits"):
        check(InstallSnapshot(1, Snapshot(1, 1, Members((1, 1 << 64)))))
    check(InstallSnapshot(1, Snapshot(1, 1, Members((1, (1 << 64) - 1)))))


def test_what_travels_is_an_array_of_plain_values() -> None:
    append = Append(2, 1, 1, 1, (Entry(2, 2, Kind.COMMANDS, b"x"),))
    assert msgspec.msgpack.decode(to_bytes(append)) == [5, 2, 1, 1, 1, [[2, 2, 0, b"x"]]]
    assert msgspec.msgpack.decode(to_bytes(Heartbeat(1, 2, 3))) == [7, 1, 2, 3]
    assert msgspec.msgpack.decode(to_bytes(AppendReply(1, 2))) == [6, 1, 2, False, 0, 0]
