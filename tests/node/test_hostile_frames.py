"""Frames of a member that lies: whatever they hold costs its link and no more."""

import contextlib
from random import Random
from typing import Any

import msgspec
import pytest

from core.kv import commands
from core.kv.commands import Batch, Put, Range, Set, Txn
from core.node import inbox
from core.node.peers import Frame
from core.raft.messages import Append, Entry, Heartbeat, Vote, to_bytes

KINDS = [int(kind) for kind in Frame]
BATCH = commands.encode(Batch(5, (Put(b"/a", b"1"), Txn((), (Range(b"a", b"b"),), ()), Set(b"/b", b"2"))))
MESSAGES = [
    to_bytes(Append(3, 7, 2, 5, (Entry(8, 3, 0, BATCH), Entry(9, 3, 1, b"x")))),
    to_bytes(Heartbeat(3, 5, 1)),
    to_bytes(Vote(3, 5, 1, False)),
]


def offered(kind: int, content: Any) -> None:
    with contextlib.suppress(ValueError):
        inbox.read(2, kind, content)


def nested(depth: int) -> bytes:
    """A transaction in a transaction, and so on."""
    data = commands.encode(Batch(0, (Txn(),)))
    whole = msgspec.msgpack.encode(msgspec.msgpack.decode(data)[1][0])
    before, _, behind = data.partition(whole)
    opening = whole.removesuffix(b"\x90\x90") + b"\x91"
    return before + opening * depth + whole + b"\x90" * depth + behind


@pytest.mark.parametrize("depth", [131, 300, 100_000])
def test_transactions_nested_too_deep_for_those_who_would_carry_them_out(depth: int) -> None:
    good = inbox.read(2, Frame.FORWARD, [1, nested(100)])
    assert isinstance(good, inbox.Handed)
    with pytest.raises(ValueError, match=r"deep|unreadable"):
        inbox.read(2, Frame.FORWARD, [1, nested(depth)])


def test_arrays_without_end() -> None:
    for deep in (
        b"\x91" * 1_000_000,
        b"\xdd\xff\xff\xff\xff",
        b"\x93\x05" + b"\xdc\xff\xff" * 1000,
        b"\xc6\xff\xff\xff\xff",
    ):
        offered(Frame.FORWARD, [1, deep])
        offered(Frame.RAFT, deep)


def test_changed_bytes_and_wrong_types() -> None:
    chance = Random(20)
    values: list[Any] = [
        0,
        -1,
        1 << 70,
        b"",
        b"x" * 65,
        "",
        [],
        [[]],
        [1, b""],
        [1, 1, 1, ""],
        [9, 9, 9, "x"],
        None,
        True,
    ]
    for kind in (*KINDS, 0, 99, -1):
        for value in values:
            offered(kind, value)
            offered(kind, [value, value])
            offered(kind, [0, 1, value, "why"])
    for _ in range(20_000):
        data = bytearray(chance.choice([*MESSAGES, BATCH]))
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        del data[chance.choice([len(data), chance.randrange(len(data))]) :]
        offered(Frame.RAFT, bytes(data))
        offered(Frame.FORWARD, [1, bytes(data)])
