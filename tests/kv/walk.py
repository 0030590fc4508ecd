"""One random walk of the trial, with everything that may happen to a member in between."""

import os
from collections.abc import Callable
from random import Random

from core.kv.transaction import Transaction
from tests.kv.chance import Chance
from tests.kv.trial import Trial

EXAMPLES = int(os.environ.get("CORENODE_TEST_EXAMPLES", "1"))
"""Multiplies how many walks are made."""


def seeds(first: int, count: int) -> range:
    """The seeds of so many walks, widened by EXAMPLES."""
    return range(first, first + count * EXAMPLES)


def walk(
    store: Transaction,
    random: Random,
    batches: int,
    *,
    compact: int = 2,
    hot: int = 8,
    between: Callable[[], None] = lambda: None,
) -> Trial:
    """Apply random batches, with restarts, sweeps and checks at random moments; `between` runs after each."""
    trial = Trial(store)
    chance = Chance(random, trial.model, compact=compact, hot=hot)
    for _ in range(batches):
        time, commands = chance.batch()
        trial.step(*commands, time=time)
        between()
        happens = random.randrange(60)
        if happens < 4:
            trial.reload()
        elif happens < 8:
            trial.sweep(random.choice([1, 3, 100]))
        elif happens < 9:
            trial.sweep()
            trial.check_swept()
        elif happens < 10:
            trial.check()
        else:
            trial.check_schedule()
    trial.check()
    trial.sweep()
    trial.check_swept()
    trial.check()
    return trial
