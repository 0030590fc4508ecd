"""Pairs of runs: one against this node, one against the peer, in turn."""

import os
import shutil
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.fanout import FANOUTS
from bench.programs import SIDES, Program, Side
from bench.servers import Cluster, Keys, ServerError
from bench.start import first_answer
from bench.usage import Meter
from bench.workloads import Workload
from bench.wrk import Answers, Load, drive

WARM_UP_SECONDS = 1
_FILL_CONNECTIONS = 64
_FILL_SECONDS = 2


@dataclass(frozen=True)
class Run:
    """One run against one side. Fields as in history.jsonl."""

    rate: float
    """Answers a second; of the fan-out, events."""
    requests: int
    seconds: float
    failed: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    cpu_seconds: float
    anonymous_bytes: int
    """The most of one member."""
    written_bytes: int
    """To the disk, by anybody."""

    @property
    def cpu_ms(self) -> float:
        """Milliseconds of processor a request; so, seconds a thousand of them."""
        return 1e3 * self.cpu_seconds / max(1, self.requests)

    @property
    def written(self) -> float:
        """Bytes a request."""
        return self.written_bytes / max(1, self.requests)


@dataclass
class Result:
    """All runs of a workload; those of a round stand at the same place on both sides."""

    workload: Workload
    runs: dict[Side, list[Run]] = field(default_factory=lambda: {side: [] for side in SIDES})
    load: float = 0.0
    """Of the machine before the first run, as `uptime` has it."""
    error: str = ""

    @property
    def failed(self) -> int:
        return sum(run.failed for runs in self.runs.values() for run in runs)

    @property
    def problem(self) -> str:
        """Why this row has no ratio; empty if it has one."""
        if self.error or self.failed:
            return self.error.partition("\n")[0][:80] or f"{self.failed} failed"
        return ""

    def median(self, side: Side, figure: Callable[[Run], float]) -> float:
        return statistics.median(figure(run) for run in self.runs[side])

    def ratios(self, figure: Callable[[Run], float] = lambda run: run.rate) -> list[float]:
        """Ours divided by theirs, of each pair."""
        pairs = zip(self.runs["ours"], self.runs["theirs"], strict=True)
        return [figure(ours) / figure(theirs) for ours, theirs in pairs]


class Place:
    """A cluster of each side, filled with the keys of some workloads. Use it in a `with`."""

    def __init__(self, programs: dict[Side, Program], home: Path, workloads: Sequence[Workload]) -> None:
        self._programs, self._home, self._workloads = programs, home, workloads
        self._members, self._tls, self._value_bytes = workloads[0].place
        self._stack = ExitStack()
        self.clusters: dict[Side, Cluster] = {}

    def __enter__(self) -> Self:
        shutil.rmtree(self._home, ignore_errors=True)
        self._stack.callback(shutil.rmtree, self._home, ignore_errors=True)
        keys = Keys(self._home / "ca") if self._tls else None
        for side, program in self._programs.items():
            self.clusters[side] = Cluster(program, self._home / side, self._members, keys)
            self._stack.callback(self.clusters[side].kill)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def is_usual(self) -> bool:
        """One plain member and small values."""
        return (self._members, self._tls, self._value_bytes) == (1, False, 64)

    def fill(self) -> None:
        """Start all servers and write every key once. LoadError, ServerError."""
        for cluster in self.clusters.values():
            cluster.start()
            for operation in sorted({_filler(workload) for workload in self._workloads} - {""}):
                fill(cluster, Load(operation, self._workloads[0].keys, self._value_bytes))
            if any(workload.operation == "renew3" for workload in self._workloads):
                grant(cluster)

    def measure(self, workload: Workload, rounds: int, seconds: int, tell: Callable[[str], None]) -> Result:
        """Run a workload in pairs, after a warm-up of each side that does not count. LoadError, ServerError."""
        result = Result(workload, load=round(os.getloadavg()[0], 2))
        for cluster in self.clusters.values():
            tell(f"{workload}: warm-up")
            self._run(cluster, workload, WARM_UP_SECONDS)
        for number in range(1, rounds + 1):
            for side, cluster in self.clusters.items():
                tell(f"{workload}: round {number}, {cluster.program.name}")
                result.runs[side].append(self._run(cluster, workload, seconds))
        return result

    def _run(self, cluster: Cluster, workload: Workload, seconds: int) -> Run:
        targets = cluster.targets(workload.through, workload.connections)
        with Meter(cluster.pids, self._home) as meter:
            if workload.operation in FANOUTS:
                answers = FANOUTS[workload.operation](cluster.members[0].port, workload.connections, seconds)
            else:
                load = Load(workload.operation, workload.keys, workload.value_bytes)
                answers = drive(targets, load, seconds, cluster.certificate)
        for member in cluster.members:
            member.require_running()
        return _run_of(answers, meter)

    def restart(self, times: int, tell: Callable[[str], None]) -> dict[Side, list[float]]:
        """Seconds from the start of a killed member until it has answered a PUT, with the data it has by now."""
        found: dict[Side, list[float]] = {side: [] for side in SIDES}
        for number in range(1, times + 1):
            for side, cluster in self.clusters.items():
                tell(f"start with data: round {number}, {cluster.program.name}")
                cluster.kill()
                found[side].append(first_answer(cluster))
        return found


