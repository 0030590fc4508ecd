"""Runs made up for the tests of the harness."""

from bench.history import Recorded
from bench.programs import SIDES, Side
from bench.rounds import Result, Run
from bench.workloads import Workload, usual


def run(rate: float, *, p99: float = 10.0, failed: int = 0, anonymous: int = 50 << 20) -> Run:
    return Run(rate, int(rate * 2), 2.0, failed, p99 / 4, p99, p99 * 2, rate / 10_000, anonymous, int(rate) * 200)


def result(workload: Workload, ours: list[float], theirs: list[float]) -> Result:
    rates: dict[Side, list[float]] = {"ours": ours, "theirs": theirs}
    return Result(workload, {side: [run(rate) for rate in rates[side]] for side in SIDES}, load=0.5)


def whole(name: str = "2026-01-02T03:04:05Z", ours: float = 3000.0, theirs: float = 2000.0) -> Recorded:
    """A run of every row, which came to its end."""
    machine = {"cores": 2, "cpu": "a & b", "memory_gib": 24.0, "kernel": "6.1", "disk": "/dev/x ext4", "python": "3.11"}
    programs: dict[Side, dict[str, str]] = {
        "ours": {"name": "corenode", "version": "0.1.0 abc"},
        "theirs": {"name": "etcd", "version": "3.4.23"},
    }
    plan = ["start", *map(str, usual())]
    results = [result(workload, [ours, ours * 2, ours], [theirs, theirs, theirs * 2]) for workload in usual()]
    starts: dict[str, dict[Side, list[float]]] = {"new": {"ours": [0.5, 0.4, 0.6], "theirs": [1.0, 1.1, 0.9]}}
    return Recorded(name, programs, machine, 3, 2, plan, results, starts, 600.0)
