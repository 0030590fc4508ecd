"""No power cut loses an acknowledged batch or leaves half of one, and the check would notice if one did."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.store.power_cut import Mark, Name, Sync, Write, cuts, record, recording
from tests.store.power_workload import FAULTS, check

LIMIT = int(os.environ.get("POWER_CUTS", "1000"))
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


def test_the_recorder_sees_what_a_running_program_does(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, time\n"
        "os.mkdir(sys.argv[1]); file = os.open(sys.argv[1] + '/a', os.O_RDWR | os.O_CREAT)\n"
        "os.write(file, b'one'); os.pwritev(file, [b'two', b'three'], 10); os.fsync(file)\n"
        "os.rename(sys.argv[1] + '/a', sys.argv[1] + '/b'); os.write(1, b'ready\\n')\n"
        "signal.sigwait([signal.SIGTERM]); os.write(file, b'last')\n"
    )
    root = tmp_path / "root"
    block = {"preexec_fn": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])}
    with recording([sys.executable, "-c", code, str(root)], root, stdout=subprocess.PIPE, **block) as run:
        assert run.process.stdout is not None
        assert run.process.stdout.readline() == b"ready\n"
        os.kill(run.pid, signal.SIGTERM)
        run.process.wait(20)
    trace = run.trace()
    a, b = f"{root}/a", f"{root}/b"
    assert trace.returncode == 0
    assert trace.operations == [
        Name(str(root), "directory"),
        Name(a, "file"),
        Write(a, 0, b"one", synced=False),
        Write(a, 10, b"twothree", synced=False),
        Sync(a),
        Name(b, "rename", a),
        Mark(b"ready\n"),
        Write(b, 3, b"last", synced=False),
    ]
    states = {(cut.root / "b").read_bytes() for cut in cuts(trace, 1, limit=100) if (cut.root / "b").exists()}
    whole = b"one" + bytes(7) + b"twothree"
    assert states == {whole, b"onelast" + bytes(3) + b"twothree"}
