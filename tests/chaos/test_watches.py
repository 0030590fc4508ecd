"""What watchers saw is judged rightly: each promise once broken, and once kept."""

import pytest

from tests.chaos.watches import Seen, check

EVENTS = [Seen(2, "/k", "a", "set"), Seen(3, "/k", "b", "set"), Seen(5, "/l", "c", "create")]
VALUES = frozenset("abcd")
STRANGE = Seen(4, "/k", "z", "set")


def test_the_same_events_for_all_are_in_order() -> None:
    assert check([EVENTS, EVENTS], EVENTS, VALUES) == []
    assert check([EVENTS, EVENTS], EVENTS[:1], VALUES) == []  # the outcome of the others was unknown


@pytest.mark.parametrize(
    ("watchers", "written", "words"),
    [
        ([[EVENTS[1], EVENTS[0], EVENTS[2]], EVENTS], EVENTS, "after index"),
        ([[EVENTS[0], *EVENTS], EVENTS], EVENTS, "twice"),
        ([EVENTS[:1] + EVENTS[2:], EVENTS], EVENTS, "never saw"),
        ([EVENTS[:2], EVENTS], EVENTS, "never saw"),
        ([EVENTS[:2], EVENTS[:2]], EVENTS, "acknowledged"),
        ([[*EVENTS[:2], Seen(5, "/l", "d", "create")], EVENTS], EVENTS, "another one"),
        ([sorted([*EVENTS, STRANGE], key=lambda each: each.index)] * 2, EVENTS, "nobody wrote"),
        ([[*EVENTS, Seen(6, "/k", "b", "set")]] * 2, EVENTS, "took effect twice"),
        ([EVENTS, EVENTS], [*EVENTS, Seen(5, "/k", "d", "set")], "one index"),
        ([EVENTS, EVENTS], [Seen(3, "/k", "d", "set")], "acknowledged"),
    ],
)
def test_a_broken_promise_is_named(watchers: list[list[Seen]], written: list[Seen], words: str) -> None:
    found = check(watchers, written, VALUES)
    assert any(words in sentence for sentence in found), found
