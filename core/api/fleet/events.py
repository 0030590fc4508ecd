"""`/corenode/fleet/events`: what happens to units and machines, a line of JSON each, as it happens."""

from collections.abc import Mapping

import msgspec

from core.api.fleet.answers import Refused, number, whole
from core.api.http.message import Outlet, Request
from core.client import Event, Store, prefix
from core.client.errors import CompactedError
from core.sched import keys, records
from core.sched.keys import Kind
from core.sched.records import HostRecord, Machine, Placement, Record, Rollout, UnitRecord, UnitState

TYPE = b"Content-Type: application/x-ndjson\r\n"
_MOST_REVISION = 2**63 - 2

_KINDS: Mapping[Kind, tuple[str, type[Record]]] = {
    Kind.UNIT: ("unit", UnitRecord),
    Kind.MACHINE: ("machine", Machine),
    Kind.HOST: ("host", HostRecord),
    Kind.PLACEMENT: ("placement", Placement),
    Kind.STATE: ("state", UnitState),
    Kind.ROLLOUT: ("rollout", Rollout),
}


class Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """One event; with none but a revision it says from where on the stream tells."""

    revision: int
    kind: str = ""
    """unit, machine, host, placement, state, rollout or leader."""
    action: str = ""
    """put or delete."""
    machine: str = ""
    unit: str = ""
    leader: str = ""
    """What the engine that stands for election says of itself."""
    now: dict[str, object] | None = None
    """The record (`core.sched.records`) as it is from then on."""
    before: dict[str, object] | None = None


_encode = msgspec.json.Encoder().encode


class Events:
    """The handler."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def produce(self, request: Request, outlet: Outlet) -> None:
        """Tell of all that happens, with `?since=` also of what happened from that revision on."""
        since = number(request, "since", 0, 1, _MOST_REVISION)
        try:
            async with self._store.watch(prefix(keys.PREFIX), start=since, previous=True) as watch:
                begin = since or (await self._store.range(keys.GENERATION, count_only=True)).revision
                await outlet.start(200, TYPE)
                await outlet.send(_encode(Told(begin)) + b"\n")
                async for batch in watch:
                    lines = [line for event in batch.events if (line := told(event)) is not None]
                    if lines:
                        await outlet.send(b"".join([_encode(line) + b"\n" for line in lines]))
        except CompactedError as error:
            raise Refused(410, f"what happened from revision {since} on is no longer kept: {error}") from None


def told(event: Event) -> Told | None:
    """An event as it is told; None of what concerns nobody but this program."""
    key, action = event.kv.key, "put" if event.kind == "put" else "delete"
    if key.startswith(keys.LEADER + b"/"):
        value = event.kv.value or (event.previous.value if event.previous else b"")
        return Told(event.kv.mod_revision, "leader", action, leader=value.decode(errors="replace"))
    place = keys.parse(key)
    found = None if place is None else _KINDS.get(place.kind)
    if place is None or found is None:
        return None
    name, kind = found
    now = _record(kind, event.kv.value) if event.kind == "put" else None
    before = _record(kind, event.previous.value) if event.previous is not None else None
    return Told(event.kv.mod_revision, name, action, place.machine, place.name, now=now, before=before)


def _record(kind: type[Record], value: bytes) -> dict[str, object] | None:
    try:
        found: Record = records.decode(kind, value)  # type: ignore[type-var]
    except records.RecordError:
        return None
    return whole(found)
