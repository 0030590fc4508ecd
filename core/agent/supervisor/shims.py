"""Shims as the daemon sees them: started, found again, asked, waited for, and cleaned up after."""

import contextlib
import errno
import os
import signal
import sys
from pathlib import Path
from typing import Self

import trio

from core.agent.supervisor.shim import processes
from core.agent.supervisor.shim.job import load
from core.agent.supervisor.shim.status import Status, read

ROOT = str(Path(__file__).parents[3])
"""The directory that holds the package `core`: the tree's root, or the one file's cache."""
BEGIN = (
    "import sys; sys.path.append(sys.argv[2]); "
    "from core.agent.supervisor.shim.main import main; sys.exit(main(sys.argv[1]))"
)
SWEEPS = 100
"""How often processes that a dead shim left are looked for; each time those found are killed."""


class Shim:
    """A shim that lives, by its pidfd. `close` lets go of it, and nothing more."""

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid = pid
        self._pidfd = pidfd
        self.exit_code: int | None = None
        """Known of our own children only."""

    @classmethod
    def start(cls, directory: Path) -> Self:
        """A new one for this unit. OSError if no process can be made."""
        complaints = os.open(directory / "complaints", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", "-X", "utf8", "-c", BEGIN, str(directory), ROOT],
                {"PATH": os.defpath, "LANG": "C.UTF-8"},
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_DUP2, complaints, 2),
                ],
                setsid=True,
                setsigmask=(),
                setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
            )
        finally:
            os.close(complaints)
        return cls(pid, os.pidfd_open(pid))

    @classmethod
    def find(cls, directory: Path) -> Self | None:
        """The one whose page this is, if it lives. The pidfd is opened before the comparison: from then on the pid
        cannot become another's unnoticed."""
        said = read(str(directory / "status"))
        if said is None or said.get("boot") != processes.boot():
            return None
        pid = int(said["pid"])
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            return None
        if processes.started(pid) != said["start"] or processes.stat(pid)[0] in "ZX":
            os.close(pidfd)
            return None
        return cls(pid, pidfd)

    async def ended(self) -> None:
        """Wait until it is no more, and leave no zombie."""
        await trio.lowlevel.wait_readable(self._pidfd)
        self._reap()

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):  # it was started by an earlier daemon
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.exit_code = os.waitstatus_to_exitcode(status)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def close(self) -> None:
        os.close(self._pidfd)


def ask(directory: Path, request: str) -> bool:
    """Write a line into the shim's FIFO; False if none listens."""
    try:
        control = os.open(directory / "control", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENOENT):
            return False
        raise
    try:
        os.write(control, request.encode() + b"\n")
    finally:
        os.close(control)
    return True


def clean_up(directory: Path, name: str) -> None:
    """After a shim that was killed: kill what it left, and say on its page that the unit failed. Blocks for a while if
    there is much to kill."""
    said = read(str(directory / "status")) or {}
    cgroups = [row[0] for row in load(str(directory / "job")).all("cgroup")]
    for _ in range(SWEEPS):
        left = set().union(*(processes.in_cgroup(place) for place in cgroups))
        if said.get("invocation"):
            left |= processes.bearing(said["invocation"])
        if not left:
            break
        processes.send(left, signal.SIGKILL)
    for place in cgroups:
        processes.remove_cgroup(place)
    page = Status(str(directory / "status"), str(directory.parent / "events"), name)
    try:
        page.write(**{**said, "active": "failed", "sub": "failed", "result": "supervisor", "main": "0"})
        page.write(why="supervisor: its supervising process was killed, and so was what it had started")
        page.ring()
    finally:
        page.close()
