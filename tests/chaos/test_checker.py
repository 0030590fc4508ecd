"""The checker is right about histories that are known to be good or bad, and about random ones made either."""

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.chaos.checker import UndecidedError, check
from tests.chaos.history import Operation, unknown
from tests.chaos.models import ABSENT, EMPTY, cell, log


def history(*lines: tuple[Any, ...]) -> list[Operation]:
    """Each (called, returned or None, kind, argument, result)."""
    return [
        Operation(number, "k", kind, argument, result, called, returned)
        for number, (called, returned, kind, argument, result) in enumerate(lines)
    ]


NOTHING = (None, 0)
CELLS: dict[str, tuple[bool, list[tuple[Any, ...]]]] = {
    "one after the other": (True, [(0, 1, "write", "a", 5), (2, 3, "read", None, ("a", 5))]),
    "a read at once may see either": (True, [(0, 9, "write", "a", 5), (1, 2, "read", None, NOTHING)]),
    "a read at once may see the new": (True, [(0, 9, "write", "a", 5), (1, 2, "read", None, ("a", 5))]),
    "an unknown write may take effect late": (
        True,
        [(0, None, "write", "a", None), (1, 2, "read", None, NOTHING), (5, 6, "read", None, ("a", 9))],
    ),
    "an unknown write may never take effect": (True, [(0, None, "write", "a", None), (1, 2, "read", None, NOTHING)]),
    "an unknown write between two known ones": (
        True,
        [(0, None, "write", "a", None), (1, 2, "write", "b", 7), (3, 4, "read", None, ("a", 8))],
    ),
    "a swap that an unknown write made fail": (
        True,
        [(0, 1, "write", "a", 5), (2, None, "write", "b", None), (3, 4, "cas_value", ("a", "c"), None)],
    ),
    "a swap by the index an unknown write was given": (
        True,
        [(0, None, "write", "a", None), (1, 2, "cas_index", (4, "b"), 6), (3, 4, "read", None, ("b", 6))],
    ),
    "two swaps, one wins": (
        True,
        [(0, 1, "write", "a", 5), (2, 9, "cas_value", ("a", "b"), 6), (2, 9, "cas_value", ("a", "c"), None)],
    ),
    "a swap of nothing fails": (True, [(0, 1, "cas_index", (4, "b"), None), (2, 3, "cas_value", ("a", "b"), None)]),
    "a stale read": (
        False,
        [(0, 1, "write", "a", 5), (2, 3, "write", "b", 6), (4, 5, "read", None, ("a", 5))],
    ),
    "a lost write": (False, [(0, 1, "write", "a", 5), (2, 3, "read", None, NOTHING)]),
    "a value from nowhere": (False, [(0, 1, "write", "a", 5), (2, 3, "read", None, ("z", 6))]),
    "a read before the write was called": (False, [(0, 1, "read", None, ("a", 5)), (2, 3, "write", "a", 5)]),
    "back in time between two readers": (
        False,
        [(0, 9, "write", "a", 5), (1, 2, "read", None, ("a", 5)), (3, 4, "read", None, NOTHING)],
    ),
    "an unknown write that comes and goes": (
        False,
        [(0, None, "write", "a", None), (1, 2, "read", None, ("a", 5)), (3, 4, "read", None, NOTHING)],
    ),
    "an unknown write applied twice": (
        False,
        [
            (0, None, "write", "a", None), (1, 2, "read", None, ("a", 5)), (3, 4, "write", "b", 6),
            (5, 6, "read", None, ("a", 7)),
        ],
    ),
    "two swaps both win": (
        False,
        [(0, 1, "write", "a", 5), (2, 9, "cas_value", ("a", "b"), 6), (2, 9, "cas_value", ("a", "c"), 7)],
    ),
    "a swap that ought to win fails": (False, [(0, 1, "write", "a", 5), (2, 3, "cas_value", ("a", "b"), None)]),
    "a swap by index that ought to win fails": (
        False,
        [(0, 1, "write", "a", 5), (2, 3, "cas_index", (5, "b"), None)],
    ),
    "a swap by an old index wins": (
        False,
        [(0, 1, "write", "a", 5), (2, 3, "write", "b", 6), (4, 5, "cas_index", (5, "c"), 7)],
    ),
    "a swap of nothing wins": (False, [(0, 1, "cas_value", ("a", "b"), 5)]),
    "an index that goes back behind an unknown write": (
        False,
        [(0, 1, "write", "a", 5), (2, None, "write", "b", None), (3, 4, "write", "c", 4)],
    ),
    "an unknown write that was given an old index": (
        False,
        [(0, 1, "write", "a", 5), (2, None, "write", "b", None), (3, 4, "read", None, ("b", 4))],
    ),
    "an index that goes back": (False, [(0, 1, "write", "a", 5), (2, 3, "write", "b", 4)]),
    "the right value with the wrong index": (False, [(0, 1, "write", "a", 5), (2, 3, "read", None, ("a", 6))]),
    "a failed swap that took effect": (
        False,
        [(0, 1, "write", "a", 5), (2, 9, "cas_value", ("x", "b"), None), (3, 4, "read", None, ("b", 6))],
    ),
    "an unknown swap that cannot have taken effect": (
        False,
        [(0, 1, "write", "a", 5), (2, None, "cas_value", ("x", "b"), None), (3, 4, "read", None, ("b", 6))],
    ),
    "two readers see two writes in two orders": (
        False,
        [
            (0, 20, "write", "a", 5), (0, 20, "write", "b", 6), (1, 2, "read", None, ("b", 6)),
            (3, 4, "read", None, ("a", 5)),
        ],
    ),
}  # fmt: skip
LOGS: dict[str, tuple[bool, list[tuple[Any, ...]]]] = {
    "in order": (True, [(0, 1, "append", "a", None), (2, 3, "append", "b", None), (4, 5, "read", None, ("a", "b"))]),
    "at once in any order": (
        True,
        [(0, 9, "append", "a", None), (0, 9, "append", "b", None), (10, 11, "read", None, ("b", "a"))],
    ),
    "unknown, and there": (True, [(0, None, "append", "a", None), (1, 2, "read", None, ("a",))]),
    "unknown, and never there": (True, [(0, None, "append", "a", None), (1, 2, "read", None, ())]),
    "unknown, and late": (
        True,
        [(0, None, "append", "a", None), (1, 2, "append", "b", None), (3, 4, "read", None, ("b", "a"))],
    ),
    "after the last read": (True, [(0, 1, "read", None, ()), (2, 3, "append", "a", None), (2, 3, "append", "b", None)]),
    "a lost append": (False, [(0, 1, "append", "a", None), (2, 3, "read", None, ())]),
    "an append twice": (False, [(0, 1, "append", "a", None), (2, 3, "read", None, ("a", "a"))]),
    "the wrong order": (
        False,
        [(0, 1, "append", "a", None), (2, 3, "append", "b", None), (4, 5, "read", None, ("b", "a"))],
    ),
    "two reads that do not agree": (
        False,
        [
            (0, 9, "append", "a", None), (0, 9, "append", "b", None), (10, 11, "read", None, ("b", "a")),
            (12, 13, "read", None, ("a", "b")),
        ],
    ),
    "a read that goes back": (
        False,
        [(0, 9, "append", "a", None), (1, 2, "read", None, ("a",)), (3, 4, "read", None, ())],
    ),
    "an append lost from the middle": (
        False,
        [
            (0, 1, "append", "a", None), (2, 3, "append", "b", None), (4, 5, "append", "c", None),
            (6, 7, "read", None, ("a", "c")),
        ],
    ),
    "seen before it was called": (False, [(0, 1, "read", None, ("a",)), (2, 3, "append", "a", None)]),
}  # fmt: skip


