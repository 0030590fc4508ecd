"""The simulator: clusters hold, runs can be repeated, and it cannot quietly stop exercising something."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.raft.simulator import mistakes
from tests.raft.simulator.__main__ import attempt, one
from tests.raft.simulator.cluster import Cluster, run
from tests.raft.simulator.totals import LEAST, Totals, shortfalls

ROOT = Path(__file__).resolve().parents[2]
SEEDS = 2000
SHARE = 400


def test_some_seeds_hold() -> None:
    totals, failed = attempt(range(1, 41))
    assert failed == []
    assert totals.seeds == 40
    assert totals.seconds >= 40 * 60


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1, SEEDS, SHARE))
def test_many_seeds_hold(first: int, record_property: Callable[[str, object], None]) -> None:
    """As `make sim` runs them, a share at a time."""
    options = ["--first", str(first), "--seeds", str(SHARE), "--processes", "1"]
    command = [sys.executable, "-m", "tests.raft.simulator", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr + done.stdout
    record_property("checked", done.stdout.strip())
    assert f"{SHARE:,} seeds" in done.stdout


def test_a_seed_gives_the_same_run_again() -> None:
    def trace(seed: int) -> list[str]:
        cluster = Cluster(seed, traced=True)
        cluster.run()
        return list(cluster.world.trace or ())

    assert trace(5) == trace(5)
    assert trace(5) != trace(6)
    assert run(5) == run(5)


def test_what_happens_too_rarely_is_told() -> None:
    enough = Totals(seeds=100, **{name: 100 * least for name, least in LEAST.items()})  # type: ignore[arg-type]
    assert shortfalls(enough) == []
    enough.snapshots -= 1
    assert shortfalls(enough) == ["snapshots: 2.99 a seed, at least 3 wanted"]
    assert len(shortfalls(Totals(seeds=100))) == len(LEAST)
    assert shortfalls(Totals(seeds=1)) == []


def test_a_seed_that_fails_is_named_and_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mistakes.clock_from_the_wall(monkeypatch)
    totals, failed = attempt(range(1, 3))
    assert [seed for seed, _ in failed] == [1, 2]
    assert all("the cluster's clock goes back" in reason for _, reason in failed)
    assert totals.seeds == 0
    assert one(1) == 1
    shown = capsys.readouterr().out
    assert re.search(r"sim: seed 1 failed at [\d.]+ s: Violation: the cluster's clock goes back", shown)
    assert "Append(" in shown
