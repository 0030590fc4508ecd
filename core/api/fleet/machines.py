"""`/corenode/fleet/machines`: the hosts, and what operators say about them."""

import msgspec

from core.api.fleet.answers import Refused, whole
from core.api.fleet.desired import LONGEST_WHY, Wanted
from core.api.fleet.tables import read
from core.api.fleet.units import body_of
from core.api.http.message import Request, Response
from core.api.plain import json_answer
from core.client import Store
from core.sched import keys
from core.sched.records import Machine

LONGEST_SECONDS = 30 * 24 * 3600
MOST_AT_ONCE = 1000


class Shown(msgspec.Struct, frozen=True):
    """A host as the cluster knows it."""

    id: str
    present: bool
    """Whether its agent is there."""
    metadata: dict[str, str]
    """With what operators said in its place."""
    cordoned: str
    drain: dict[str, object] | None
    units: int
    """Placed there."""
    machine: dict[str, object] | None
    """`core.sched.records.Machine`: what it tells of itself; None while it is away."""


class _Cordon(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    why: str = ""


class _Drain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    why: str = ""
    seconds: int = 0
    """Patience; 0: without end."""
    at_once: int = 1


class MachinesHandlers:
    """What is served below `/corenode/fleet/machines`."""

    def __init__(self, store: Store, wanted: Wanted) -> None:
        self._store = store
        self._wanted = wanted

    async def list_machines(self) -> Response:
        """All hosts that are there or were spoken of."""
        tables = await read(self._store, keys.MACHINES, keys.HOSTS, keys.PLACEMENTS)
        units: dict[str, int] = {}
        for places in tables.placements.values():
            for machine in places:
                units[machine] = units.get(machine, 0) + 1
        found = []
        for id_ in sorted({*tables.machines, *tables.hosts, *units}):
            there, host = tables.machines.get(id_), tables.hosts.get(id_)
            metadata = tables.metadata(there or Machine(id_))
            drain = None if host is None or host.drain is None else whole(host.drain)
            told = None if there is None else whole(there)
            cordoned = "" if host is None else host.cordoned
            found.append(Shown(id_, there is not None, metadata, cordoned, drain, units.get(id_, 0), told))
        return json_answer({"revision": tables.revision, "machines": found}, end=b"\n")

    async def act(self, request: Request, machine: str, verb: str) -> Response:
        """Cordon, uncordon or drain one."""
        match verb:
            case "cordon":
                await self._wanted.cordon(machine, _why(body_of(request, _Cordon).why, "an operator said so"))
            case "uncordon":
                await self._wanted.uncordon(machine)
            case "drain":
                asked = body_of(request, _Drain)
                if not 0 <= asked.seconds <= LONGEST_SECONDS or not 1 <= asked.at_once <= MOST_AT_ONCE:
                    raise Refused(
                        400, f"seconds are 0 to {LONGEST_SECONDS:,}, and 1 to {MOST_AT_ONCE} units move at once"
                    )
                await self._wanted.drain(machine, _why(asked.why, "it is drained"), asked.seconds, asked.at_once)
            case _:
                raise Refused(404, f"a machine can be told to cordon, uncordon or drain, not to {verb[:40]!r}")
        return Response(204, b"", b"")


def _why(given: str, default: str) -> str:
    if len(given) > LONGEST_WHY or not given.isprintable():
        raise Refused(400, f"why: up to {LONGEST_WHY} printable characters")
    return given or default
