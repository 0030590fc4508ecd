"""Which operation a write becomes."""

import pytest

from core.api.v2.counters import Operation
from core.api.v2.errors import RequestError
from core.api.v2.form import MAX_KEY, Parameters
from core.api.v2.keys import chosen
from core.kv.commands import Command, CompareAndDelete, CompareAndSwap, Create, Delete, Set, Update

K = b"/k"
P = Parameters


@pytest.mark.parametrize(
    ("method", "parameters", "operation", "command"),
    [
        (b"PUT", P(b"v"), Operation.SETS, Set(K, b"v")),
        (b"PUT", P(), Operation.SETS, Set(K, b"")),
        (b"PUT", P(b"v", ttl=0), Operation.SETS, Set(K, b"v", ttl=0)),
        (b"PUT", P(b"v", directory=True), Operation.SETS, Set(K, directory=True)),
        (b"PUT", P(ttl=5, refresh=True), Operation.SETS, Set(K, ttl=5, refresh=True)),
        (b"PUT", P(b"v", previous_exists=False), Operation.CREATE, Create(K, b"v")),
        (b"PUT", P(b"v", previous_exists=False, previous_index=7), Operation.CREATE, Create(K, b"v")),
        (b"PUT", P(b"v", previous_exists=False, previous_value=b"x"), Operation.CREATE, Create(K, b"v")),
        (b"PUT", P(directory=True, previous_exists=False), Operation.CREATE, Create(K, directory=True)),
        (b"PUT", P(b"v", ttl=5, previous_exists=True), Operation.UPDATE, Update(K, b"v", 5)),
        (b"PUT", P(b"v", directory=True, previous_exists=True), Operation.UPDATE, Update(K, b"v")),
        (b"PUT", P(ttl=5, previous_exists=True, refresh=True), Operation.UPDATE, Update(K, ttl=5, refresh=True)),
        (
            b"PUT",
            P(b"v", previous_exists=True, previous_index=7),
            Operation.COMPARE_AND_SWAP,
            CompareAndSwap(K, b"v", previous_index=7),
        ),
        (
            b"PUT",
            P(b"v", previous_exists=True, previous_value=b"x"),
            Operation.COMPARE_AND_SWAP,
            CompareAndSwap(K, b"v", previous_value=b"x"),
        ),
        (
            b"PUT",
            P(b"v", ttl=9, previous_index=7, previous_value=b"x"),
            Operation.COMPARE_AND_SWAP,
            CompareAndSwap(K, b"v", 9, b"x", 7),
        ),
        (
            b"PUT",
            P(ttl=9, previous_index=7, refresh=True),
            Operation.COMPARE_AND_SWAP,
            CompareAndSwap(K, ttl=9, previous_index=7, refresh=True),
        ),
        (b"POST", P(b"v", ttl=3), Operation.CREATE, Create(K, b"v", ttl=3, in_order=True)),
        (b"POST", P(directory=True), Operation.CREATE, Create(K, directory=True, in_order=True)),
        (b"POST", P(b"v", previous_exists=True), Operation.CREATE, Create(K, b"v", in_order=True)),
        (b"DELETE", P(), Operation.DELETE, Delete(K)),
        (b"DELETE", P(directory=True), Operation.DELETE, Delete(K, directory=True)),
        (b"DELETE", P(recursive=True), Operation.DELETE, Delete(K, directory=True, recursive=True)),
        (b"DELETE", P(previous_exists=False), Operation.DELETE, Delete(K)),
        (b"DELETE", P(previous_index=7), Operation.COMPARE_AND_DELETE, CompareAndDelete(K, previous_index=7)),
        (
            b"DELETE",
            P(previous_value=b"x", recursive=True),
            Operation.COMPARE_AND_DELETE,
            CompareAndDelete(K, previous_value=b"x"),
        ),
    ],
)
def test_the_operation(method: bytes, parameters: Parameters, operation: Operation, command: Command) -> None:
    assert chosen(method, K, parameters) == (operation, command)


def test_an_in_order_key_must_have_room_for_its_name() -> None:
    assert isinstance(chosen(b"POST", b"/" + b"k" * (MAX_KEY - 22), P())[1], Create)
    with pytest.raises(RequestError, match="21 to come"):
        chosen(b"POST", b"/" + b"k" * (MAX_KEY - 21), P())
