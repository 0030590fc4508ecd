"""One health check by a command: a process that makes it as the unit's own programs are made, and leaves nothing.

The job comes by standard input, with one command of the stage `check` and the seconds it may take; what comes out is
why the check failed, in words, and nothing if it passed. The process is a subreaper, so whatever the command starts,
however often it forks and whatever session it makes, is killed with it: at its end, when its time is up, at SIGTERM.
"""

import os
import select
import sys
import time

from core.agent.supervisor.shim import processes, results, signals
from core.agent.supervisor.shim.child import PR_SET_CHILD_SUBREAPER, PR_SET_NAME, prctl, spawn
from core.agent.supervisor.shim.environment import UnableError, variables
from core.agent.supervisor.shim.job import Job

CHUNK = 1 << 16
MOST_OUTPUT = 1 << 20
"""Bytes of output that are read; a command that writes more is not listened to any longer."""
MOST_WORDS = 200
"""Characters of its last line that are told."""
SWEEPS = 200
SWEEP_SECONDS = 0.02


def main() -> int:
    """The whole process. Gives its exit code."""
    woken = signals.wake()
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    prctl(PR_SET_NAME, b"corenode-check")
    try:
        why = _check(Job(sys.stdin.buffer.read()), woken)
    finally:
        _end_all()
    print(why, end="")
    return 0


def _check(job: Job, woken: int) -> str:
    [command] = job.commands("check")
    try:
        found = variables(job)
    except UnableError as error:
        return str(error)
    until = time.monotonic() + job.seconds("check-timeout")
    read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    pid, executed = spawn(job, command, found, write)
    os.close(write)
    output = _Output(read)
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            output.take()
            return _sentence(command[1][0], status, os.read(executed, CHUNK).decode("utf-8", "replace"), output.last)
        left = until - time.monotonic()
        if left <= 0:
            return f"{command[1][0]}: no answer within {job.seconds('check-timeout'):g} s"
        ready, _, _ = select.select([woken, *output.open], [], [], left)
        if woken in ready and signals.TERM in os.read(woken, CHUNK):
            return "it was given up"
        output.take()


class _Output:
    """What a command writes: its end is kept."""

    def __init__(self, pipe: int) -> None:
        self.open = [pipe]
        self._taken = 0
        self._kept = b""

    def take(self) -> None:
        """Read what there is, and close the pipe when it ends or is too much."""
        while self.open:
            try:
                data = os.read(self.open[0], CHUNK)
            except BlockingIOError:
                return
            self._taken += len(data)
            self._kept = (self._kept + data)[-4 * MOST_WORDS :]
            if not data or self._taken >= MOST_OUTPUT:
                os.close(self.open.pop())

    @property
    def last(self) -> str:
        """The last line, without what a terminal would obey."""
        line = self._kept.decode("utf-8", "replace").rstrip().rpartition("\n")[2]
        return "".join(each for each in line if each.isprintable())[-MOST_WORDS:]


def _sentence(program: str, status: int, why: str, last: str) -> str:
    if not status:
        return ""
    if why:
        return f"{program}: {results.sentence(status)}: {why}"
    how = f"ended by signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit status {results.word(status)}"
    return f"{program}: {how}: {last}" if last else f"{program}: {how}"


def _end_all() -> None:
    """Kill what is left, until there is none; what the kernel does not let us kill is left after a few seconds."""
    for _ in range(SWEEPS):
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        processes.send(processes.descendants(os.getpid()), signals.KILL)
        time.sleep(SWEEP_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
