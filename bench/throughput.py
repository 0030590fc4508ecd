"""How many PUT and GET a second, beside Debian's etcd on the same disk at the same time of day.

`wrk` drives this node and `etcd --enable-v2` in alternation, a pair a round, after both were filled with the same
keys. The method is described in README.md. Writes no ratio for a workload in which any answer was not a success.

    python bench/throughput.py [--quick] [--rounds 3] [--seconds 2] [--dir build/bench] [--record]
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.whole.servers import KINDS, ROOT, Kind, Server

HISTORY = ROOT / "bench" / "history.jsonl"
WARM_UP_SECONDS = 1.0
WIDTH = 110

# The script for wrk: a random key and a random value of 64 bytes each time, or one key after the other to fill.
SCRIPT = """
local method, keys, query, first = "%(method)s", %(keys)d, "%(query)s", %(first)d
local count = first - 1
math.randomseed(%(seed)d)
wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"

function request()
  local key = math.random(0, keys - 1)
  if first > 0 then
    count = count + 1
    key = (count - 1) %% keys
  end
  local path = string.format("/v2/keys/bench/%%06d%%s", key, query)
  if method == "GET" then return wrk.format("GET", path) end
  local r = math.random
  local body = string.format("value=%%016d%%016d%%016d%%016d", r(0, 1e9), r(0, 1e9), r(0, 1e9), r(0, 1e9))
  return wrk.format("PUT", path, nil, body)
end

