"""No power cut loses an acknowledged batch or leaves half of one, and the check would notice if one did."""

import os
import sys
from pathlib import Path

import pytest

from tests.store.power_cut import cuts, record
from tests.store.power_workload import FAULTS, check

LIMIT = int(os.environ.get("POWER_CUTS", "1500"))
SEED = int(os.environ.get("SEED", "1"))


def _command(path: Path, fault: str = "") -> list[str]:
    return [sys.executable, "-m", "tests.store.power_workload", str(path), fault]


@pytest.mark.slow
def test_a_power_cut_at_any_point_is_survived(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = record(_command(tmp_path / "data"), tmp_path / "data")
    assert trace.returncode == 0
    checked = 0
    problems = []
    for cut in cuts(trace, SEED, limit=LIMIT):
        checked += 1
        if problem := check(cut):
            problems.append(problem)
    assert not problems, f"{len(problems)} of {checked} cuts, first: {problems[0]}"
    assert checked >= min(LIMIT, 1000)
    with capsys.disabled():
        print(f"\npower cut: {trace.writes} writes recorded, {checked} cuts checked, seed {SEED}")


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_done_wrong_is_caught(tmp_path: Path, fault: str) -> None:
    trace = record(_command(tmp_path / "data", fault), tmp_path / "data")
    assert trace.returncode == 0
    assert any(check(cut) for cut in cuts(trace, SEED, limit=LIMIT)), f"{fault} went unnoticed in {LIMIT} cuts"