@pytest.mark.parametrize("name", CELLS)
def test_cells(name: str) -> None:
    good, lines = CELLS[name]
    assert (not check(history(*lines), cell, ABSENT)) is good


@pytest.mark.parametrize("name", LOGS)
def test_logs(name: str) -> None:
    good, lines = LOGS[name]
    assert (not check(history(*lines), log, EMPTY)) is good


def test_keys_are_checked_apart_and_the_first_that_cannot_be_explained_is_named() -> None:
    bad = history((0, 1, "write", "a", 5), (2, 3, "read", None, NOTHING), (4, 5, "read", None, ("a", 5)))
    good = [replace(each, key="other") for each in bad if each.kind == "write"]
    (violation,) = check([*bad, *good], cell, ABSENT)
    assert violation.key == "k"
    assert violation.at == bad[1]
    assert "not linearizable" in str(violation)


def test_a_search_that_is_too_long_says_so() -> None:
    with pytest.raises(UndecidedError):
        check(history(*[(0, 9, "write", str(n), n) for n in range(12)]), cell, ABSENT, limit=1000)


def test_many_unknown_outcomes_are_no_burden() -> None:
    lines: list[tuple[Any, ...]] = [(0, None, "write", f"lost{n}", None) for n in range(40)]
    lines += [(n, n + 0.5, "write", f"v{n}", n * 10) for n in range(1, 60)]
    lines.append((70, 71, "read", None, ("lost7", 601)))
    assert check(history(*lines), cell, ABSENT, limit=200_000) == []


