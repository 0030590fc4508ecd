"""Hosts that are simulated: real agents, each with a connection of its own over HTTP, and nothing that runs on them."""

import random
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any

import trio

from core.agent.agent import Agent
from core.agent.executor import CHANGES, Actual, Executor
from core.agent.journal import Journal
from core.agent.options import Options
from core.client.endpoints import parse_list
from core.client.remote import RemoteStore
from core.client.store import Watch
from core.client.transport import Transport
from core.sched.records import Machine


class Idle(Executor):
    """Has no units."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[Actual | None](CHANGES)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._send.close()

    async def adopt(self) -> dict[str, Actual]:
        return {}

    async def load(self, name: str, text: bytes) -> None:
        """Nothing is placed here."""

    async def settle(self) -> None:
        """Nothing was loaded."""

    async def unload(self, name: str) -> None:
        """Nothing was loaded."""

    async def start(self, name: str) -> None:
        """Nothing was loaded."""

    async def stop(self, name: str) -> None:
        """Nothing was started."""

    async def reload(self, name: str) -> None:
        """Nothing was started."""

    def changes(self) -> "trio.MemoryReceiveChannel[Actual | None]":
        return self._receive

    async def logs(self, name: str, *, lines: int, follow: bool) -> AsyncGenerator[bytes]:
        yield b""

    async def properties(self, name: str) -> dict[str, str]:
        return {}

    async def check(self, name: str, command: Sequence[str], seconds: float) -> str:
        return ""


class Forgetful:
    """A journal that is not kept."""

    async def read(self) -> Journal:
        return Journal()

    async def write(self, journal: Journal) -> None:
        """Nothing is kept."""


class Following(RemoteStore):
    """A host's way to the store. The host follows its orders while a watch of it is open."""

    def __init__(self, url: str) -> None:
        super().__init__(Transport(parse_list(url)))
        self.open = 0
        """Watches."""

    @asynccontextmanager
    async def watch(self, *arguments: Any, **more: Any) -> AsyncIterator[Watch]:
        async with super().watch(*arguments, **more) as watch:
            self.open += 1
            try:
                yield watch
            finally:
                self.open -= 1


async def host(number: int, store: Following, ttl: int) -> None:
    """One host's agent; never returns."""
    name = f"idle{number}"
    machine = Machine(f"{number + 1:032x}", name, boot_id="boot", metadata={"host": name}, cpus=2, memory=4 << 30)
    async with store:
        chance = random.Random(number)
        await Agent(store, Idle(), Options(machine=machine, ttl=ttl), Forgetful(), chance=chance).run()