def fresh_starts(
    programs: dict[Side, Program], home: Path, times: int, tell: Callable[[str], None]
) -> dict[Side, list[float]]:
    """Seconds from the start of a member with no data until it has answered a PUT."""
    found: dict[Side, list[float]] = {side: [] for side in SIDES}
    for number in range(1, times + 1):
        for side, program in programs.items():
            tell(f"start: round {number}, {program.name}")
            cluster = Cluster(program, home / f"{side}-{number}", 1)
            try:
                found[side].append(first_answer(cluster))
            finally:
                cluster.kill()
    return found


def fill(cluster: Cluster, load: Load) -> None:
    """Write every key once. ServerError."""
    step = 100 if load.operation == "batch3" else 1
    written = 0
    while written < load.keys:
        targets = cluster.targets("leader", _FILL_CONNECTIONS)
        ordered = Load(load.operation, load.keys, load.value_bytes, written + 1)
        answers = drive(targets, ordered, _FILL_SECONDS, cluster.certificate)
        if answers.failed or not answers.requests:
            raise ServerError(f"{cluster.program.name} refused to be filled: {answers}. {cluster.members[0].output()}")
        # The last request of each connection was sent and not waited for: it is made again.
        written += max(1, answers.requests - _FILL_CONNECTIONS) * step


def grant(cluster: Cluster) -> None:
    """The leases that load.lua renews."""
    for lease in range(1, 101):
        if cluster.members[0].ask("POST", "/v3/lease/grant", f'{{"ID":"{lease}","TTL":"36000"}}') is None:
            raise ServerError(f"{cluster.program.name} granted no lease. {cluster.members[0].output()}")


def _filler(workload: Workload) -> str:
    """The operation that writes the keys of a workload."""
    if workload.operation in FANOUTS or workload.operation == "renew3":
        return ""
    if workload.operation.endswith("2"):
        return "put2"
    return "batch3" if workload.value_bytes == 64 else "put3"


def _run_of(answers: Answers, meter: Meter) -> Run:
    usage = meter.usage
    return Run(
        rate=round(answers.rate, 1),
        requests=answers.requests,
        seconds=round(answers.seconds, 3),
        failed=answers.failed,
        p50_ms=answers.p50_ms,
        p99_ms=answers.p99_ms,
        p999_ms=answers.p999_ms,
        cpu_seconds=round(usage.cpu_seconds, 2),
        anonymous_bytes=usage.anonymous_bytes,
        written_bytes=usage.written_bytes,
    )
