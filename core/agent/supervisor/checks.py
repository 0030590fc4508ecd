"""Health checks by commands: each made as the unit's own programs are, by a process of its own (`shim.check`)."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import trio

from core.agent.supervisor.cgroups import mounts
from core.agent.supervisor.shim.child import MADE_BELOW
from core.agent.supervisor.shim.fields import Rows, pack, unpack
from core.agent.supervisor.shims import ROOT

BEGIN = "import sys; sys.path.append(sys.argv[1]); from core.agent.supervisor.shim.check import main; sys.exit(main())"
KEPT = frozenset(
    (
        *("env", "env-file", "unset", "user", "group", "groups", "directory", "umask"),
        *("limit", "nice", "oom", "no-new-privileges", "keep-sigpipe"),
    )
)
"""Words of a job that say what the unit's programs are, and nothing of how the unit lives."""
MOST_SECONDS = 2.0
"""How much longer than its command a check may take: its own start and end."""


async def run(job: bytes, further: Rows, command: Sequence[str], seconds: float) -> str:
    """Why a check failed, in words; empty if it passed. `further` records come on top of the job's."""
    wanted = [["check-timeout", str(seconds)], ["exec", "check", ":", command[0], *command]]
    try:
        with trio.fail_after(seconds + MOST_SECONDS):
            done = await trio.run_process(
                [sys.executable, "-I", "-S", "-X", "utf8", "-c", BEGIN, ROOT],
                stdin=pack([*_kept(job), *further, *wanted]),
                capture_stdout=True,
                stderr=subprocess.DEVNULL,
                env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
                cwd="/",
                check=False,
                start_new_session=True,
            )
    except trio.TooSlowError:
        return f"{command[0]}: no answer within {seconds:g} s"
    if done.returncode:
        return f"{command[0]}: the check could not be made (status {done.returncode})"
    return done.stdout.decode(errors="replace")


def _kept(job: bytes) -> Rows:
    """What a check needs of a job. A cgroup that its next run will make is not there yet."""
    rows = unpack(job)
    made = [["env", MADE_BELOW[row[1]], ":".join(row[3:])] for row in rows if row[0] == "made"]
    there = [row for row in rows if row[0] == "cgroup" and Path(row[1]).is_dir()]
    return [*(row for row in rows if row[0] in KEPT), *made, *there]


def cgroups_of(pid: int) -> Rows:
    """Records that put a check into the cgroups of a process, where it is not in ours anyway; none if it is gone."""
    try:
        lines = set(Path(f"/proc/{pid}/cgroup").read_text().splitlines())
    except OSError:
        return []
    places, found = mounts(), []
    for line in sorted(lines - set(Path("/proc/self/cgroup").read_text().splitlines())):
        _, names, own = line.split(":", 2)
        if names in places:
            found.append(["cgroup", places[names] + own.rstrip("/")])
    return found
