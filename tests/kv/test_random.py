"""Thousands of random commands, each outcome and every readable state compared with the twin."""

from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from core.kv import ledger, rows, tree
from core.kv.memory import MemoryStore
from core.kv.transaction import Table
from core.store_lmdb.state import StateStore
from tests.kv.trial import listing
from tests.kv.values import versions
from tests.kv.walk import EXAMPLES, seeds, walk


@pytest.mark.parametrize("seed", seeds(1, 12))
def test_walk(seed: int) -> None:
    walk(MemoryStore(), Random(seed), 400)


@pytest.mark.parametrize("seed", seeds(101, 2))
def test_walk_with_rows_that_overflow(seed: int) -> None:
    """Hot keys of hundreds of versions, read at every revision."""
    store = MemoryStore()
    chunks = []
    trial = walk(
        store,
        Random(seed),
        500,
        compact=0,
        hot=60,
        between=lambda: chunks.append(len(list(store.scan(Table.OLDER)))),
    )
    assert max(chunks) >= 5, "no row overflowed: the test says nothing"
    assert trial.model.revision > 300


@pytest.mark.parametrize("seed", seeds(201, 4))
def test_walk_with_overflow_and_compaction(seed: int) -> None:
    walk(MemoryStore(), Random(seed), 500, compact=1, hot=100)


@pytest.mark.parametrize("seed", seeds(301, 3))
def test_walk_over_the_disk(seed: int, tmp_path: Path) -> None:
    """The same over LMDB, flushed at random moments."""
    random = Random(seed)
    flushes = Random(-seed)
    store = StateStore(tmp_path, create=True)

    def between() -> None:
        if flushes.randrange(5) == 0:
            store.flush()

    walk(store, random, 300, hot=20, between=between)
    store.close()


@seed(20261121)
@settings(
    max_examples=60 * EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
@given(st.randoms(use_true_random=False), st.integers(1, 25))
def test_short_walk(random: Random, batches: int) -> None:
    """Short ones, which shrink to the commands that matter."""
    walk(MemoryStore(), random, batches)


@pytest.mark.parametrize("seed", seeds(501, 6))
def test_walk_with_rows_of_two_versions(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every key's row overflows all the time, so chains are long and compaction cuts them at every place."""
    monkeypatch.setattr(rows, "LIMIT", 2)
    walk(MemoryStore(), Random(seed), 250, compact=seed % 3, hot=20)


@pytest.mark.parametrize("seed", seeds(511, 3))
def test_walk_with_room_for_two_known_directories(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the ledger remembers of directories is thrown away again and again."""
    monkeypatch.setattr(ledger, "_KNOWN_DIRECTORIES", 2)
    walk(MemoryStore(), Random(seed), 250)


@pytest.mark.parametrize("seed", seeds(521, 3))
def test_pages_of_a_listing_join(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any page size, and any number of rows looked at for one, gives the same children at any revision."""
    random = Random(seed)
    trial = walk(MemoryStore(), random, 200, compact=1)
    for directory in [b"/", *trial.model.directories]:
        at = random.choice([None, trial.model.revision, trial.model.floor])
        whole = listing(trial.keyspace, directory, at=at)
        assert list(versions(whole)) == trial.model.listing(directory, at or trial.model.revision)
        for limit in (1, 2, 3):
            assert listing(trial.keyspace, directory, limit, at) == whole
        for scanned in (1, 2, 7):
            monkeypatch.setattr(tree, "SCANNED", scanned)
            assert listing(trial.keyspace, directory, at=at) == whole
            assert listing(trial.keyspace, directory, 2, at) == whole
        monkeypatch.undo()
