"""Where a shim begins: takes the lock, says who it is, lives the unit's life, and says how that ended."""

import fcntl
import os
import sys

from core.agent.supervisor.shim import job, processes, signals
from core.agent.supervisor.shim.child import PR_SET_CHILD_SUBREAPER, PR_SET_NAME, prctl
from core.agent.supervisor.shim.life import Life
from core.agent.supervisor.shim.log import Log
from core.agent.supervisor.shim.loop import Loop
from core.agent.supervisor.shim.status import Status
from core.agent.supervisor.shim.unit import Unit

TAKEN = 75
"""Exit code: another shim has this unit."""
BROKEN = 70
"""Exit code: the shim itself failed; its log says how."""
OOM = "/proc/self/oom_score_adj"
SPARED = -900
"""The shim is small and holds much; the kernel shall take others first."""


def main(directory: str) -> int:
    """The whole process. Gives its exit code."""
    os.chdir(directory)
    os.umask(0o077)
    lock = os.open("lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return TAKEN
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    prctl(PR_SET_NAME, b"corenode-shim")
    wanted = job.load("job")
    name = wanted.text("name")
    wanted.suppose("oom", _spare())
    status = Status("status", "../events", name)
    loop = Loop()
    size, count = (int(value) for value in wanted.row("log"))
    log = Log(".", size, count)
    unit = Unit(wanted, loop, status, log, _control())
    pid = os.getpid()
    status.write(
        version=1, boot=processes.boot(), pid=pid, start=processes.started(pid), name=name, active="activating"
    )
    unit.show("activating", "start")
    for row in wanted.all("warning"):
        log.note(row[0])
    try:
        Life(unit, "job").live()
    except BaseException as error:
        log.note(f"the supervisor of this unit failed: {error!r}")
        processes.send(unit.everyone(), signals.KILL)
        unit.result, unit.why = "supervisor", f"the supervisor of this unit failed: {error!r}"
        unit.show("failed", "failed")
        raise
    return 0


def _control() -> int:
    """The FIFO of requests, new: what was asked of an earlier shim is over. Open for both, so that it never ends."""
    if os.path.lexists("control"):
        os.unlink("control")
    os.mkfifo("control", 0o600)
    return os.open("control", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


def _spare() -> str:
    """Be the last to be killed for lack of memory; gives what holds for the unit's own processes."""
    with open(OOM) as file:
        before = file.read().strip()
    try:
        with open(OOM, "w") as file:
            file.write(str(SPARED))
    except OSError:  # only root may
        return before
    return before


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
