"""One unit as the supervisor holds it: its directory, its shim while one lives, and what was last told of it."""

import contextlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import trio

from core.agent.executor import Actual, ExecutorError
from core.agent.supervisor import shims
from core.agent.supervisor.shim import processes
from core.agent.supervisor.shim.fields import Rows
from core.agent.supervisor.shim.job import Job, load
from core.agent.supervisor.shim.main import TAKEN
from core.agent.supervisor.shim.status import Status, read
from core.agent.supervisor.shims import Shim
from core.sched.unit_text import digest

OVER = ("inactive", "failed")
SPARE = 10.0
"""Seconds a shim gets beyond its unit's own timeouts before it is taken for hung."""
TICKS = os.sysconf("SC_CLK_TCK")


class Unit:
    """Calls for one unit come one at a time; its watcher and `look` may run beside them."""

    def __init__(self, name: str, directory: Path, nursery: trio.Nursery, tell: Callable[[Actual], None]) -> None:
        self.name = name
        self.directory = directory
        self._nursery = nursery
        self._tell = tell
        self._text = ""
        self._shim: Shim | None = None
        self._changed = trio.Event()
        """Set and replaced whenever there is something new on the page, or the shim has ended."""
        self._cleaned: trio.Event | None = None
        """Set when what a killed shim left is gone, if that is what goes on now."""
        self._last: Actual | None = None
        self._reloads = int(time.time())

    # what is there

    def find(self) -> None:
        """Take over what an earlier process left."""
        self._text = digest((self.directory / "unit").read_bytes())
        self._watch(Shim.find(self.directory))
        if self._shim is None and self._left_behind():
            self._cleaned = trio.Event()
            self._nursery.start_soon(self._after_a_killed_shim)

    def put(self, text: bytes, job: bytes) -> None:
        """Write text and job; an empty job is that of a target. OSError."""
        self.directory.mkdir(mode=0o700, exist_ok=True)
        if job:
            _replace(self.directory / "job", job)
        _replace(self.directory / "unit", text)
        self._text = digest(text)
        self.look()

    def look(self) -> Actual:
        """How it is now, told if it is new."""
        said = self._said()
        actual = Actual(
            name=self.name,
            text=self._text,
            load="loaded",
            active=said.get("active", "inactive"),  # type: ignore[arg-type]
            sub=said.get("sub", "dead"),
            since=int(said.get("since", 0)),
            result=said.get("why", ""),
            pid=int(said.get("main", 0)),
            restarts=int(said.get("restarts", 0)),
        )
        if actual != self._last:
            self._last = actual
            self._tell(actual)
        self._changed.set()
        self._changed = trio.Event()
        return actual

    def _said(self) -> dict[str, str]:
        """The page, if it is of this boot."""
        said = read(str(self.directory / "status"))
        return said if said is not None and said.get("boot") == processes.boot() else {}

    @property
    def _is_target(self) -> bool:
        return self.name.endswith(".target")

    def _left_behind(self) -> bool:
        return not self._is_target and self._said().get("active", "inactive") not in OVER

    # shims

    def _watch(self, shim: Shim | None) -> None:
        self._shim = shim
        if shim is not None:
            self._nursery.start_soon(self._until_ended, shim)

    async def _until_ended(self, shim: Shim) -> None:
        try:
            await shim.ended()
        finally:
            shim.close()
        if shim.exit_code == TAKEN:
            self._shim = None
            self._watch(Shim.find(self.directory))
        elif self._left_behind():
            await self._after_a_killed_shim()
        if self._shim is shim:
            self._shim = None
        if self.directory.is_dir():
            self.look()
        self._changed.set()
        self._changed = trio.Event()

    async def _after_a_killed_shim(self) -> None:
        await trio.to_thread.run_sync(shims.clean_up, self.directory, self.name)
        if self._cleaned is not None:
            self._cleaned.set()
        self.look()

    async def _until_over(self, seconds: float) -> bool:
        """Wait for the shim's end; False if it takes longer."""
        if self._cleaned is not None:
            await self._cleaned.wait()
        with trio.move_on_after(seconds) as limit:
            while self._shim is not None:
                await self._changed.wait()
        return not limit.cancelled_caught

    # what is asked

    async def start(self) -> None:
        if self._is_target:
            self._call("active")
            await trio.lowlevel.checkpoint()
            return
        if self._shim is not None and self.look().active in ("active", "reloading", "activating"):
            await trio.lowlevel.checkpoint()
            return
        await self._until_over(float("inf"))
        try:
            shim = Shim.start(self.directory)
        except OSError as error:
            raise ExecutorError(f"start {self.name}", f"no process could be made: {error.strerror}") from None
        self._watch(shim)
        if not await self._came(shim):
            complaint = (self.directory / "complaints").read_text(errors="replace").strip().rpartition("\n")[2]
            raise ExecutorError(f"start {self.name}", f"its supervising process ended at once: {complaint}")

    async def _came(self, shim: Shim) -> bool:
        """Whether a new shim comes so far as to write its page, or meets another one that has the unit."""
        while self._said().get("pid") != str(shim.pid):
            if self._shim is not shim:
                return self._shim is not None
            await self._changed.wait()
        return True

    async def stop(self) -> None:
        if self._is_target:
            self._call("inactive")
            await trio.lowlevel.checkpoint()
            return
        await trio.lowlevel.checkpoint()
        if self._shim is not None:
            shims.ask(self.directory, "stop")
        if not await self._until_over(_longest(load(str(self.directory / "job")))):
            if self._shim is not None:
                self._shim.kill()
            await self._until_over(float("inf"))

    def forget(self) -> None:
        """Remove what there is of a unit that is down. Cgroups stay if it was to leave processes behind."""
        with contextlib.suppress(FileNotFoundError):
            if not self._is_target:
                for (place,) in load(str(self.directory / "job")).all("cgroup"):
                    processes.remove_cgroup(place)
            shutil.rmtree(self.directory)

    async def reload(self) -> None:
        what = f"reload {self.name}"
        if self._is_target or not load(str(self.directory / "job")).commands("reload"):
            raise ExecutorError(what, "it has no ExecReload=", "Restart it instead")
        if self.look().active != "active" or self._shim is None:
            raise ExecutorError(what, "it is not running")
        self._reloads += 1
        number = str(self._reloads)
        shims.ask(self.directory, f"reload {number}")
        shim = self._shim
        while self._said().get("reload") != number:
            if self._shim is not shim:
                raise ExecutorError(what, "it ended meanwhile")
            await self._changed.wait()
        if (ended := self._said()["reloaded"]) != "done":
            raise ExecutorError(what, ended)

    def _call(self, active: str) -> None:
        """Targets have no processes: they are what was last asked of them, until the next boot."""
        if self.look().active != active:
            said = {"active": active, "sub": "active" if active == "active" else "dead", "since": int(time.time())}
            page = Status(str(self.directory / "status"), str(self.directory.parent / "events"), self.name)
            page.write(boot=processes.boot(), **said)
            page.close()
            self.look()

    def surroundings(self) -> tuple[bytes, Rows]:
        """What its programs run in: the job, and what its present run adds."""
        said = self._said()
        run = [["env", "INVOCATION_ID", said["invocation"]]] if said.get("invocation") else []
        main = [["env", "MAINPID", said["main"]]] if said.get("main", "0") != "0" else []
        return b"" if self._is_target else (self.directory / "job").read_bytes(), [*run, *main]

    def properties(self) -> dict[str, str]:
        """In systemd's names."""
        said = self._said()
        actual = self.look()
        found = {
            "Id": self.name,
            "LoadState": actual.load,
            "ActiveState": actual.active,
            "SubState": actual.sub,
            "Result": said.get("result", "success"),
            "MainPID": str(actual.pid),
            "NRestarts": str(actual.restarts),
            "StatusText": said.get("text", ""),
            "InvocationID": said.get("invocation", ""),
            "StateChangeTimestamp": said.get("since", ""),
            "ExecMainStartTimestamp": said.get("began", ""),
            "ExecMainStatus": said.get("code", ""),
            "SupervisorPID": str(self._shim.pid) if self._shim else "",
        }
        if self._shim is not None:
            found |= _costs(self._shim.pid, load(str(self.directory / "job")))
        return {key: value for key, value in found.items() if value}


