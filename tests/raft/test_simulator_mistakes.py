"""The simulator catches each known-bad variant of the rules or of their driver, within a bounded number of seeds."""

import re
from collections.abc import Callable

import pytest

from tests.raft.simulator.checker import Violation
from tests.raft.simulator.cluster import run
from tests.raft.simulator.mistakes import CAUGHT, Mistake

SEEDS = 1500


@pytest.mark.slow
@pytest.mark.parametrize("mistake", CAUGHT, ids=lambda mistake: mistake.__name__)
def test_a_mistake_is_caught(
    mistake: Mistake, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    mistake(monkeypatch)
    caught = CAUGHT[mistake]
    seed, says = next(found for found in map(outcome, range(caught.first, caught.first + SEEDS)) if found[1])
    assert re.search(caught.says, says), f"seed {seed}: {says}"
    record_property("checked", f"caught by seed {seed}: {says}"[:150])


def outcome(seed: int) -> tuple[int, str]:
    """The seed, and what the simulator says about it, if anything."""
    try:
        run(seed)
    except (Violation, ValueError, IndexError) as error:
        return seed, str(error)
    return seed, ""


def test_every_mistake_has_its_own_name() -> None:
    assert len({mistake.__name__ for mistake in CAUGHT}) == len(CAUGHT) >= 14
