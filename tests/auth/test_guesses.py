"""How fast tokens may be guessed."""

from core.api.access.throttle import FREE_FOR_USER
from core.api.ops.guesses import FAILURES, SECONDS, Guesses


def test_failures_for_one_token_from_one_address_are_slowed_down() -> None:
    guesses = Guesses()
    assert [guesses.begin("t", "a", 0.0) for _ in range(FREE_FOR_USER)] == [0.0] * FREE_FOR_USER
    assert guesses.begin("t", "a", 0.0) > 0
    assert guesses.begin("t", "b", 0.0) == 0


def test_who_knows_the_secret_is_not_slowed_down() -> None:
    guesses = Guesses()
    for _ in range(10 * FAILURES):
        assert guesses.begin("t", "a", 0.0) == 0
        guesses.succeeded("t", "a")


def test_all_addresses_together_are_bounded_and_it_passes() -> None:
    guesses = Guesses()
    for number in range(FAILURES):
        assert guesses.begin("t", f"host{number}", 1.0) == 0
    assert guesses.begin("t", "another", 2.0) == SECONDS - 1
    assert guesses.begin("t", "another", 1.0 + SECONDS) == 0
