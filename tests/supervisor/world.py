"""A supervisor in a directory of its own, and what tests want to know of it."""

import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trio

from core.agent.executor import Actual
from core.agent.supervisor import cgroups
from core.agent.supervisor.cgroups import Cgroups
from core.agent.supervisor.executor import LOG, Supervisor

MACHINE = "0123456789abcdef0123456789abcdef"
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
PATIENCE = 30.0


class World:
    """Units run, their states collected as they are told."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.supervisor = supervisor
        self.told: dict[str, list[Actual]] = {}

    async def load(self, name: str, *lines: str) -> None:
        text = "\n".join(["[Service]", *lines, ""])
        await self.supervisor.load(name, text.encode())

    async def run(self, name: str, *lines: str) -> None:
        await self.load(name, *lines)
        await self.supervisor.start(name)

    async def until(self, name: str, good: Callable[[Actual], bool]) -> Actual:
        """Wait for the first state told, from now on or before, that is good."""
        with trio.fail_after(PATIENCE):
            while True:
                for actual in self.told.get(name, []):
                    if good(actual):
                        return actual
                change = await self.supervisor.changes().receive()
                assert change is not None
                self.told.setdefault(change.name, []).append(change)

    async def until_sub(self, name: str, sub: str) -> Actual:
        return await self.until(name, lambda actual: actual.sub == sub)

    async def over(self, name: str) -> Actual:
        """Wait until it ran and is down. What came between may have been too short to be told."""
        return await self.until(name, lambda actual: actual.active in ("inactive", "failed") and actual.since > 0)

    def forget(self) -> None:
        self.told.clear()

    async def log(self, name: str, lines: int = 1000) -> list[str]:
        """What the unit wrote, without times, and without the supervisor's own words."""
        return [line for line in await self.whole_log(name, lines) if not line.startswith("-- ")]

    async def until_log(self, name: str, good: Callable[[list[str]], bool]) -> list[str]:
        """Wait until what the unit wrote is good."""
        with trio.fail_after(PATIENCE):
            while not good(found := await self.log(name)):
                await trio.sleep(0.01)  # noqa: ASYNC110 - another process writes it
        return found

    async def whole_log(self, name: str, lines: int = 1000) -> list[str]:
        found = self.supervisor.logs(name, lines=lines, follow=False)
        return [line.decode().partition(" ")[2].rstrip("\n") async for line in found]


@contextlib.asynccontextmanager
async def world(directory: Path, log: tuple[int, int] = LOG, *, keep: bool = False) -> AsyncIterator[World]:
    """A supervisor, all of whose units are unloaded in the end, but with `keep`."""
    async with Supervisor(directory / "units", MACHINE, log) as supervisor:
        if keep:
            yield World(supervisor)
            return
        try:
            yield World(supervisor)
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(PATIENCE):
                for name in await supervisor.adopt():
                    await supervisor.unload(name)


def no_cgroups(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that gives us none."""
    monkeypatch.setattr(cgroups, "probe", lambda _: Cgroups(None, {}))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


async def until_file(path: Path) -> str:
    """The content of a file, as soon as it has one."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if text := _content(path):
            return text
        await trio.sleep(0.01)
    raise AssertionError(f"{path} was not written")


def _content(path: Path) -> str:
    return path.read_text() if path.exists() else ""
