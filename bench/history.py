"""The runs as JSON lines: a head, a line for each row as soon as it was measured, and an end.

    {"run": "2026-11-21T10:00:00Z", "machine": {...}, "programs": {...}, "rounds": 5, "seconds": 2, "plan": [...]}
    {"run": ..., "row": {"name": "v2 PUT", "connections": 64, ...}, "load": 0.1, "error": "",
     "ours": [{"rate": 24000.0, "requests": 48000, ...}, ...], "theirs": [...]}
    {"run": ..., "start": "new", "ours": [0.61, ...], "theirs": [...]}
    {"run": ..., "end": 640.2}

`ours` and `theirs` hold a run for each round, with the fields of `rounds.Run`. Lines of an older form have no `run`.
"""

import json
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.programs import SIDES, Program, Side
from bench.rounds import Result, Run
from bench.workloads import Workload
from tests.whole.servers import ROOT

HISTORY = ROOT / "bench" / "history.jsonl"


@dataclass
class Recorded:
    """A run, as far as it came."""

    run: str
    """When it began; its name."""
    programs: dict[Side, dict[str, str]]
    machine: dict[str, Any]
    rounds: int
    seconds: int
    plan: list[str]
    results: list[Result] = field(default_factory=list)
    starts: dict[str, dict[Side, list[float]]] = field(default_factory=dict)
    """`new`: with no data; `data`: with what the rows have left."""
    took: float | None = None
    """Seconds; None if it did not come to its end."""

    def head(self) -> dict[str, Any]:
        own = ("machine", "programs", "rounds", "seconds", "plan")
        return {"run": self.run, **{name: getattr(self, name) for name in own}}


def begin(programs: dict[Side, Program], directory: Path, rounds: int, seconds: int, plan: Sequence[str]) -> Recorded:
    """A run that has nothing measured yet."""
    known: dict[Side, dict[str, str]] = {
        side: {"name": program.name, "version": program.version} for side, program in programs.items()
    }
    name = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return Recorded(name, known, machine(directory), rounds, seconds, list(plan))


def machine(directory: Path) -> dict[str, Any]:
    """What the figures depend on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    shown = subprocess.run(["wrk", "-v"], capture_output=True, text=True).stdout.split()
    return {
        "cores": os.cpu_count(),
        "cpu": model,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30), 1),
        "kernel": platform.release(),
        "disk": disk(directory),
        "python": platform.python_version(),
        "wrk": shown[1] if len(shown) > 1 else "",
    }


def disk(directory: Path) -> str:
    """Device and file system that hold a directory: `/dev/vda ext4`."""
    mounts = [line.split()[:3] for line in Path("/proc/mounts").read_text().splitlines()]
    around = [mount for mount in mounts if directory.resolve().is_relative_to(mount[1])]
    device, _, kind = max(around, key=lambda mount: len(mount[1]))
    return f"{device} {kind}"


def result_line(run: str, result: Result) -> dict[str, Any]:
    line = {"run": run, "row": asdict(result.workload), "load": result.load, "error": result.error}
    return line | {side: [asdict(each) for each in result.runs[side]] for side in SIDES}


def start_line(run: str, name: str, taken: dict[Side, list[float]]) -> dict[str, Any]:
    return {"run": run, "start": name} | {side: taken[side] for side in SIDES}


def append(line: dict[str, Any], path: Path = HISTORY) -> None:
    """Write a line to its end, on the disk when this returns."""
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read(path: Path = HISTORY) -> list[Recorded]:
    """Every run, the oldest first. A line that was cut off is passed over."""
    found: dict[str, Recorded] = {}
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if "machine" in line:
            found[line["run"]] = Recorded(**line)
        elif line.get("run") in found:
            _take(found[line["run"]], line)
    return list(found.values())


def _take(recorded: Recorded, line: dict[str, Any]) -> None:
    if "row" in line:
        workload = Workload(**line["row"])
        runs: dict[Side, list[Run]] = {side: [Run(**each) for each in line[side]] for side in SIDES}
        # A row that was measured anew after an error replaces what was there.
        recorded.results = [each for each in recorded.results if each.workload != workload]
        recorded.results.append(Result(workload, runs, line["load"], line["error"]))
    elif "start" in line:
        recorded.starts[line["start"]] = {side: line[side] for side in SIDES}
    else:
        recorded.took = line["end"]
