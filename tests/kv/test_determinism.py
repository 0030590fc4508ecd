"""Same log, same maps, byte for byte: applied twice, replayed from its bytes, cut by crashes at any point."""

from pathlib import Path
from random import Random

import pytest

from core.kv import commands as c
from core.kv.keyspace import Keyspace
from core.kv.memory import MemoryStore
from core.kv.transaction import Table, Transaction
from core.store_lmdb.state import StateStore
from tests.kv.chance import Chance
from tests.kv.trial import Dump, dump
from tests.kv.walk import seeds, walk


def log_of(seed: int, batches: int = 250) -> list[bytes]:
    """The encoded entries of a random walk."""
    return walk(MemoryStore(), Random(seed), batches, hot=30).log


def replay(log: list[bytes], store: Transaction, *, restart: bool = False, sweep: bool = True) -> Dump:
    """Apply what the maps do not have yet, with a sweep at fixed places of the log; all rows then."""
    keyspace = Keyspace(store)
    for index, entry in enumerate(log, 1):
        if index > keyspace.applied[0]:
            keyspace.apply(index, 1, c.decode(entry))
            if sweep and index % 10 == 0:
                keyspace.sweep(50)
            if restart:
                keyspace = Keyspace(store)
    return dump(store)


@pytest.mark.parametrize("seed", seeds(401, 3))
def test_a_log_gives_the_same_maps_each_time(seed: int) -> None:
    log = log_of(seed)
    assert replay(log, MemoryStore()) == replay(log, MemoryStore())


@pytest.mark.parametrize("seed", seeds(411, 3))
def test_a_restart_after_every_batch_changes_nothing(seed: int) -> None:
    """What a Keyspace holds in memory is a cache and never decides."""
    log = log_of(seed)
    assert replay(log, MemoryStore(), restart=True) == replay(log, MemoryStore())


@pytest.mark.parametrize("seed", seeds(421, 2))
def test_crashes_that_lose_what_was_not_flushed(seed: int, tmp_path: Path) -> None:
    log = log_of(seed)
    random = Random(seed)
    crashes = 0
    end = 0
    while end < len(log):
        store = StateStore(tmp_path, create=crashes == 0)
        assert Keyspace(store).applied[0] <= end
        end = min(len(log), end + random.randrange(1, 40))
        replay(log[: max(0, end - random.randrange(1, 20))], store)
        store.flush()
        replay(log[:end], store)
        store.close()
        crashes += 1
    store = StateStore(tmp_path)
    assert replay(log, store) == replay(log, MemoryStore())
    store.close()
    assert crashes > 5


@pytest.mark.parametrize("seed", seeds(431, 2))
def test_a_refused_command_changes_nothing_but_the_applied_row(seed: int) -> None:
    random = Random(seed)
    trial = walk(MemoryStore(), random, 100, compact=1)
    chance = Chance(random, trial.model, compact=1)
    refused = 0
    while refused < 150:
        _, commands = chance.batch()
        for command in commands:
            before = dump(trial.store)
            refusal = trial.step(command, time=trial.model.time)[0][0]
            if refusal.endswith("Error"):
                refused += 1
                after = dump(trial.store)
                assert before[Table.META].pop(b"applied") != after[Table.META].pop(b"applied")
                assert after == before, f"{command} was refused and changed rows"


def test_an_entry_must_follow_the_last() -> None:
    keyspace = Keyspace(MemoryStore())
    keyspace.apply(1, 1, None)
    for index in (0, 1, 3):
        with pytest.raises(ValueError, match="cannot follow"):
            keyspace.apply(index, 1, None)
    keyspace.apply(2, 1, c.Batch(5, ()))
    assert keyspace.applied == (2, 1)
    assert keyspace.time == 5


def test_time_never_goes_back() -> None:
    keyspace = Keyspace(MemoryStore())
    keyspace.apply(1, 1, c.Batch(100, ()))
    keyspace.apply(2, 1, c.Batch(50, ()))
    assert keyspace.time == 100