def simulated(
    random: Random, kinds: Callable[[Random, Any, int], tuple[str, Any, Any, Any]], state: Any
) -> list[Operation]:
    """A history as a single copy makes it: each operation takes effect at a moment between its call and its return."""
    operations = []
    for moment in range(1, random.randrange(6, 24)):
        kind, argument, result, state = kinds(random, state, moment)
        called, returned = moment - random.uniform(0, 4), moment + random.uniform(0, 4)
        operation = Operation(moment, "k", kind, argument, result, called, returned)
        operations.append(unknown(operation) if kind != "read" and random.random() < 0.15 else operation)
    return operations


def cell_operation(random: Random, state: Any, moment: int) -> tuple[str, Any, Any, Any]:
    value, index, _ = state
    new = f"v{moment}"
    kind = random.choice(["read", "read", "write", "cas_value", "cas_index"])
    if kind == "read":
        return kind, None, (value, index), state
    if kind == "write":
        return kind, new, moment, (new, moment, True)
    if kind == "cas_value":
        old: Any = random.choice([value, "x"])
        wins = value is not None and old == value
    else:
        old = random.choice([index, index - 1])
        wins = value is not None and old == index
    return (
        kind,
        (old if value is not None or kind == "cas_index" else "x", new),
        moment if wins else None,
        ((new, moment, True) if wins else state),
    )


def log_operation(random: Random, state: Any, moment: int) -> tuple[str, Any, Any, Any]:
    if random.random() < 0.5:
        return "read", None, state, state
    return "append", f"v{moment}", None, (*state, f"v{moment}")


def by_hand(operations: list[Operation]) -> bool:
    """Try every order of the known operations: the definition itself, for short histories without unknown outcomes."""
    for order in permutations(operations):
        returned = [each.returned or 0 for each in order]
        if any(order[i].called > returned[j] for j in range(len(order)) for i in range(j)):
            continue
        states = [ABSENT]
        step = cell(operations)
        for each in order:
            states = [after for state in states for after in step(state, each.kind, each.argument, each.result, True)]  # type: ignore[misc]
        if states:
            return True
    return False


@given(st.randoms(use_true_random=False))
def test_what_a_single_copy_did_is_linearizable(random: Random) -> None:
    assert check(simulated(random, cell_operation, ABSENT), cell, ABSENT) == []
    assert check(simulated(random, log_operation, EMPTY), log, EMPTY) == []


@given(st.randoms(use_true_random=False))
def test_one_result_that_nothing_explains_is_found(random: Random) -> None:
    for kinds, model, state in ((cell_operation, cell, ABSENT), (log_operation, log, EMPTY)):
        operations = simulated(random, kinds, state)
        reads = [number for number, each in enumerate(operations) if each.kind == "read"]
        if not reads:
            continue
        number = random.choice(reads)
        foreign: Any = ("foreign", 999) if model is cell else (*operations[number].result, "foreign")
        operations[number] = replace(operations[number], result=foreign)
        assert check(operations, model, state) != []


@given(st.randoms(use_true_random=False))
def test_an_acknowledged_write_that_is_forgotten_is_found(random: Random) -> None:
    operations = [each for each in simulated(random, log_operation, EMPTY) if each.returned is not None]
    appended = [each.argument for each in operations if each.kind == "append"]
    if not appended:
        return
    lost = random.choice(appended)
    operations = [
        replace(each, result=tuple(value for value in each.result if value != lost)) if each.kind == "read" else each
        for each in operations
    ]
    kept = tuple(value for value in appended if value != lost)
    operations.append(Operation(99, "k", "read", None, kept, 900, 901))
    assert check(operations, log, EMPTY) != []


@settings(max_examples=60)
@given(st.randoms(use_true_random=False))
def test_it_decides_as_trying_every_order_does(random: Random) -> None:
    operations = [each for each in simulated(random, cell_operation, ABSENT) if each.returned is not None][:6]
    number = random.randrange(len(operations)) if operations else 0
    if operations and operations[number].kind == "read" and random.random() < 0.7:
        other: Any = random.choice([NOTHING, *[(f"v{n}", n) for n in range(1, 7)]])
        operations[number] = replace(operations[number], result=other)
    assert (check(operations, cell, ABSENT) == []) is by_hand(operations)
