"""A host whose processes outlive its agent, and an executor for it."""

import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from types import TracebackType

import msgspec
import trio

from core.agent.executor import CHANGES, Active, Actual, Executor, ExecutorError, ExecutorGone
from core.agent.journal import Journal
from core.sched import unit_text


class Deed(msgspec.Struct, frozen=True):
    """Something that happened to a unit on a host."""

    at: float
    machine: str
    name: str
    what: str
    """up, down, killed (with its host), load, unload."""


class Process(msgspec.Struct):
    text: str
    active: Active = "inactive"
    since: float = 0
    pid: int = 0
    result: str = ""


class FakeHost:
    """What is on a host's disk and runs there. Names say how units behave: `stubborn…` takes 90 s to stop, `broken…`
    cannot be loaded, `failing…` ends as failed at once, `queued…` comes up when the test says so."""

    def __init__(self, machine: str, ledger: list[Deed], chance: random.Random) -> None:
        self.machine = machine
        self.ledger = ledger
        self.chance = chance
        self.units: dict[str, Process] = {}
        self.journal = msgspec.json.encode(Journal())
        self.boot = 1
        self.dead = False
        self.gone = False
        """The service manager does not answer."""
        self.next_pid = 100
        self.calls: list[tuple[str, str]] = []
        self.told: trio.MemorySendChannel[Actual | None] | None = None

    def write(self, name: str, what: str) -> None:
        self.ledger.append(Deed(trio.current_time(), self.machine, name, what))

    def running(self) -> set[str]:
        return {name for name, process in self.units.items() if process.active == "active"}

    def kill(self) -> None:
        """The plug is pulled."""
        for name in self.running():
            self.write(name, "killed")
        self.units.clear()
        self.boot += 1

    def actual(self, name: str) -> Actual:
        process = self.units[name]
        sub = {"active": "running", "inactive": "dead", "failed": "failed"}.get(process.active, process.active)
        return Actual(
            name, process.text, "loaded", process.active, sub, int(process.since), process.result, process.pid
        )

    def become(self, name: str, active: Active, result: str = "") -> None:
        process = self.units[name]
        if (process.active == "active") != (active == "active"):
            self.write(name, "up" if active == "active" else "down")
        process.active, process.since, process.result = active, trio.current_time(), result
        if self.told is not None:
            with suppress(trio.WouldBlock, trio.BrokenResourceError):
                self.told.send_nowait(self.actual(name))


class FakeMemory:
    def __init__(self, host: FakeHost) -> None:
        self.host = host
        self._writing = trio.Lock()

    async def read(self) -> Journal:
        return msgspec.json.decode(self.host.journal, type=Journal)

    async def write(self, journal: Journal) -> None:
        self._writing.acquire_nowait()  # a file is not written by two at once
        try:
            await trio.sleep(0.001)
            self.host.journal = msgspec.json.encode(journal)
        finally:
            self._writing.release()


class FakeExecutor(Executor):
    def __init__(self, host: FakeHost) -> None:
        self.host = host
        self._send, self._receive = trio.open_memory_channel[Actual | None](CHANGES)
        host.told = self._send

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._send.close()

    async def _pause(self, call: str, name: str, most: float = 0.05) -> None:
        self.host.calls.append((call, name))
        await trio.sleep(self.host.chance.random() * most)
        if self.host.gone:
            raise ExecutorGone("the service manager is away")

    async def adopt(self) -> dict[str, Actual]:
        await self._pause("adopt", "")
        return {name: self.host.actual(name) for name in self.host.units}

    async def load(self, name: str, text: bytes) -> None:
        await self._pause("load", name)
        if name.startswith("broken"):
            raise ExecutorError(f"load {name}", "it is broken", "Mend it")
        digest = unit_text.digest(text)
        if name in self.host.units:
            self.host.units[name].text = digest
        else:
            self.host.units[name] = Process(digest)
        self.host.write(name, "load")

    async def settle(self) -> None:
        await self._pause("settle", "")

    async def unload(self, name: str) -> None:
        await self.stop(name, "unload")
        if self.host.units.pop(name, None):
            self.host.write(name, "unload")

    async def start(self, name: str) -> None:
        await self._pause("start", name)
        if name not in self.host.units:
            raise ExecutorError(f"start {name}", "it is not loaded")
        process = self.host.units[name]
        if process.active != "active" and not name.startswith("queued"):
            self.host.next_pid += 1
            process.pid = self.host.next_pid
            if name.startswith("failing"):
                self.host.become(name, "failed", "exit-code 1")
            else:
                self.host.become(name, "active")

    async def stop(self, name: str, call: str = "stop") -> None:
        await self._pause(call, name)
        process = self.host.units.get(name)
        if process is None or process.active == "inactive":
            return
        if name.startswith("stubborn"):
            await trio.sleep(90)
        if name in self.host.units:
            process.pid = 0
            self.host.become(name, "inactive")

    async def reload(self, name: str) -> None:
        await self._pause("reload", name)

    def changes(self) -> "trio.MemoryReceiveChannel[Actual | None]":
        return self._receive

    async def logs(self, name: str, *, lines: int, follow: bool) -> AsyncGenerator[bytes]:
        yield b"line\n"

    async def properties(self, name: str) -> dict[str, str]:
        return {}

    async def check(self, name: str, command: Sequence[str], seconds: float) -> str:
        return ""
