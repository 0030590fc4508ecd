"""What one key does when operations come one at a time: the specifications that histories are held against.

A model gives the states in which an operation may leave a key: none if what it returned cannot have come about. A
state is a hashable value. Where the outcome is unknown, the result is None, and so is the index it was given.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

from tests.chaos.history import Operation

Model = Callable[[Hashable, str, Any, Any, bool], Iterator[Hashable]]
"""(state, kind, argument, result, known) -> next states."""
Specify = Callable[[Sequence[Operation]], Model]
"""The model for the history of one key."""

ABSENT = (None, 0, True)
EMPTY: tuple[str, ...] = ()


def cell(_: Sequence[Operation]) -> Model:
    """A register with compare-and-swap; its state is (value, index, True), or (value, index, False) where it was
    written by an unknown outcome and not read since: then its own index is higher than this one.

    read -> (value, index) · write value -> index · cas_value (old, new) and cas_index (old index, new) -> index, or
    None where the comparison failed. Indexes ascend.
    """
    return _cell


def _cell(state: Any, kind: str, argument: Any, result: Any, known: bool) -> Iterator[Hashable]:
    value, index, exact = state
    if kind == "read":
        if result[0] == value and (result[1] == index if exact else result[1] > index):
            yield (*result, True)
        return
    may_fit, must_fit = True, True
    if kind == "write":
        new = argument
    elif kind == "cas_value":
        old, new = argument
        may_fit = must_fit = value == old
    elif kind == "cas_index":
        old, new = argument
        may_fit = value is not None and (old == index if exact else old > index)
        must_fit = may_fit and exact
    else:
        raise ValueError(f"no operation of a cell: {kind}")
    if not known:
        if may_fit:
            yield new, index, False
    elif result is None:
        if not must_fit:
            yield state
    elif may_fit and result > index:
        yield new, result, True


def log(operations: Sequence[Operation]) -> Model:
    """A list to which values are appended, each once; its state is the values in order.

    append value -> None · read -> the values, in a tuple.

    The longest list that was read is what the key held at some time: a state that is neither a beginning of it nor
    longer leads nowhere. Nothing longer was read, so all that is longer is one state. That keeps the search short.
    """
    longest: tuple[str, ...] = max((each.result for each in operations if each.kind == "read"), key=len, default=EMPTY)

    def step(state: Any, kind: str, argument: Any, result: Any, _: bool) -> Iterator[Hashable]:
        if kind == "append":
            length = len(state)
            if length >= len(longest):
                yield (*longest, "...")
            elif longest[length] == argument:
                yield longest[: length + 1]
        elif kind == "read":
            if result == state:
                yield state
        else:
            raise ValueError(f"no operation of a log: {kind}")

    return step
