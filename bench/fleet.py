"""Nodes that manage units, seen as a client of them sees them: what is placed where, what runs, who decides."""

import contextlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import trio

from bench.programs import corenode
from bench.servers import Cluster, Member
from core.client import Store, connect, prefix
from core.machine_id import machine_id
from core.sched import keys
from core.sched.keys import Kind
from core.sched.records import RecordError, UnitState, decode
from tests.chaos.requests import Connection

PATIENCE_SECONDS = 120.0


class Told(msgspec.Struct):
    """Something the store told, and when by this process's monotonic clock."""

    at: float
    machine: str = ""
    value: str = ""


class Observer:
    """What one watch on everything about units has told so far."""

    def __init__(self) -> None:
        self._moved = trio.Event()
        self.placed: dict[str, dict[str, Told]] = {}
        """By unit, then machine: where each is placed now."""
        self.running: dict[str, dict[str, Told]] = {}
        self.pids: set[int] = set()
        """Of all units that ever ran."""
        self.machines: dict[str, Told] = {}
        self.engine = Told(0.0)
        """Of those that stand for election the first is the leader."""
        self._contenders: dict[bytes, tuple[int, str]] = {}
        self._first = 0, ""
        self.revision = 0

    async def run(self, store: Store, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Read all there is, then follow; never returns."""
        first = 0
        async for page in store.pages(prefix(keys.PREFIX)):
            first = first or page.revision
            for kv in page.kvs:
                self._take(kv.key, kv.value, kv.create_revision)
        async with store.watch(prefix(keys.PREFIX), start=first + 1) as watch:
            task_status.started()
            async for batch in watch:
                for event in batch.events:
                    self._take(event.kv.key, event.kv.value if event.kind == "put" else None, event.kv.create_revision)
                self.revision = batch.revision
                moved, self._moved = self._moved, trio.Event()
                moved.set()

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for something that is told. TooSlowError names it."""
        with trio.move_on_after(PATIENCE_SECONDS):
            while not condition():
                await self._moved.wait()
            return
        raise trio.TooSlowError(f"not within {PATIENCE_SECONDS:g} s: {what}")

    def _take(self, key: bytes, value: bytes | None, created: int) -> None:
        now = time.monotonic()
        if key.startswith(keys.LEADER):
            self._contenders.pop(key, None)
            if value is not None:
                self._contenders[key] = created, value.decode()
            first = min(self._contenders.values(), default=(0, ""))
            if first != self._first:
                self._first = first
                self.engine = Told(now, value=first[1])
            return
        match place := keys.parse(key):
            case keys.Place(Kind.MACHINE):
                _set(self.machines, place.machine, None if value is None else Told(now, place.machine))
            case keys.Place(Kind.PLACEMENT):
                at = self.placed.setdefault(place.name, {})
                _set(at, place.machine, None if value is None else Told(now, place.machine))
            case keys.Place(Kind.STATE):
                self._state(place.name, place.machine, value, now)

    def _state(self, name: str, machine: str, value: bytes | None, now: float) -> None:
        at = self.running.setdefault(name, {})
        state = UnitState()
        with suppress(RecordError):
            state = UnitState() if value is None else decode(UnitState, value)
        if state.pid:
            self.pids.add(state.pid)
        if state.active != "active":
            at.pop(machine, None)
        elif machine not in at:
            at[machine] = Told(now, machine, str(state.pid))


def _set(table: dict[str, Told], key: str, told: Told | None) -> None:
    if told is None:
        table.pop(key, None)
    else:
        table[key] = told


class Fleet:
    """A running cluster, an observer at its first member, and requests to that one."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.seen = Observer()

    @property
    def door(self) -> Member:
        """Whom requests go to."""
        return self.cluster.members[0]

    def store(self, member: Member | None = None) -> Store:
        """The store through a member's unix socket, over HTTP."""
        return connect(f"unix://{(member or self.door).socket}")

    async def ask(self, method: str, target: str, body: bytes = b"") -> Any:
        """One request on a connection of its own. ValueError if it is refused."""
        async with Connection(str(self.door.socket), 0) as door:
            answer = await door.send(method, target, body, "application/json", PATIENCE_SECONDS)
        if answer.status >= 300:
            raise ValueError(f"{method} {target}: {answer.status} {answer.body[:300]!r}")
        return json.loads(answer.body) if answer.body else None

    async def submit(self, name: str, text: bytes) -> None:
        await self.ask("PUT", f"/corenode/fleet/units/{name}/text?desired=launched", text)

    def machine_of(self, member: Member) -> str:
        return machine_id(member.home / "data")

    def end_units(self, machine: str = "") -> None:
        """Kill what runs on a machine, or everywhere."""
        pids = self.seen.pids
        if machine:
            pids = {int(at[machine].value) for at in self.seen.running.values() if machine in at}
        for pid in pids - {0}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@asynccontextmanager
async def nodes(home: Path, size: int, **settings: str) -> AsyncIterator[Fleet]:
    """A new cluster with these settings (`agent_ttl="3s"`), observed; all that ran on it is gone in the end."""
    environment = {f"CORENODE_{name.upper()}": value for name, value in settings.items()}
    program = corenode()
    program = replace(program, environment={**program.environment, **environment})
    with Cluster(program, home, size) as cluster:
        fleet = Fleet(cluster)
        try:
            async with observed(fleet):
                yield fleet
        finally:
            cluster.kill()
            fleet.end_units()


@asynccontextmanager
async def observed(fleet: Fleet, member: Member | None = None) -> AsyncIterator[None]:
    """`fleet.seen` is new, and kept up to date by a member for the block."""
    fleet.seen = Observer()
    async with fleet.store(member) as store, trio.open_nursery() as nursery:
        await nursery.start(fleet.seen.run, store)
        yield
        nursery.cancel_scope.cancel()


def figures(member: Member) -> dict[str, float]:
    """What `/metrics` of a member shows, by name, labels left out where there are none."""
    found = {}
    for line in (member.ask("GET", "/metrics") or b"").decode().splitlines():
        name, _, value = line.rpartition(" ")
        if name and not line.startswith("#"):
            found[name] = float(value)
    return found


def longest_hold(before: dict[str, float], after: dict[str, float]) -> float:
    """Seconds of processor for which a member's loop was held at most in between; what else runs on the machine does
    not count. The upper bound of the histogram's bucket, or what the member itself remembers, if that is less."""
    start, end = 'corenode_loop_hold_duration_seconds_bucket{le="', '",time="processor"}'
    bounds = sorted(
        (float(name.removeprefix(start).removesuffix(end).replace("+Inf", "inf")), after[name] - before.get(name, 0.0))
        for name in after
        if name.startswith(start) and name.endswith(end)
    )
    total = bounds[-1][1] if bounds else 0.0
    bucket = next((bound for bound, count in bounds if count >= total), 0.0)
    return min(bucket, after['corenode_loop_hold_longest_seconds{time="processor"}']) if total else 0.0