function done(summary, latency)
  local e = summary.errors
  io.stderr:write(string.format(
    '{"requests":%%d,"microseconds":%%d,"failed":%%d,"p50_us":%%d,"p99_us":%%d}',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass(frozen=True)
class Workload:
    """What is asked, over how many connections."""

    name: str
    method: str
    query: str
    connections: int


@dataclass(frozen=True)
class Run:
    """What wrk saw in one run against one server."""

    requests: int
    seconds: float
    failed: int
    p50_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


@dataclass
class Result:
    """All runs of one workload; the runs of a round stand at the same place for both servers."""

    workload: Workload
    runs: dict[Kind, list[Run]] = field(default_factory=lambda: {kind: [] for kind in KINDS})

    @property
    def failed(self) -> int:
        return sum(run.failed for runs in self.runs.values() for run in runs)

    @property
    def ratios(self) -> list[float]:
        """Of each pair."""
        return [ours.rate / theirs.rate for ours, theirs in zip(self.runs["corenode"], self.runs["etcd"], strict=True)]


def workloads(connections: Sequence[int]) -> Iterator[Workload]:
    for count in connections:
        yield Workload("PUT", "PUT", "", count)
    for count in connections:
        yield Workload("GET", "GET", "", count)
    for count in connections:
        yield Workload("GET quorum", "GET", "?quorum=true", count)


def drive(server: Server, workload: Workload, seconds: float, keys: int, first: int = 0) -> Run:
    """One run of wrk. With `first` it writes one key after the other, beginning at that number, 1 being the first."""
    values = {"method": workload.method, "keys": keys, "query": workload.query, "first": first}
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(SCRIPT % {**values, "seed": time.time_ns() % 2**31})
        script.flush()
        connections = str(workload.connections)
        command = ["wrk", "-t1", "-c", connections, "-d", f"{max(1, round(seconds))}s", "-s", script.name, server.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30)
    if done.returncode != 0 or not done.stderr.startswith("{"):
        raise SystemExit(f"throughput: wrk failed against {server.kind}: {done.stdout}{done.stderr}")
    found = json.loads(done.stderr)
    return Run(
        found["requests"],
        found["microseconds"] / 1e6,
        found["failed"],
        found["p50_us"] / 1e3,
        found["p99_us"] / 1e3,
    )


def fill(server: Server, keys: int) -> None:
    """Write every key once."""
    written = 0
    while written < keys:
        run = drive(server, Workload("fill", "PUT", "", 64), 2, keys, written + 1)
        if run.failed or not run.requests:
            raise SystemExit(f"throughput: {server.kind} refused to be filled: {run}. {server.output()}")
        # The last 64 requests of a run are sent and not waited for: they are written again.
        written += max(1, run.requests - 64)


def measure(servers: dict[Kind, Server], workload: Workload, rounds: int, seconds: float, keys: int) -> Result:
    """Run one workload in pairs, after a warm-up of each that does not count."""
    result = Result(workload)
    for server in servers.values():
        drive(server, workload, WARM_UP_SECONDS, keys)
    for _ in range(rounds):
        for kind, server in servers.items():
            result.runs[kind].append(drive(server, workload, seconds, keys))
    return result


def table(results: Sequence[Result]) -> Table:
    """Medians of the rounds, and the ratio of each pair: its median, least and greatest."""
    shown = Table(title="this node beside etcd: medians, and the ratio of each pair")
    for heading in ("", "conn.", "node/s", "etcd/s", "ratio", "least", "most", "p50 ms", "etcd", "p99 ms", "etcd"):
        shown.add_column(heading, justify="right" if heading else "left")
    for result in results:
        cells = [result.workload.name, str(result.workload.connections)]
        cells += [f"{statistics.median(run.rate for run in result.runs[kind]):,.0f}" for kind in KINDS]
        if result.failed:
            cells += [f"[red]{result.failed} failed", "", ""]
        else:
            ratios = result.ratios
            cells += [f"{ratio:.2f}" for ratio in (statistics.median(ratios), min(ratios), max(ratios))]
        for measured in ("p50_ms", "p99_ms"):
            cells += [f"{statistics.median(getattr(run, measured) for run in result.runs[kind]):.2f}" for kind in KINDS]
        shown.add_row(*cells)
    return shown


def record(results: Sequence[Result], keys: int) -> None:
    """Append every single run to the history, a JSON line each."""
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    common = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": git.stdout.strip(),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cpus": os.cpu_count(),
        "keys": keys,
    }
    with HISTORY.open("a") as history:
        for result in results:
            workload = {"workload": result.workload.name, "connections": result.workload.connections}
            for kind, runs in result.runs.items():
                for number, run in enumerate(runs):
                    measured = {"rate": round(run.rate, 1), **vars(run), "seconds": round(run.seconds, 3)}
                    history.write(
                        json.dumps({**common, **workload, "server": kind, "round": number, **measured}) + "\n"
                    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="PUT and GET a second, beside Debian's etcd.")
    parser.add_argument("--quick", action="store_true", help="about 40 seconds: fewer rounds, keys and connections")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of runs a workload (default 3)")
    parser.add_argument("--seconds", type=int, default=2, help="length of a run (default 2)")
    parser.add_argument("--keys", type=int, default=100_000, help="keys written and read at random (default 100000)")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 64, 256], help="default: 1 64 256")
    parser.add_argument("--dir", type=Path, default=ROOT / "build" / "bench", help="the disk to measure on")
    parser.add_argument("--record", action="store_true", help="append every run to bench/history.jsonl")
    given = parser.parse_args()
    if given.quick:
        given.rounds, given.seconds, given.keys, given.connections = 2, 1, 10_000, [1, 64]
    return given


def main() -> int:
    given = arguments()
    for program, package in (("wrk", "wrk"), ("etcd", "etcd-server")):
        if shutil.which(program) is None:
            print(f"throughput: needs {program}: apt-get install {package}", file=sys.stderr)
            return 1
    begun = time.monotonic()
    given.dir.mkdir(parents=True, exist_ok=True)
    console = Console(stderr=True)
    results = []
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=given.dir)))
        servers: dict[Kind, Server] = {kind: stack.enter_context(Server(kind, home / kind)) for kind in KINDS}
        with console.status("filling") as status:
            for server in servers.values():
                fill(server, given.keys)
            for workload in workloads(given.connections):
                status.update(f"{workload.name}, {workload.connections} connections")
                results.append(measure(servers, workload, given.rounds, given.seconds, given.keys))
    console = Console()
    # Not on a terminal the width is a guess, and a table of cut figures tells nothing.
    Console(width=None if console.is_terminal else WIDTH).print(table(results))
    if given.record:
        record(results, given.keys)
    failed = sum(result.failed for result in results)
    requests = sum(run.requests for result in results for runs in result.runs.values() for run in runs)
    seconds = time.monotonic() - begun
    print(f"bench: {requests:,} requests in {len(results)} workloads, {failed} failed, {seconds:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
