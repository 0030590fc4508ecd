"""The embedded supervisor as the agent sees it."""

import contextlib
import logging
import os
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import trio

from core.agent.executor import CHANGES, Actual, Executor, ExecutorError
from core.agent.supervisor import cgroups, checks, host, logs
from core.agent.supervisor.shim.status import PAGE
from core.agent.supervisor.translation import TranslationError, translate
from core.agent.supervisor.unit import Unit
from core.sched import names, unit_text

_logger = logging.getLogger(__name__)

LOG = (4 << 20, 4)
"""Bytes of a log file, and how many of them a unit has."""
KINDS = ("service", "target")


class Supervisor(Executor):
    """Runs services with a shim each. `directory` is its own, on a file system with FIFOs; `machine` the host's id.

    Two supervisors must not share a directory; the one who locks the daemon's data directory sees to that.
    """

    def __init__(self, directory: Path, machine: str, log: tuple[int, int] = LOG) -> None:
        self._directory = directory.absolute()
        self._machine = machine
        self._log = log
        self._units: dict[str, Unit] = {}
        self._send, self._changes = trio.open_memory_channel[Actual | None](CHANGES + 1)
        self._told_to_list = False
        self._exits = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._host = host.look(self._machine, self._directory)
        self._cgroups = cgroups.probe(self._directory)
        events = self._directory / "events"
        if not events.exists():
            os.mkfifo(events, 0o600)
        self._events = os.open(events, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._nursery = await self._exits.enter_async_context(trio.open_nursery())
        self._nursery.start_soon(self._listen)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._nursery.cancel_scope.cancel()
        try:
            await self._exits.__aexit__(None, None, None)  # the block's own error needs no group around it
        finally:
            os.close(self._events)
            self._cgroups.close()
            self._send.close()

    async def adopt(self) -> dict[str, Actual]:
        for place in sorted(self._directory.iterdir()):
            if place.name not in self._units and (place / "unit").is_file():
                unit = self._add(place.name)
                unit.find()
                await trio.lowlevel.checkpoint()
        found = {}
        for name, unit in sorted(self._units.items()):
            found[name] = unit.look()
            await trio.lowlevel.checkpoint()
        return found

    async def load(self, name: str, text: bytes) -> None:
        try:
            read, of = unit_text.parse(text), names.parse(name)
        except ValueError as error:
            raise ExecutorError(f"load {name}", str(error)) from None
        if of.type not in KINDS:
            advice = "Place it on a host with systemd: the embedded supervisor has services and targets"
            raise ExecutorError(f"load {name}", f"a {of.type} needs systemd, and this host has none as init", advice)
        job = b""
        if of.type == "service":
            try:
                job, warnings = translate(of, read, self._host, self._cgroups, self._log)
            except TranslationError as error:
                raise ExecutorError(f"load {name}", str(error), "Correct the unit and submit it anew") from None
            for sentence in warnings:
                _logger.warning("a unit asks for what this host does not do", extra={"unit": name, "what": sentence})
        try:
            unit = self._units.get(name) or self._add(name)
            unit.put(text, job)
        except OSError as error:
            raise ExecutorError(f"load {name}", f"{error.filename}: {error.strerror}") from None
        await trio.lowlevel.checkpoint()

    async def settle(self) -> None:
        """Nothing waits for it here."""
        await trio.lowlevel.checkpoint()

    async def unload(self, name: str) -> None:
        unit = self._units.get(name)
        if unit is None:
            await trio.lowlevel.checkpoint()
            return
        await unit.stop()
        await trio.to_thread.run_sync(unit.forget)
        self._units.pop(name, None)

    async def start(self, name: str) -> None:
        await self._unit("start", name).start()

    async def stop(self, name: str) -> None:
        await self._unit("stop", name).stop()

    async def reload(self, name: str) -> None:
        await self._unit("reload", name).reload()

    def changes(self) -> "trio.MemoryReceiveChannel[Actual | None]":
        return self._changes

    async def logs(self, name: str, *, lines: int, follow: bool) -> AsyncGenerator[bytes]:
        unit = self._unit("read the log of", name)
        async with contextlib.aclosing(logs.lines(unit.directory, lines, follow=follow)) as found:
            async for line in found:
                yield line

    async def properties(self, name: str) -> dict[str, str]:
        unit = self._unit("show", name)
        await trio.lowlevel.checkpoint()
        return unit.properties()

    async def check(self, name: str, command: Sequence[str], seconds: float) -> str:
        job, further = self._unit("check", name).surroundings()
        return await checks.run(job, further, command, seconds)

    def _unit(self, verb: str, name: str) -> Unit:
        unit = self._units.get(name)
        if unit is None:
            raise ExecutorError(f"{verb} {name}", "it is not loaded on this host")
        return unit

    def _add(self, name: str) -> Unit:
        unit = Unit(name, self._directory / name, self._nursery, self._tell)
        self._units[name] = unit
        return unit

    async def _listen(self) -> None:
        """Look at the page of each unit whose name comes out of the FIFO."""
        rest = b""
        while True:
            await trio.lowlevel.wait_readable(self._events)
            with contextlib.suppress(BlockingIOError):
                rest += os.read(self._events, PAGE)
            *found, rest = rest.split(b"\n")
            for name in dict.fromkeys(found):
                unit = self._units.get(name.decode("utf-8", "replace"))
                if unit is not None:
                    unit.look()

    def _tell(self, actual: Actual) -> None:
        if self._send.statistics().current_buffer_used < CHANGES:
            self._told_to_list = False
            self._send.send_nowait(actual)
        elif not self._told_to_list:
            self._told_to_list = True
            self._send.send_nowait(None)
