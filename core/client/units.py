"""Units and machines of a cluster, as operators see and change them, and what happens to them."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from core.client.errors import StrangeAnswerError
from core.client.transport import CALL_SECONDS, Answer, Stream, Transport
from core.client.tree import refusal
from core.sched.explain import Explanation
from core.sched.records import Desired, Drain, Machine, Rollout, UnitState

BASE = "/corenode/fleet"
T = TypeVar("T")


class Place(msgspec.Struct, frozen=True):
    """A unit on a machine."""

    machine: str
    desired: str = ""
    """What is wanted of it there; empty: it is on its way out."""
    why: str = ""
    text: str = ""
    state: UnitState | None = None
    """None: that machine has told nothing of it yet."""


class Unit(msgspec.Struct, frozen=True):
    """A unit with all the machines it is on."""

    name: str
    desired: Desired
    text: str
    """SHA-256 of its text."""
    replicas: int | None = None
    restarted: int = 0
    of: str = ""
    """The template that keeps this instance."""
    places: tuple[Place, ...] = ()
    rollout: Rollout | None = None


class Host(msgspec.Struct, frozen=True):
    """A machine of the cluster."""

    id: str
    present: bool
    metadata: dict[str, str]
    cordoned: str
    drain: Drain | None
    units: int
    machine: Machine | None
    """What it tells of itself; None while it is away."""


class Submitted(msgspec.Struct, frozen=True):
    """What became of a text."""

    created: bool
    changed: bool
    hash: str
    warnings: tuple[str, ...] = ()


class Happened(msgspec.Struct, frozen=True):
    """One event."""

    revision: int
    kind: str = ""
    """unit, machine, host, placement, state, rollout, leader; empty: only says from where on is told."""
    action: str = ""
    machine: str = ""
    unit: str = ""
    leader: str = ""
    now: dict[str, Any] | None = None
    before: dict[str, Any] | None = None


class _Units(msgspec.Struct, frozen=True):
    units: tuple[Unit, ...]


class _Hosts(msgspec.Struct, frozen=True):
    machines: tuple[Host, ...]


class _Rollouts(msgspec.Struct, frozen=True):
    rollouts: dict[str, Rollout]


class _Status(msgspec.Struct, frozen=True):
    machine: str
    unit: str
    properties: dict[str, str]


class _Warnings(msgspec.Struct, frozen=True):
    warnings: tuple[str, ...] = ()


class Units:
    """Each call asks one node: the first endpoint that can be connected to. ClientError."""

    def __init__(self, transport: Transport, seconds: float = CALL_SECONDS) -> None:
        self._transport = transport
        self._seconds = seconds

    # Reading

    async def list(self) -> tuple[Unit, ...]:
        """All units, those too that a template keeps, by name."""
        return _decoded(await self._call("GET", "/units"), _Units).units

    async def get(self, name: str) -> Unit | None:
        """One unit; None if it is not there."""
        answer = await self._transport.call("GET", _unit(name), seconds=self._seconds)
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise refusal(answer)
        return _decoded(answer, Unit)

    async def text(self, name: str) -> bytes:
        """Its text, byte for byte."""
        return (await self._call("GET", _path("units", name, "text"))).body

    async def explain(self, name: str) -> Explanation:
        """Why it is where it is, and on each machine why it is or is not there."""
        return _decoded(await self._call("GET", _path("units", name, "explain")), Explanation)

    async def hosts(self) -> tuple[Host, ...]:
        """All machines that are there or were spoken of, by id."""
        return _decoded(await self._call("GET", "/machines"), _Hosts).machines

    async def rollouts(self) -> dict[str, Rollout]:
        """All that are known, by unit."""
        return _decoded(await self._call("GET", "/rollouts"), _Rollouts).rollouts

    async def status(self, name: str, machine: str = "") -> tuple[str, dict[str, str]]:
        """The machine it is on, or the one asked for, and what is known of it there."""
        found = _decoded(await self._call("GET", _path("units", name, "status") + _query(machine=machine)), _Status)
        return found.machine, found.properties

    @asynccontextmanager
    async def logs(self, name: str, machine: str = "", *, lines: int, follow: bool) -> AsyncIterator[Stream]:
        """Its log piece by piece, from the machine it is on."""
        follows = "true" if follow else "false"
        target = BASE + _path("units", name, "logs") + _query(machine=machine, lines=str(lines), follow=follows)
        async with self._opened(target) as stream:
            yield stream

    @asynccontextmanager
    async def events(self, since: int = 0) -> AsyncIterator[AsyncIterator[Happened]]:
        """What happens from now on, or from a revision on."""
        async with self._opened(f"{BASE}/events{_query(since=str(since) if since else '')}") as stream:
            yield _lines(stream)

    # Changing

    async def submit(
        self, name: str, text: bytes, desired: Desired | None = None, *, replace: bool = False
    ) -> Submitted:
        """Store a text under a name, and say what is wanted of it, if not what was before."""
        query = _query(desired=desired or "", replace="true" if replace else "")
        return _decoded(await self._call("PUT", _path("units", name, "text") + query, text), Submitted)

    async def check(self, name: str, text: bytes) -> tuple[str, ...]:
        """Warnings about a text that would be taken. RefusedError if it would not."""
        answer = await self._call("PUT", _path("units", name, "text") + _query(check="true"), text)
        return _decoded(answer, _Warnings).warnings

    async def set_state(self, name: str, desired: Desired) -> None:
        """Say what is wanted of a unit."""
        await self._call("POST", _path("units", name, "state"), _json({"desired": desired}))

    async def restart(self, name: str) -> None:
        """Restart it wherever it runs."""
        await self._call("POST", _path("units", name, "restart"))

    async def scale(self, name: str, replicas: int | None) -> None:
        """Keep so many instances of a template; None: as many as its text says."""
        await self._call("POST", _path("units", name, "scale"), _json({"replicas": replicas}))

    async def destroy(self, name: str) -> None:
        """Stop it and forget it."""
        await self._call("DELETE", _path("units", name))

    async def roll_out(self, name: str, text: bytes, most: int, well: int) -> Rollout:
        """Replace its text where it runs, at most so many at a time; each counts once it was well for some seconds."""
        answer = await self._call(
            "POST", _path("rollouts", name) + _query(max_parallel=str(most), healthy_after=str(well)), text
        )
        return _decoded(answer, Rollout)

    async def rollout(self, name: str) -> Rollout:
        """How that is going."""
        return _decoded(await self._call("GET", _path("rollouts", name)), Rollout)

    async def steer(self, name: str, verb: str) -> Rollout:
        """Pause, resume or return."""
        return _decoded(await self._call("POST", _path("rollouts", name, verb)), Rollout)

    async def cordon(self, machine: str, why: str) -> None:
        """Place nothing new there."""
        await self._call("POST", _path("machines", machine, "cordon"), _json({"why": why}))

    async def uncordon(self, machine: str) -> None:
        """Place units there again."""
        await self._call("POST", _path("machines", machine, "uncordon"))

    async def forget(self, machine: str) -> None:
        """Let go of its machine id, so that another host may have it."""
        path = f"/corenode/hosts/{quote(machine, safe='')}"
        answer = await self._transport.call("DELETE", path, seconds=self._seconds)
        if answer.status != 200:
            raise refusal(answer)

    async def drain(self, machine: str, why: str, seconds: int, at_once: int) -> None:
        """Move its units elsewhere, so many at a time, all that are left when the patience ends."""
        body = _json({"why": why, "seconds": seconds, "at_once": at_once})
        await self._call("POST", _path("machines", machine, "drain"), body)

    # How

    async def _call(self, method: str, path: str, body: bytes = b"") -> Answer:
        answer = await self._transport.call(method, BASE + path, body, seconds=self._seconds)
        if not 200 <= answer.status < 300:
            raise refusal(answer)
        return answer

    @asynccontextmanager
    async def _opened(self, target: str) -> AsyncIterator[Stream]:
        async with self._transport.stream(target) as stream:
            if stream.status != 200:
                body = b"".join([piece async for piece in stream.pieces])
                raise refusal(Answer(stream.status, stream.headers, body, stream.endpoint))
            yield stream


async def _lines(stream: Stream) -> AsyncIterator[Happened]:
    rest = b""
    async for piece in stream.pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            try:
                yield msgspec.json.decode(line, type=Happened)
            except msgspec.DecodeError as error:
                raise StrangeAnswerError(f"an event cannot be read: {error}") from None


def _path(*parts: str) -> str:
    return "".join(f"/{quote(part, safe='')}" for part in parts)


def _unit(name: str) -> str:
    return BASE + _path("units", name)


def _query(**values: str) -> str:
    given = {name: value for name, value in values.items() if value}
    return f"?{urlencode(given)}" if given else ""


_json: Callable[[object], bytes] = msgspec.json.encode


def _decoded(answer: Answer, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except msgspec.DecodeError as error:
        raise StrangeAnswerError(f"the answer is not what was asked for: {error}") from None
