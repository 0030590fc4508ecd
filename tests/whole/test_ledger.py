"""The ledger must find every kind of broken promise, and must not cry at what is allowed."""

from typing import Any

import pytest

from tests.whole.ledger import BrokenPromiseError, Ledger, check_history, check_indexes, check_keys, check_queue


@pytest.fixture
def ledger() -> Ledger:
    """`/a` is 2 at index 6; a write of 3 and then a delete have an unknown outcome. `/gone` was deleted at 8."""
    made = Ledger()
    for value, index in (("1", 5), ("2", 6)):
        made.about_to_write("/a", value)
        made.acknowledged("/a", value, index)
    made.about_to_write("/gone", "x")
    made.acknowledged("/gone", "x", 7)
    made.about_to_write("/gone", None)
    made.acknowledged("/gone", None, 8)
    made.about_to_write("/a", "3")
    made.about_to_write("/a", None)
    return made


@pytest.mark.parametrize("found", [{"/a": ("2", 6)}, {"/a": ("3", 9)}, {"/a": ("3", 12)}, {}])
def test_what_may_be_there(ledger: Ledger, found: dict[str, tuple[str, int]]) -> None:
    assert check_keys(ledger, found) == 2
    assert check_keys(ledger, found) == 2
    if found:  # what was seen once is known from then on
        with pytest.raises(BrokenPromiseError):
            check_keys(ledger, {})


@pytest.mark.parametrize(
    "found",
    [
        {"/a": ("1", 5)},
        {"/a": ("2", 5)},
        {"/a": ("2", 9)},
        {"/a": ("3", 6)},
        {"/a": ("3", 8)},
        {"/a": ("", 9)},
        {"/a": ("3", 4)},
        {"/a": ("2", 6), "/gone": ("x", 7)},
        {"/a": ("2", 6), "/b": ("9", 9)},
    ],
    ids=str,
)
def test_what_may_not_be_there(ledger: Ledger, found: dict[str, tuple[str, int]]) -> None:
    with pytest.raises(BrokenPromiseError):
        check_keys(ledger, found)


def test_a_lost_key(ledger: Ledger) -> None:
    ledger.keys["/a"].pending.clear()
    with pytest.raises(BrokenPromiseError):
        check_keys(ledger, {})


def test_indexes(ledger: Ledger) -> None:
    check_indexes([ledger], 8)
    with pytest.raises(BrokenPromiseError, match="went back"):
        check_indexes([ledger], 7)
    with pytest.raises(BrokenPromiseError, match="was given to"):
        check_indexes([ledger, Ledger(indexes={6: ("/b", "1")})], 8)
    with pytest.raises(BrokenPromiseError, match="before"):
        ledger.acknowledged("/a", "4", 6)


def test_in_order_keys() -> None:
    ledger = Ledger(queue_pending=["one", "two", "three"])
    ledger.acknowledged_in_order("/q/05", "one", 5)
    assert check_queue(ledger, {"/q/05": ("one", 5), "/q/06": ("two", 6)}) == 2
    wrong: list[dict[str, tuple[str, int]]] = [
        {"/q/05": ("one", 5)},
        {"/q/06": ("two", 6)},
        {"/q/05": ("one", 5), "/q/06": ("two", 7)},
        {"/q/05": ("one", 5), "/q/06": ("two", 6), "/q/09": ("two", 9)},
        {"/q/05": ("", 5), "/q/06": ("two", 6)},
    ]
    for found in wrong:
        with pytest.raises(BrokenPromiseError):
            check_queue(ledger, found)


def test_history(ledger: Ledger) -> None:
    def event(key: str, value: str | None) -> dict[str, Any]:
        return {"node": {"key": key} if value is None else {"key": key, "value": value}}

    history = {5: event("/a", "1"), 6: event("/a", "2"), 7: event("/gone", "x"), 8: event("/gone", None)}
    assert check_history(ledger, history) == 4
    for wrong in ({7: None}, {6: event("/a", "1")}, {6: event("/b", "2")}, {8: event("/gone", "x")}):
        events = {index: found for index, found in {**history, **wrong}.items() if found is not None}
        with pytest.raises(BrokenPromiseError):
            check_history(ledger, events)
