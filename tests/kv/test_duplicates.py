"""The duplicate-key rule of transactions, held to one that compares each with each."""

import time
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.kv.commands import DeleteRange, Operation, Put, Range, Txn
from core.kv.errors import DuplicateKeyError
from core.kv.flat import check_duplicates

Writes = tuple[list[bytes], list[DeleteRange]]
keys = st.sampled_from([b"a", b"b", b"c", b"d"])
leaves: st.SearchStrategy[Operation] = st.one_of(
    st.builds(Put, keys),
    st.builds(DeleteRange, keys, st.none() | keys | st.just(b"\0")),
    st.builds(Range, keys),
)
trees: st.SearchStrategy[Operation] = st.recursive(
    leaves,
    lambda inner: st.builds(
        lambda success, failure: Txn((), tuple(success), tuple(failure)),
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3),
    ),
    max_leaves=8,
)


def covers(deletion: DeleteRange, key: bytes) -> bool:
    if deletion.end is None:
        return key == deletion.key
    return deletion.key <= key and (deletion.end == b"\0" or key < deletion.end)


def writes(operations: tuple[Operation, ...]) -> tuple[bool, Writes]:
    """Whether a branch breaks the rule, and what it may write."""
    broken = False
    parts: list[Writes] = []
    for operation in operations:
        if isinstance(operation, Txn):
            first_broken, first = writes(operation.success)
            other_broken, other = writes(operation.failure)
            broken = broken or first_broken or other_broken
            parts.append((first[0] + other[0], first[1] + other[1]))
        elif isinstance(operation, Put):
            parts.append(([operation.key], []))
        elif isinstance(operation, DeleteRange):
            parts.append(([], [operation]))
    for (puts, deletions), (other_puts, other_deletions) in combinations(parts, 2):
        broken = broken or bool(set(puts) & set(other_puts))
        broken = broken or any(covers(deletion, key) for deletion in deletions for key in other_puts)
        broken = broken or any(covers(deletion, key) for deletion in other_deletions for key in puts)
    return broken, ([key for puts, _ in parts for key in puts], [each for _, deletions in parts for each in deletions])


@given(st.lists(trees, max_size=4), st.lists(trees, max_size=3))
@settings(max_examples=400)
def test_the_rule(success: list[Operation], failure: list[Operation]) -> None:
    command = Txn((), tuple(success), tuple(failure))
    if writes(command.success)[0] or writes(command.failure)[0]:
        with pytest.raises(DuplicateKeyError):
            check_duplicates(command)
    else:
        check_duplicates(command)


def test_many_deletions_and_puts_take_no_time() -> None:
    puts = [Put(b"p%06d" % number) for number in range(5_000)]
    deletions = [DeleteRange(b"d%06d" % number, b"d%06d" % (number + 1)) for number in range(5_000)]
    inner = [Txn((), tuple(puts[at : at + 100]), tuple(deletions[at : at + 100])) for at in range(0, 5_000, 100)]
    began = time.process_time()
    check_duplicates(Txn((), tuple(inner)))
    assert time.process_time() - began < 2.0, "25 million comparisons take longer"
