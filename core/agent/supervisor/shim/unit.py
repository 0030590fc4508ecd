"""One unit's processes and what is known of them, between the loop that sees and the life that decides."""

import os
import time

from core.agent.supervisor.shim import processes, results
from core.agent.supervisor.shim.child import spawn
from core.agent.supervisor.shim.environment import Environment, UnableError, variables
from core.agent.supervisor.shim.job import Command, Job
from core.agent.supervisor.shim.log import Log
from core.agent.supervisor.shim.loop import Event, Loop
from core.agent.supervisor.shim.notify import Notices
from core.agent.supervisor.shim.status import Status

CHUNK = 1 << 16
LONGEST_EXTENSION = 86_400
"""Seconds for which a unit can ask at a time; it may ask again."""
AGAIN = 1.0
"""Seconds until a change is announced again that had no room."""


class Unit:
    """Owns the unit's processes, log pipe and control FIFO. `wait` is the only place where time passes."""

    def __init__(self, job: Job, loop: Loop, status: Status, log: Log, control: int) -> None:
        self.job = job
        self._loop = loop
        self._status = status
        self.log = log
        self._control = control
        self._log_end, self._output = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._log_end, False)
        self._starting: dict[int, int] = {}
        self.executed: dict[int, str] = {}
        """Processes that came to their own program, or why they did not; until they end."""
        self.main = 0
        self.main_status = ""
        self.main_ignored = False
        """Whether a bad end of the main process counts as a good one (`-`)."""
        self.control = 0
        self.control_status = 0
        self.result = results.SUCCESS
        self.why = ""
        self.stop_asked = False
        self.reload_asked = ""
        self.restarts = 0
        self.ready = False
        self.stroked = 0.0
        """When the watchdog last heard of the unit, by the monotonic clock."""
        self.start_until = 0.0
        """Until when a unit that starts has asked to be waited for (EXTEND_TIMEOUT_USEC=)."""
        self._variables: Environment = {}
        self._notices: Notices | None = None
        self._shown = ("", "", 0)
        loop.watch(self._log_end, self.drain)
        loop.watch(control, self._asked)

    def begin(self) -> None:
        """A new run: its id, its variables, its cgroups. UnableError says what is missing."""
        self.result, self.why, self.main_status = results.SUCCESS, "", ""
        self.ready = False
        self.executed.clear()
        self._variables = variables(self.job)
        self.invocation = os.urandom(16).hex()
        self._variables["INVOCATION_ID"] = self.invocation
        self._status.write(invocation=self.invocation, text="", code="")
        try:
            for row in self.job.all("cgroup"):
                os.makedirs(row[0], exist_ok=True)
            for path, value in self.job.all("cgroup-value"):
                with open(path, "w") as file:
                    file.write(value)
        except OSError as error:
            raise UnableError(f"{error.filename}: {error.strerror}") from None
        self._listen()
        self._killed_before = self._out_of_memory()

    def _listen(self) -> None:
        if self.job.text("notify", "none") == "none":
            return
        if self._notices is None:
            self._notices = Notices()
            self._loop.watch(self._notices.fileno(), self._told)
        self._variables["NOTIFY_SOCKET"] = self._notices.address
        if self.job.seconds("watchdog") < float("inf"):
            self._variables["WATCHDOG_USEC"] = str(int(self.job.seconds("watchdog") * 1e6))

    def start(self, command: Command, more: Environment, *, main: bool) -> int:
        """Start one of its programs, as the main process or as the one under control; gives its pid."""
        found = {**self._variables, **more}
        if self.main:
            found["MAINPID"] = str(self.main)
        pid, pipe = spawn(self.job, command, found, self._output)
        self._starting[pid] = pipe
        self._loop.watch(pipe, lambda: self._executed(pid))
        if main:
            self.main, self.main_ignored = pid, "-" in command[0]
            self._status.write(began=int(time.time()))
        else:
            self.control = pid
        return pid

    def adopt(self, pid: int) -> None:
        """Call this process of the unit its main one. One that is not our child is watched by a pidfd."""
        if pid == self.main:
            return
        self.main = pid
        try:
            child = processes.stat(pid)[1] == str(os.getpid())
            if not child:
                watched = os.pidfd_open(pid)
                self._loop.watch(watched, lambda: self._ended_elsewhere(pid, watched))
        except OSError:
            self._loop.events.append(("exit", pid, "0"))

    def _ended_elsewhere(self, pid: int, watched: int) -> None:
        self._loop.forget(watched)
        self._loop.events.append(("exit", pid, "0"))

    def wait(self, until: float) -> bool:
        """Take in the next event; False when the monotonic clock came to `until` first."""
        if self._status.unsaid:
            soon = time.monotonic() + AGAIN
            event = self._loop.next(min(until, soon))
            self._status.ring()
            if event is None and soon < until:
                return True
        else:
            event = self._loop.next(until)
        if event is None:
            return False
        self._take(event)
        return True

    def _take(self, event: Event) -> None:
        kind, number, rest = event
        if kind == "exit":
            self._exited(number, int(rest))
        elif rest == "stop":
            self.stop_asked = True
        elif rest.startswith("reload "):
            self.reload_asked = rest.partition(" ")[2]

    def _exited(self, pid: int, status: int) -> None:
        if pid in self._starting:
            self._executed(pid)
        why = self.executed.pop(pid, "")
        if pid == self.main:
            self.main = 0
            self.main_status = results.word(status)
            self.drain_all()
            self._status.write(code=results.sentence(status))
            oneshot = self.job.text("type") == "oneshot"
            if results.clean(status, self.job.row("success"), gentle=not oneshot) or self.main_ignored:
                return
            killed = os.WIFSIGNALED(status) and self._out_of_memory() > self._killed_before
            self.fail("oom-kill" if killed else results.kind(status), _sentence(results.sentence(status), why))
        elif pid == self.control:
            self.control, self.control_status = 0, status
            if status:
                self.log.note(_sentence(f"a command ended with {results.sentence(status)}", why))

    def fail(self, result: str, why: str) -> None:
        """The first bad end is the one that counts."""
        if self.result == results.SUCCESS:
            self.result, self.why = result, why
        self.log.note(why)

    def show(self, active: str, sub: str) -> None:
        """Write down the state, and ring, if it is another."""
        why = "" if self.result == results.SUCCESS else self.why
        state = (active, sub, self.main)
        if state == self._shown:
            return
        if state[:2] != self._shown[:2]:
            self._status.write(since=int(time.time()))
        self._shown = state
        self._status.write(active=active, sub=sub, result=self.result, why=why, restarts=self.restarts, main=self.main)
        self._status.ring()

    def reloaded(self, ended: str) -> None:
        """Answer the reload that was asked for: `done`, or why not."""
        self._status.write(reload=self.reload_asked, reloaded=ended)
        self.reload_asked = ""
        self._status.ring()

    def _out_of_memory(self) -> int:
        """How often the kernel has killed in the unit's cgroup for lack of memory."""
        try:
            with open(self.job.text("oom-count")) as file:
                return next((int(line.split()[1]) for line in file if line.startswith("oom_kill ")), 0)
        except OSError:
            return 0

    # who is there

    def empty(self) -> bool:
        """Whether no process of the unit is left: the shim has no child."""
        return not self._loop.reap()

    def members(self) -> set[int]:
        """Those who get the first signal: who sits in the unit's cgroup; without one, all below the shim."""
        rows = self.job.all("cgroup")
        return processes.in_cgroup(rows[0][0]) if rows else processes.descendants(os.getpid())

    def everyone(self) -> set[int]:
        """All there is to kill: in the cgroup, and below the shim."""
        return self.members() | processes.descendants(os.getpid())

    def mine(self, pid: int) -> bool:
        return pid in self.everyone()

    # what comes in

    def drain(self) -> None:
        """One read from the log's pipe."""
        try:
            data = os.read(self._log_end, CHUNK)
        except BlockingIOError:
            return
        if data:
            self.log.take(data)

    def drain_all(self) -> None:
        """What the ended processes left in the pipe: at most what it holds."""
        for _ in range(64):
            try:
                data = os.read(self._log_end, CHUNK)
            except BlockingIOError:
                self.log.end_line()
                return
            self.log.take(data)

    def _asked(self) -> None:
        for line in os.read(self._control, CHUNK).decode("ascii", "replace").split("\n"):
            if line:
                self._loop.events.append(("asked", 0, line))

    def _executed(self, pid: int) -> None:
        pipe = self._starting.pop(pid)
        self.executed[pid] = os.read(pipe, CHUNK).decode("utf-8", "replace")
        self._loop.forget(pipe)
        self._loop.events.append(("executed", pid, ""))

    def _told(self) -> None:
        message = self._notices.receive() if self._notices else None
        if message is None:
            return
        pid, user, words = message
        if not self._may_tell(pid, user):
            return
        self._loop.events.append(("told", pid, ""))
        self.stroked = time.monotonic() if words.get("WATCHDOG") == "1" else self.stroked
        if words.get("WATCHDOG") == "trigger":
            self.stroked = float("-inf")
        if words.get("EXTEND_TIMEOUT_USEC", "").isdecimal():
            asked = min(int(words["EXTEND_TIMEOUT_USEC"]), LONGEST_EXTENSION * 10**6)
            self.start_until = time.monotonic() + asked / 1e6
        if "STATUS" in words:
            self._status.write(text=words["STATUS"])
        main = words.get("MAINPID", "")
        if main.isdecimal() and self.mine(int(main)):
            self.adopt(int(main))
        if words.get("READY") == "1":
            self.ready = True

    def _may_tell(self, pid: int, user: int) -> bool:
        access = self.job.text("notify", "none")
        if pid in {self.main} - {0} or (access in ("exec", "all") and pid == self.control):
            return True
        if access != "all":
            return False
        if os.path.exists(f"/proc/{pid}"):
            return self.mine(pid)
        return user in _users((os.getpid(), self.main))  # it ended meanwhile, as systemd-notify does


def _users(pids: tuple[int, ...]) -> set[int]:
    found = set()
    for pid in pids:
        try:
            found.add(os.stat(f"/proc/{pid}").st_uid)
        except OSError:
            continue
    return found


def _sentence(what: str, why: str) -> str:
    return f"{what}: {why}" if why else what
