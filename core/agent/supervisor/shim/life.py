"""The life of a unit, from its start to the end of its last automatic restart, in systemd's states."""

from __future__ import annotations

import os
import stat
import time

from core.agent.supervisor.shim import processes, results, signals
from core.agent.supervisor.shim.environment import Environment, UnableError
from core.agent.supervisor.shim.job import load
from core.agent.supervisor.shim.places import read_regular
from core.agent.supervisor.shim.unit import Unit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

FOREVER = float("inf")
STEP = 0.05
"""Seconds between looks at what gives no sign: a PID file, processes that fork while they are killed."""
LONGEST_PID_FILE = 64
"""Bytes."""
LOOK = 0.25
"""Seconds between looks for processes that were forked after the others were asked to end."""


class Life:
    """The order of things. Each method returns when its part is over; a request to stop ends the parts before it."""

    def __init__(self, unit: Unit, job_path: str) -> None:
        self._unit = unit
        self._job_path = job_path
        self._starts: list[float] = []

    def live(self) -> None:
        """Run the unit until it is over, and say how it ended."""
        unit = self._unit
        while True:
            self._starts.append(time.monotonic())
            self._once()
            if not self._again():
                break
            unit.show("activating", "auto-restart")
            until = time.monotonic() + unit.job.seconds("restart-pause")
            while not unit.stop_asked and unit.wait(until):
                pass
            if unit.stop_asked:
                unit.result = results.SUCCESS
                break
            unit.job = load(self._job_path)
            if self._too_often():
                unit.result = results.SUCCESS
                unit.fail("start-limit-hit", "start-limit-hit: it was started too often in a short time")
                break
            unit.restarts += 1
        skipped = unit.result in (results.SUCCESS, "exec-condition")
        unit.show(*(("inactive", "dead") if skipped else ("failed", "failed")))

    def _again(self) -> bool:
        unit = self._unit
        if unit.stop_asked or unit.main_status in unit.job.row("restart-prevent"):
            return False
        if unit.main_status and unit.main_status in unit.job.row("restart-force"):
            return True
        return results.restarts(unit.job.text("restart", "no"), unit.result)

    def _too_often(self) -> bool:
        """StartLimitBurst= starts in StartLimitIntervalSec= are allowed; 0 in either is no limit."""
        interval, burst = (float(value) for value in self._unit.job.row("start-limit") or ("10", "5"))
        self._starts = [start for start in self._starts if start > time.monotonic() - interval]
        return bool(interval and burst) and len(self._starts) >= burst

    def _once(self) -> None:
        unit = self._unit
        try:
            unit.begin()
        except UnableError as error:
            unit.fail("resources", f"resources: {error}")
            return
        if self._start():
            self._run()
            if unit.result == results.SUCCESS:
                self._commands("stop", "deactivating", "stop", unit.job.seconds("stop-timeout"))
        watchdog = unit.result == "watchdog"
        number = unit.job.number("watchdog-signal" if watchdog else "kill-signal", signals.TERM)
        self._put_down("stop-watchdog" if watchdog else "stop-sigterm", "stop-sigkill", number)
        self._commands("stop-post", "deactivating", "stop-post", unit.job.seconds("stop-timeout"))
        self._put_down("final-sigterm", "final-sigkill", unit.job.number("kill-signal", signals.TERM))
        self._clean_up()

    # starting

    def _start(self) -> bool:
        """Through ExecCondition=, ExecStartPre=, ExecStart= and ExecStartPost=; False if it did not come up."""
        limit = self._unit.job.seconds("start-timeout")
        return (
            self._condition(limit)
            and self._commands("pre", "activating", "start-pre", limit)
            and self._start_main(limit)
            and self._commands("post", "activating", "start-post", limit)
            and not self._unit.stop_asked
        )

    def _condition(self, limit: float) -> bool:
        unit = self._unit
        for command in unit.job.commands("condition"):
            unit.show("activating", "condition")
            unit.start(command, {}, main=False)
            if not self._until_control_ends(limit, starting=True):
                return False
            if os.WIFEXITED(unit.control_status) and 0 < os.WEXITSTATUS(unit.control_status) < 255:
                unit.fail("exec-condition", "exec-condition: ExecCondition= says no")
                return False
            if unit.control_status and "-" not in command[0]:
                unit.fail(results.kind(unit.control_status), results.sentence(unit.control_status))
                return False
        return True

    def _start_main(self, limit: float) -> bool:
        unit = self._unit
        kind = unit.job.text("type", "simple")
        unit.stroked = time.monotonic()
        until = time.monotonic() + limit
        commands = unit.job.commands("start")
        if kind == "forking":
            return self._commands("start", "activating", "start", limit) and self._find_main(until)
        for command in commands:
            if unit.stop_asked:
                return False
            pid = unit.start(command, {}, main=True)
            if kind == "simple":
                return True
            unit.show("activating", "start")
            came = self._until(until, self._sign(kind, pid))
            if not came or unit.result != results.SUCCESS:
                return False
            if kind == "notify" and not unit.ready:
                unit.fail("protocol", "protocol: the main process ended before it said READY=1")
                return False
        return True

    def _sign(self, kind: str, pid: int) -> Callable[[], bool]:
        """What shows that a start is over, for good or bad."""
        unit = self._unit
        if kind == "exec":
            return lambda: unit.executed.get(pid) == "" or not unit.main
        if kind == "notify":
            return lambda: unit.ready or not unit.main
        return lambda: not unit.main

    def _until(self, until: float, done: Callable[[], bool]) -> bool:
        """Wait for it; False if a stop was asked for, or time is up, which is a failure."""
        unit = self._unit
        while not done():
            if unit.stop_asked:
                return False
            if not unit.wait(max(until, unit.start_until)):
                unit.fail("timeout", "timeout: it did not start in its time")
                return False
        return True

    def _find_main(self, until: float) -> bool:
        """The main process that a forking unit left behind."""
        unit = self._unit
        path = unit.job.text("pid-file")
        if not path:
            left = [pid for pid, parent in processes.parents().items() if parent == os.getpid()]
            if len(left) == 1 and unit.job.text("guess-main", "1") == "1":
                unit.adopt(left[0])
            return True
        while not unit.stop_asked:
            pid = _pid_in(path)
            if pid and unit.mine(pid):
                unit.adopt(pid)
                return True
            if unit.empty():
                unit.fail("protocol", f"protocol: nothing runs, and {path} names no process of the unit")
                return False
            if time.monotonic() >= max(until, unit.start_until):
                unit.fail("timeout", f"timeout: {path} names no process of the unit")
                return False
            unit.wait(time.monotonic() + STEP)
        return False

    # running

    def _run(self) -> None:
        """Until it ends by itself, is asked to stop, or its time is up."""
        unit = self._unit
        main_known = unit.main != 0
        began = time.monotonic()
        remain = unit.job.text("remain") == "1"
        oneshot = unit.job.text("type") == "oneshot"
        while not unit.stop_asked and unit.result == results.SUCCESS:
            alive = unit.main != 0 or not (main_known or oneshot or unit.empty())
            if not alive and not remain:
                return
            unit.show("active", "running" if alive else "exited")
            if unit.reload_asked:
                self._reload()
                continue
            ends = began + unit.job.seconds("runtime-limit")
            barks = unit.stroked + unit.job.seconds("watchdog") if alive else FOREVER
            unit.wait(min(ends, barks))
            now = time.monotonic()
            if now >= ends:
                unit.fail("timeout", "timeout: it ran longer than RuntimeMaxSec=")
            elif unit.main and now >= unit.stroked + unit.job.seconds("watchdog"):
                unit.fail("watchdog", "watchdog: it gave no sign of life in WatchdogSec=")
            main_known = main_known or unit.main != 0

    def _reload(self) -> None:
        unit = self._unit
        ended = "done"
        for command in unit.job.commands("reload"):
            unit.show("reloading", "reload")
            unit.start(command, {}, main=False)
            if not self._until_control_ends(unit.job.seconds("start-timeout"), starting=True, fails=False):
                processes.send({unit.control} - {0}, signals.KILL)
                ended = "it did not end in its time"
                break
            if unit.control_status and "-" not in command[0]:
                ended = results.sentence(unit.control_status)
                break
        unit.show("active", "running" if unit.main else "exited")
        unit.reloaded(ended)

    # commands beside the main process

    def _commands(self, stage: str, active: str, sub: str, limit: float) -> bool:
        """One after the other; False if one failed, or a stop was asked for while the unit starts."""
        unit = self._unit
        starting = active == "activating"
        for command in unit.job.commands(stage):
            if starting and unit.stop_asked:
                return False
            unit.show(active, sub)
            unit.start(command, {} if starting else self._outcome(), main=False)
            if not self._until_control_ends(limit, starting=starting):
                return False
            if unit.control_status and "-" not in command[0]:
                ended = unit.control_status
                unit.fail(results.kind(ended), results.sentence(ended))
                return False
        return not (starting and unit.stop_asked)

    def _until_control_ends(self, limit: float, *, starting: bool, fails: bool = True) -> bool:
        unit = self._unit
        until = time.monotonic() + limit
        while unit.control:
            if starting and unit.stop_asked:
                return False
            if not unit.wait(max(until, unit.start_until) if starting else until):
                if fails:
                    unit.fail("timeout", "timeout: a command did not end in its time")
                return False
        return True

    def _outcome(self) -> Environment:
        """What ExecStop= and ExecStopPost= are told of the main process."""
        unit = self._unit
        outcome = {"SERVICE_RESULT": unit.result}
        if unit.main_status:
            signalled = not unit.main_status.isdecimal()
            outcome["EXIT_CODE"] = "killed" if signalled else "exited"
            outcome["EXIT_STATUS"] = unit.main_status.removeprefix("SIG")
        return outcome

    # stopping

    def _put_down(self, soft: str, hard: str, number: int) -> None:
        """Signal what runs by KillMode=, and after the stop timeout kill it."""
        unit = self._unit
        mode = unit.job.text("kill-mode", "control-group")
        if mode == "none" or self._gone(mode):
            return
        limit = unit.job.seconds("abort-timeout" if soft == "stop-watchdog" else "stop-timeout")
        self._ask_to_end(soft, mode, number, time.monotonic() + limit)
        if self._gone(mode) or unit.job.text("send-kill", "1") != "1":
            return
        unit.show("deactivating", hard)
        until = time.monotonic() + limit
        while not self._gone(mode) and time.monotonic() < until:
            everyone = {unit.main, unit.control} - {0} if mode == "process" else unit.everyone()
            processes.send(everyone, unit.job.number("final-signal", signals.KILL))
            unit.wait(min(until, time.monotonic() + STEP))
        if not self._gone(mode):
            unit.fail("timeout", "timeout: it did not even end by SIGKILL in its time")

    def _ask_to_end(self, sub: str, mode: str, number: int, until: float) -> None:
        """Send the gentle signal, once to each, also to those that are forked meanwhile, and wait."""
        unit = self._unit
        asked: set[int] = set()
        while not self._gone(mode):
            leading = {unit.main, unit.control} - {0}
            targets = leading if mode in ("process", "mixed") else unit.members() | leading
            if mode == "mixed" and not targets:
                return
            unit.show("deactivating", sub)
            processes.send(targets - asked, number, signals.CONT)
            if unit.job.text("send-hangup"):
                processes.send(targets - asked, signals.HUP)
            asked |= targets
            unit.wait(min(until, time.monotonic() + LOOK))
            if time.monotonic() >= until and not self._gone(mode):
                unit.fail("timeout", "timeout: it did not stop in its time")
                return

    def _gone(self, mode: str) -> bool:
        if mode == "process":
            return not self._unit.main and not self._unit.control
        return self._unit.empty()

    def _clean_up(self) -> None:
        """What the unit leaves: the rest of its log, its runtime directories, PID file and cgroups."""
        unit = self._unit
        while unit.main or unit.control:  # they ended: the events are on their way
            if not unit.wait(time.monotonic() + STEP):
                break
        unit.main = unit.control = 0
        unit.drain_all()
        keep = unit.job.text("keep-runtime", "no")
        if keep == "no" or (keep == "restart" and not self._again()):
            for kind, _, *paths in unit.job.all("made"):
                for path in paths if kind == "runtime" else ():
                    _remove_tree(path)
        if unit.job.text("pid-file"):
            _remove_file(unit.job.text("pid-file"))
        for row in unit.job.all("cgroup"):
            until = time.monotonic() + 1
            while not processes.remove_cgroup(row[0]) and time.monotonic() < until:
                unit.wait(time.monotonic() + STEP / 5)


def _pid_in(path: str) -> int:
    try:
        text = read_regular(path, LONGEST_PID_FILE).strip()
    except OSError:
        return 0
    return int(text) if text.isdigit() else 0


def _remove_file(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        return


def _remove_tree(path: str) -> None:
    """A directory with all in it, as far as that is possible; links are removed, not followed."""
    try:
        for _, directories, files, place in os.fwalk(path, topdown=False):
            for name in files:
                os.unlink(name, dir_fd=place)
            for name in directories:
                if stat.S_ISLNK(os.stat(name, dir_fd=place, follow_symlinks=False).st_mode):
                    os.unlink(name, dir_fd=place)
                else:
                    os.rmdir(name, dir_fd=place)
        os.rmdir(path)
    except OSError:  # the next start makes it again, or says why not
        return
