"""The harness from its command line."""

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from tests.whole.servers import ROOT


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *words], cwd=ROOT, capture_output=True, text=True, timeout=120
    )


@pytest.mark.slow
def test_one_row(tmp_path: Path) -> None:
    done = bench("--only", "fan-out", "--rounds", "1", "--seconds", "1", "--dir", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "v3 watch fan-out, 1000 conn." in done.stdout
    last = done.stdout.splitlines()[-1]
    assert last.startswith("bench: ")
    assert " requests in 1 rows, 0 of them failed, " in last
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_two_runs_in_one_place_are_refused_and_so_is_a_row_that_is_not_there(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = bench("--only", "fan-out", "--dir", str(tmp_path))
    assert (done.returncode, "another run uses" in done.stderr) == (1, True)
    done = bench("--only", "v4")
    assert (done.returncode, "--list names them" in done.stderr) == (1, True)


def test_rows_are_named() -> None:
    assert bench("--list").stdout.splitlines()[:2] == ["start", "v2 PUT, 1 conn."]
    assert len(bench("--list", "--full").stdout.splitlines()) > 500
