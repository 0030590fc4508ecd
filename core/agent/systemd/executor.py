"""The `Executor` that has systemd do it."""

import functools
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import trio

from core.agent.executor import CHANGES, Actual, Executor, ExecutorError, ExecutorGone
from core.agent.supervisor import checks, host
from core.agent.supervisor.shim.fields import Rows
from core.agent.supervisor.translation import TranslationError, surroundings
from core.agent.systemd import journal
from core.agent.systemd.bus import Bus, BusGoneError, CallError, Signal, connect
from core.agent.systemd.facts import IDLE, WATCHED, Facts, watched_of
from core.agent.systemd.files import Files, Unit, installable
from core.agent.systemd.manager import BUS, NAME, UNIT, Listed, Manager, type_interface, unit_name
from core.agent.systemd.shown import SHOWN, SHOWN_OF_SERVICE, shown
from core.sched import unit_text
from core.sched.names import UnitNameError, parse

DIRECTORY = Path("/run/corenode/units")
_ROWS = 32
"""Units asked for in one listing: decoding the answer takes a few milliseconds of the loop."""
_DETAILS = 8
"""Units whose properties are asked for at a time."""
_RETRY_SECONDS = (0.05, 0.2, 1.0, 2.0)
_NO_SUCH_UNIT = f"{NAME}.NoSuchUnit"
_NO_ID = 2**32 - 1
"""UID and GID of a service whose processes have those of the manager."""
_MACHINE_ID = Path("/etc/machine-id")


def booted() -> bool:
    """Whether this host's first process is systemd; as sd_booted(3)."""
    return Path("/run/systemd/system").is_dir()


