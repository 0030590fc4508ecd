"""Limits that only cgroups can hold, where this host has them, and what a shim costs."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from core.agent.supervisor import cgroups
from core.agent.supervisor.shims import ROOT
from tests.supervisor.world import ROOT as NEEDS_ROOT
from tests.supervisor.world import world

MEMORY = 10 << 20
OWN = "core.agent.supervisor.shim."


@NEEDS_ROOT
async def test_what_takes_too_much_memory_is_killed_and_the_reason_is_known(tmp_path: Path) -> None:
    if "memory" not in cgroups.probe(tmp_path / "units").controllers:
        pytest.skip("needs cgroups with a memory controller")
    async with world(tmp_path) as w:
        await w.run(
            "a.service",
            "MemoryMax=20M",
            "TasksMax=50",
            "CPUQuota=80%%",
            "ExecStart=/usr/bin/env python3 -Ic 'x = bytearray(200 << 20)'",
        )
        down = await w.over("a.service")
        assert (down.active, down.result) == ("failed", "signal KILL")
        assert (await w.supervisor.properties("a.service"))["Result"] == "oom-kill"


@NEEDS_ROOT
async def test_no_more_tasks_than_allowed(tmp_path: Path) -> None:
    if "pids" not in cgroups.probe(tmp_path / "units").controllers:
        pytest.skip("needs cgroups with a pids controller")
    text = "import os\ntry:\n for _ in range(50): os.fork() or os.execlp('sleep', 'sleep', '1000')\n"
    (tmp_path / "many.py").write_text(text + "except OSError as error: print(error.strerror, flush=True)\n")
    async with world(tmp_path) as w:
        await w.run("a.service", "TasksMax=5", f"ExecStart=/usr/bin/env python3 -I {tmp_path}/many.py")
        await w.over("a.service")
        assert await w.log("a.service") == ["Resource temporarily unavailable"]


async def test_cgroups_go_with_their_units(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.run("a.service", "ExecStart=sleep 1000", "MemoryMax=50M")
        await w.until_sub("a.service", "running")
        found = cgroups.probe(tmp_path / "units")
        trees = [tree.base for tree in {found.tracker, *found.controllers.values()} if tree]
        assert not trees or any(os.path.isdir(f"{tree}/a.service") for tree in trees)  # noqa: ASYNC240
        await w.supervisor.stop("a.service")
        assert not any(os.path.isdir(f"{tree}/a.service") for tree in trees)  # noqa: ASYNC240
    assert not any(os.path.isdir(tree) for tree in trees)  # noqa: ASYNC240


def test_a_shim_imports_itself_and_little_of_the_standard_library() -> None:
    code = f"import sys; sys.path.append({ROOT!r}); import {OWN}main; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert {name for name in loaded if name.startswith("core.") and not name.startswith(OWN)} == {
        "core.agent",
        "core.agent.supervisor",
        OWN.rstrip("."),
    }
    heavy = {"json", "re", "enum", "collections", "typing", "socket", "signal", "subprocess", "asyncio", "logging"}
    assert not loaded & heavy
    foreign = {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names - {"core", "__main__"}
    assert not foreign


async def test_what_a_shim_costs(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    async with world(tmp_path) as w:
        times = []
        for number in range(5):
            before = time.perf_counter()
            await w.run(f"{number}.service", "ExecStart=sleep 1000")
            times.append(time.perf_counter() - before)
            await w.until_sub(f"{number}.service", "running")
        pid = (await w.supervisor.properties("4.service"))["SupervisorPID"]
        rows = [line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]]  # noqa: ASYNC240
        sizes = {row[0].rstrip(":"): int(row[1]) for row in rows}
        assert sizes["Anonymous"] < 6 << 10
        record_property(
            "checked",
            f"a shim has {sizes['Rss'] / 1024:.1f} MiB, {sizes['Anonymous'] / 1024:.1f} of its own;"
            f" load and start take {statistics.median(times) * 1000:.0f} ms",
        )
