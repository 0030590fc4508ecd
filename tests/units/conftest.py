"""One cluster in memory, its clock, and hosts with agents, for tests of the agent and of the engine."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from core.agent.agent import Agent
from core.agent.health import Probe
from core.agent.options import OnStop, Options
from core.sched import keys, unit_text
from core.sched.records import Header, Machine, Placement, UnitState, decode, encode
from tests.units.executor import Deed, FakeExecutor, FakeHost, FakeMemory
from tests.units.store import Cluster, Door, Trouble

STORY = Header("c1", 1)


class Bench:
    """Cluster and hosts; written to as the engine would."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.cluster = Cluster()
        self.ledger: list[Deed] = []
        self.nursery = nursery
        self.chance = random.Random(1)
        nursery.start_soon(self.cluster.run)

    def door(self) -> Door:
        return Door(self.cluster, self.chance, self.nursery, Trouble())

    def host(self, number: int = 1) -> FakeHost:
        return FakeHost(f"{number:032x}", self.ledger, self.chance)

    def vouch(self, host: FakeHost, story: Header = STORY) -> None:
        self.put(keys.header(host.machine), encode(story))

    def put(self, key: bytes, value: bytes) -> None:
        from core.client import Put

        self.cluster.execute(Put(key, value))

    def delete(self, key: bytes) -> None:
        from core.client import Delete

        self.cluster.execute(Delete(key))

    def place(self, host: FakeHost, name: str, text: str = "[Service]\nExecStart=/bin/true\n", **more: object) -> None:
        digest = unit_text.digest(text.encode())
        self.put(keys.text(digest), text.encode())
        self.put(keys.placement(host.machine, name), encode(Placement(digest, **more)))  # type: ignore[arg-type]

    def unplace(self, host: FakeHost, name: str) -> None:
        self.delete(keys.placement(host.machine, name))

    def state(self, host: FakeHost, name: str) -> UnitState | None:
        kv = self.cluster.kvs.get(keys.state(host.machine, name))
        return decode(UnitState, kv.value) if kv else None

    def machine(self, host: FakeHost) -> Machine | None:
        kv = self.cluster.kvs.get(keys.machine(host.machine))
        return decode(Machine, kv.value) if kv else None

    def agent(
        self, host: FakeHost, door: Door | None = None, on_stop: OnStop = "leave", probe: Probe | None = None
    ) -> Agent:
        machine = Machine(host.machine, name=f"host-{host.machine[-1]}", boot_id=str(host.boot))
        return Agent(
            door or self.door(),
            FakeExecutor(host),
            Options(machine=machine, on_stop=on_stop),
            FakeMemory(host),
            chance=random.Random(2),
            probe=probe,
        )

    @asynccontextmanager
    async def running(self, agent: Agent) -> AsyncIterator[trio.CancelScope]:
        """The agent for a block; at its end it is killed."""
        async with trio.open_nursery() as nursery:
            await nursery.start(agent.run)
            yield nursery.cancel_scope
            nursery.cancel_scope.cancel()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with trio.open_nursery() as nursery:
        yield Bench(nursery)
        nursery.cancel_scope.cancel()