class Systemd(Executor):
    """Units of the system's systemd, or with `user` of that of the user who runs this."""

    def __init__(self, directory: Path = DIRECTORY, *, user: bool = False, bus: str = "") -> None:
        """`directory`: where unit files are put, below a runtime directory. `bus`: a D-Bus address but the usual."""
        links = Path(os.environ.get("XDG_RUNTIME_DIR", "/run"), "systemd/user") if user else Path("/run/systemd/system")
        self._files = Files(directory, links)
        self._user = user
        self._address = bus or ("SESSION" if user else "SYSTEM")
        self._bus: Bus | None = None
        self._owner = ""
        self._away = "not connected to D-Bus yet"
        self._units: dict[str, Unit] = {}
        self._facts: dict[str, Facts] = {}
        self._told: dict[str, Actual] = {}
        self._fresh: set[str] = set()
        self._unsettled = False
        self._edits = 0
        """Files written and removed."""
        self._jobs: dict[str, _Job] = {}
        self._send, self._receive = trio.open_memory_channel[Actual | None](CHANGES + 1)
        self._overflowed = False
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        nursery = await self._stack.enter_async_context(trio.open_nursery())
        self._stack.callback(nursery.cancel_scope.cancel)
        await nursery.start(self._stay_connected, nursery)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()
        self._send.close()

    # What the agent asks

    async def adopt(self) -> dict[str, Actual]:
        with self._asking():
            manager = self._manager()
            if not self._unsettled and await trio.to_thread.run_sync(self._files.marked):
                self._unsettled = True
                await self._reload(manager)
            found = await self._scan()
            for name in set(self._facts) - set(found):
                self._forget(name)
            for name, unit in found.items():
                self._have(name, unit)
            await self._list(manager, found)
            return {name: self._tell(name) for name in found if name in self._units}

    async def load(self, name: str, text: bytes) -> None:
        with self._asking(f"load {name}"):
            manager = self._manager()
            there = await trio.to_thread.run_sync(self._files.read, name)
            if there == text and await trio.to_thread.run_sync(self._files.linked, name):
                return
            if there is None:
                await self._refuse_foreign(manager, name)
            await self._unsettle()
            if there is not None and installable(there):
                await manager.disable(name)
            self._have(name, await trio.to_thread.run_sync(self._files.write, name, text))
            self._edits += 1
            self._fresh.add(name)
            try:
                await manager.link(str(self._files.path(name)))
                if installable(text):
                    await manager.enable(name)
            except CallError:
                await self._remove(manager, name)
                raise
            finally:
                await self._unsettle()

    async def settle(self) -> None:
        with self._asking():
            if self._unsettled:
                await self._reload(self._manager())

    async def unload(self, name: str) -> None:
        with self._asking(f"unload {name}"):
            manager = self._manager()
            if await trio.to_thread.run_sync(self._files.read, name) is None:
                return
            await self._stop(manager, name)
            await self._unsettle()
            await self._remove(manager, name)

    async def start(self, name: str) -> None:
        with self._asking(f"start {name}"):
            manager = self._manager()
            facts = self._known(name)
            if facts.idle:
                with _ignoring(_NO_SUCH_UNIT):
                    await manager.reset_failed(name)
            await manager.job("StartUnit", name, functools.partial(self._queued, _Job(name, starts=True)))

    async def stop(self, name: str) -> None:
        with self._asking(f"stop {name}"):
            await self._stop(self._manager(), name)

    async def reload(self, name: str) -> None:
        with self._asking(f"reload {name}"):
            manager = self._manager()
            self._known(name)
            if not await manager.get(name, UNIT, "CanReload"):
                raise ExecutorError(f"reload {name}", "it does not run, or has no ExecReload=")
            result = await self._job(manager, "ReloadUnit", name)
            if result != "done":
                raise ExecutorError(f"reload {name}", f"its reload ended with {result}", f"See `unit logs {name}`")

    def changes(self) -> trio.MemoryReceiveChannel[Actual | None]:
        return self._receive

    async def logs(self, name: str, *, lines: int, follow: bool) -> AsyncGenerator[bytes]:
        with self._asking(f"read the logs of {name}"):
            async with aclosing(journal.read(name, lines=lines, follow=follow, user=self._user)) as read:
                async for line in read:
                    yield line

    async def properties(self, name: str) -> dict[str, str]:
        if name not in self._units:
            return {}
        found: dict[str, str] = {}
        with self._asking(f"show {name}"):
            manager = self._manager()
            own = SHOWN_OF_SERVICE if name.endswith(".service") else ()
            asked = [(UNIT, prop) for prop in SHOWN] + [(type_interface(name), prop) for prop in own]

            async def show(interface: str, prop: str) -> None:
                text = shown(prop, await manager.get(name, interface, prop))
                if text:
                    found[prop] = text

            await _all(functools.partial(show, interface, prop) for interface, prop in asked)
        order = (*SHOWN, *SHOWN_OF_SERVICE)
        return {prop: found[prop] for prop in order if prop in found}

    async def check(self, name: str, command: Sequence[str], seconds: float) -> str:
        with self._asking(f"check {name}"):
            manager = self._manager()
            text = await trio.to_thread.run_sync(self._files.read, name)
            if text is None:
                raise CallError(_NO_SUCH_UNIT, "it is not loaded")
            further: Rows = []
            if name.endswith(".service"):
                service = type_interface(name)
                for key, prop in (("user", "UID"), ("group", "GID")):
                    number = await manager.get(name, service, prop)
                    if number != _NO_ID:  # as it is just now: drop-ins and DynamicUser= count
                        further.append([key, str(number)])
                if pid := await manager.get(name, service, "MainPID"):
                    further += [["env", "MAINPID", str(pid)], *checks.cgroups_of(pid)]
            job = await trio.to_thread.run_sync(self._surroundings, name, text)
            return await checks.run(job, further, command, seconds)

    # Steps of these

    def _surroundings(self, name: str, text: bytes) -> bytes:
        own = host.look(_MACHINE_ID.read_text().strip(), self._files.directory)
        try:
            return surroundings(parse(name), unit_text.parse(text), own)
        except (TranslationError, unit_text.UnitTextError) as error:
            raise ExecutorError(f"check {name}", str(error)) from None

    async def _stop(self, manager: Manager, name: str) -> None:
        with _ignoring(_NO_SUCH_UNIT):
            await self._job(manager, "StopUnit", name)
            state = await manager.get(name, UNIT, "ActiveState")
            if state not in IDLE:
                raise ExecutorError(f"stop {name}", f"it is {state} after its stop timeout")

    async def _job(self, manager: Manager, method: str, name: str) -> str:
        """Have a job done and wait for its end; how it ended."""
        job = _Job(name, starts=False)
        try:
            await manager.job(method, name, functools.partial(self._queued, job))
            await job.ended.wait()
        finally:
            self._jobs.pop(job.path, None)
        if not job.result:
            raise BusGoneError(self._away)
        return job.result

    def _queued(self, job: "_Job", path: str) -> None:
        job.path = path
        self._jobs[path] = job

    async def _refuse_foreign(self, manager: Manager, name: str) -> None:
        """A unit of the host's own is not ours to replace, which a link of the same name would do."""
        fragment = await manager.get(name, UNIT, "FragmentPath")
        if fragment and await trio.to_thread.run_sync(self._files.owns, fragment):
            return
        # What is mounted, say, is a unit without any file.
        if fragment or await manager.get(name, UNIT, "ActiveState") not in IDLE:
            raise ExecutorError(
                f"load {name}",
                f"this host has a unit of that name of its own{', ' if fragment else ''}{fragment}",
                "Choose another name",
            )

    async def _remove(self, manager: Manager, name: str) -> None:
        with _ignoring(_NO_SUCH_UNIT):  # a load was cut off before it was linked
            await manager.disable(name)
        with _ignoring(_NO_SUCH_UNIT):
            await manager.reset_failed(name)
        await trio.to_thread.run_sync(self._files.remove, name)
        self._edits += 1
        self._forget(name)
        await self._unsettle()

    async def _unsettle(self) -> None:
        """Before a change, so that a crash in its middle is seen; and after it, as it may have been settled between."""
        if not self._unsettled:
            self._unsettled = True
            await trio.to_thread.run_sync(self._files.mark)

    async def _reload(self, manager: Manager) -> None:
        """Have everything read that was written before now, and tell what came of it."""
        fresh, self._fresh = self._fresh, set()
        self._unsettled = False
        try:
            await manager.reload()
        except BaseException:
            self._fresh |= fresh
            self._unsettled = True
            raise
        if not self._unsettled:
            await trio.to_thread.run_sync(self._files.unmark)
            if self._unsettled:
                await trio.to_thread.run_sync(self._files.mark)
        await self._list(manager, [name for name in fresh if name in self._units])
        for name in fresh & self._units.keys():
            self._publish(name)

    async def _scan(self) -> dict[str, Unit]:
        """Our files, at a moment when we were not about to write or remove one."""
        while True:
            edits = self._edits
            found = await trio.to_thread.run_sync(self._files.scan)
            if edits == self._edits:
                return found

    async def _list(self, manager: Manager, names: Iterable[str]) -> None:
        """Bring what is known of units up to date."""
        wanted, rows = list(names), list[Listed]()

        def heard(some: list[Listed]) -> None:
            for row in some:
                if row.name in self._units:
                    self._facts[row.name].listed(row.load, row.active, row.sub)
                    rows.append(row)

        for start in range(0, len(wanted), _ROWS):
            await manager.list(wanted[start : start + _ROWS], heard)
        partly = [row for row in rows if row.name in self._units and not self._facts[row.name].whole]
        for start in range(0, len(partly), _DETAILS):
            await _all(functools.partial(self._ask, manager, row) for row in partly[start : start + _DETAILS])

    async def _ask(self, manager: Manager, row: Listed) -> None:
        """What a listing does not say of a unit."""
        name, facts = row.name, self._facts.get(row.name, Facts())
        if row.load != "loaded":
            error = await manager.get(name, UNIT, "LoadError")
            facts.load_error = error[1] or error[0]
        else:
            own = watched_of(name.rpartition(".")[2])
            for interface, wanted in ((UNIT, WATCHED[3:]), (type_interface(name), own)):
                for prop in wanted:
                    await manager.get(name, interface, prop, functools.partial(_answered, facts, prop))
        facts.whole = True

    # What systemd says

    def _heard(self, signal: Signal) -> None:
        if signal.sender == self._owner and signal.member == "PropertiesChanged":
            self._changed(unit_name(signal.path), signal.body)
        elif signal.sender == self._owner and signal.member == "JobRemoved":
            _, path, _, result = signal.body
            self._job_ended(path, result)
        elif signal.sender == BUS and signal.member == "NameOwnerChanged" and self._bus is not None:
            self._away = "systemd has let go of D-Bus"
            self._bus.close()  # and begin anew with the one that comes

    def _job_ended(self, path: str, result: str) -> None:
        job = self._jobs.pop(path, None)
        if job is None:
            return
        job.end(result)
        if job.starts and job.unit in self._units:
            self._facts[job.unit].job_ended(result)
            self._publish(job.unit)

    def _changed(self, name: str, body: tuple[Any, ...]) -> None:
        if name not in self._facts:
            return
        interface, values, _ = body
        wanted = WATCHED if interface == UNIT else watched_of(name.rpartition(".")[2])
        self._facts[name].update({prop: values[prop][1] for prop in wanted if prop in values})
        # systemd tells what is special to the type first, so the unit is whole with this.
        if interface == UNIT and name in self._units:
            self._publish(name)

    def _tell(self, name: str) -> Actual:
        unit = self._units[name]
        actual = self._told[name] = self._facts[name].actual(name, unit.text, unit.written)
        return actual

    def _publish(self, name: str) -> None:
        before = self._told.get(name)
        if self._facts[name].known and self._tell(name) != before:
            self._offer(self._told[name])

    def _offer(self, change: Actual | None) -> None:
        """Into the channel; None, and nothing after it until it is taken, asks for a listing."""
        waiting = self._send.statistics().current_buffer_used
        if self._overflowed and waiting:
            return
        self._overflowed = change is None or waiting >= CHANGES
        self._send.send_nowait(None if self._overflowed else change)

    def _have(self, name: str, unit: Unit) -> None:
        self._units[name] = unit
        self._facts.setdefault(name, Facts())

    def _known(self, name: str) -> Facts:
        if name not in self._units:
            raise CallError(_NO_SUCH_UNIT, "it is not loaded")
        return self._facts[name]

    def _forget(self, name: str) -> None:
        self._units.pop(name, None)
        self._facts.pop(name, None)
        self._told.pop(name, None)
        self._fresh.discard(name)

    # The connection

    async def _stay_connected(self, nursery: trio.Nursery, *, task_status: trio.TaskStatus[None]) -> None:
        """Report as started after the first try, whatever came of it."""
        first, tries = True, 0
        while True:
            try:
                self._bus = await self._begin(nursery)
                tries = 0
                if not first:
                    self._offer(None)
            except (BusGoneError, CallError) as error:
                self._away = str(error)
            if first:
                first = False
                task_status.started()
            if self._bus is not None:
                await self._bus.closed.wait()
                self._lose()
            await trio.sleep(_RETRY_SECONDS[min(tries, len(_RETRY_SECONDS) - 1)])
            tries += 1

    async def _begin(self, nursery: trio.Nursery) -> Bus:
        bus = await connect(self._address, self._heard, nursery)
        try:
            self._owner = await Manager(bus).subscribe()
        except BaseException:
            bus.close()
            raise
        self._away = "the connection to D-Bus ended"
        return bus

    def _lose(self) -> None:
        """What was heard may be out of date from now on."""
        self._bus = None
        for job in self._jobs.values():
            job.end("")
        self._jobs.clear()
        for name in self._facts:
            self._facts[name] = Facts()

    def _manager(self) -> Manager:
        if self._bus is None:
            raise BusGoneError(self._away)
        return Manager(self._bus)

    @contextmanager
    def _asking(self, what: str = "") -> Iterator[None]:
        """Errors of systemd, D-Bus and files as those of an executor; without `what`, they concern every unit."""
        try:
            yield
        except BusGoneError as error:
            raise ExecutorGone(f"systemd cannot be reached: {error}") from None
        except (CallError, journal.JournalError, UnitNameError, OSError) as error:
            why = error.text if isinstance(error, CallError) else str(error)
            if not what:
                raise ExecutorGone(f"systemd could not be asked: {why}") from None
            raise ExecutorError(what, why.removesuffix(".")) from None


class _Job:
    """Something systemd was asked to do with a unit."""

    def __init__(self, unit: str, *, starts: bool) -> None:
        self.unit = unit
        self.starts = starts
        self.path = ""
        self.result = ""
        """`done`, `failed`, `timeout`, …; empty if nobody will know."""
        self.ended = trio.Event()

    def end(self, result: str) -> None:
        self.result = result
        self.ended.set()


def _answered(facts: Facts, prop: str, value: Any) -> None:
    facts.update({prop: value})


@contextmanager
def _ignoring(name: str) -> Iterator[None]:
    """A context in which one of systemd's errors is none."""
    try:
        yield
    except CallError as error:
        if error.name != name:
            raise


async def _all(tasks: Iterable[Callable[[], Awaitable[None]]]) -> None:
    """Run them together; the first error of systemd or D-Bus is raised when all are done."""
    errors: list[CallError | BusGoneError] = []

    async def run(task: Callable[[], Awaitable[None]]) -> None:
        try:
            await task()
        except (CallError, BusGoneError) as error:
            errors.append(error)

    async with trio.open_nursery() as nursery:
        for task in tasks:
            nursery.start_soon(run, task)
    if errors:
        raise errors[0]
