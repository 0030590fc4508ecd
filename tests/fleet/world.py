"""The doors to units over a member of this process, whose disk is in memory; requests are handed to the handlers."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from core.api.access.gate import Gate
from core.api.access.hashing import Hashing
from core.api.fleet import Fleet, Forwarding, HostFace, Index, Units
from core.api.http.message import Caller, Request, Response
from core.api.plain import not_found
from core.api.router import Router
from core.client import Store, connect
from core.engine.sight import Sight
from core.node.local import LocalStore
from core.sched import keys, records
from tests.node.disk import Disk, Machine
from tests.v2.fakes import LOCAL, FakeOutlet, FakeReply

ONE, TWO = "1" * 32, "2" * 32
JSON = ((b"content-type", b"application/json"),)
HELLO = b"[Service]\nExecStart=/bin/sleep 9\n"
PATIENCE_SECONDS = 10.0


class Awaited(FakeReply):
    """A reply that can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.answered = trio.Event()

    def send(self, response: Response) -> None:
        super().send(response)
        self.answered.set()

    def stream(self, produce: Any) -> None:
        super().stream(produce)
        self.answered.set()


class Vouching:
    """What others say of where hosts are."""

    def __init__(self) -> None:
        self.members: dict[str, tuple[str, ...]] = {}
        self.addresses: dict[str, tuple[str, ...]] = {}
        self.running: tuple[str, ...] = ()

    def urls(self, machine: str) -> tuple[str, ...]:
        return self.members.get(machine, ())

    def names(self, machine: str) -> tuple[str, ...]:
        return self.addresses.get(machine, ())

    def sockets(self) -> tuple[str, ...]:
        return self.running


class World:
    """A node's doors."""

    def __init__(self, node: LocalStore, gate: Gate) -> None:
        self.store: Store = connect("local:", node=node)
        self.units: Units | None = None
        self.face = HostFace(ONE, lambda: self.units, (LookupError,))
        index = Index(self.store)
        self.vouching = Vouching()
        self.forwarding = Forwarding(self.store, index, self.face, "boot", lambda: None, self.vouching)
        self.sight = Sight(self.store, lambda: None)
        self.fleet = Fleet(self.store, gate, index, self.forwarding, self.sight)
        self.handler = Router(lambda _, reply: reply.send(not_found()), self.fleet.routes(), node.damage)

    async def ask(
        self,
        method: str,
        target: str,
        body: object = b"",
        *,
        caller: Caller = LOCAL,
        headers: tuple[tuple[bytes, bytes], ...] = JSON,
    ) -> Response:
        """One request and its whole answer."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        path, _, query = target.partition("?")
        reply = Awaited()
        with trio.fail_after(PATIENCE_SECONDS):
            self.handler(Request(method.encode(), path.encode(), query.encode(), headers, data, caller), reply)
            await reply.answered.wait()
            if reply.produce is None:
                return reply.sent
            outlet = FakeOutlet()
            await reply.produce(outlet)
            return Response(outlet.status, outlet.headers, outlet.body)

    async def good(self, method: str, target: str, body: object = b"", **more: Any) -> Any:
        """The JSON of a success; None if it has no body."""
        answer = await self.ask(method, target, body, **more)
        assert answer.status < 300, answer
        return json.loads(answer.body) if answer.body else None

    async def refused(self, method: str, target: str, body: object = b"", **more: Any) -> tuple[int, str]:
        """Status and reason of a refusal, in either form."""
        answer = await self.ask(method, target, body, **more)
        assert answer.status >= 400, answer
        told = json.loads(answer.body)
        if target.startswith(("/fleet/", "/v1-alpha")):
            assert told["error"]["code"] == answer.status
            return answer.status, told["error"]["message"]
        return answer.status, told["message"]

    async def unit(self, name: str) -> records.UnitRecord | None:
        """What the store has."""
        found = await self.store.get(keys.unit(name))
        return None if found is None else records.decode(records.UnitRecord, found)

    async def write(self, key: bytes, record: records.Record) -> None:
        """As the engine or an agent would."""
        await self.store.put(key, records.encode(record))


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    """It runs for the block."""
    machine = Machine(Disk())
    await machine.node.start()
    node = LocalStore(machine.node)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(machine.node.run)
        hashing = Hashing()
        nursery.start_soon(hashing.run)
        found = World(node, Gate(machine.keyspace.access, hashing, node.damage))
        nursery.start_soon(found.fleet.run)
        nursery.start_soon(found.sight.run)
        await trio.testing.wait_all_tasks_blocked()
        yield found
        machine.node.stop()
        nursery.cancel_scope.cancel()


def option(name: str, value: str, section: str = "Service") -> dict[str, str]:
    return {"section": section, "name": name, "value": value}