def _costs(shim: int, job: Job) -> dict[str, str]:
    """Memory, time and number of the unit's processes: as the cgroup counts, or summed up."""
    found = {}
    for (place,) in job.all("cgroup"):
        for file, key in (
            ("memory.usage_in_bytes", "MemoryCurrent"),
            ("memory.current", "MemoryCurrent"),
            ("pids.current", "TasksCurrent"),
        ):
            with contextlib.suppress(OSError):
                found[key] = Path(place, file).read_text().strip()
    pids = processes.descendants(shim)
    found.setdefault("TasksCurrent", str(len(pids)))
    ticks = pages = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = processes.stat(pid)
            ticks += sum(int(field) for field in fields[11:15])
            pages += int(fields[21])
    found.setdefault("MemoryCurrent", str(pages * os.sysconf("SC_PAGE_SIZE")))
    found["CPUUsageNSec"] = str(ticks * 1_000_000_000 // TICKS)
    return found


def _longest(job: Job) -> float:
    """Seconds that stopping may take by the unit's own timeouts."""
    commands = len(job.commands("stop")) + len(job.commands("stop-post"))
    return (commands + 4) * job.seconds("stop-timeout") + job.seconds("abort-timeout") + SPARE


def _replace(path: Path, data: bytes) -> None:
    new = path.with_name(path.name + ".new")
    new.touch(mode=0o600)
    new.write_bytes(data)
    new.replace(path)
