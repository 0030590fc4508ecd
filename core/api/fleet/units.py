"""`/corenode/fleet/units`: what fleet's interface has not: texts byte for byte, restart, scale, where and why."""

from typing import TypeVar

import msgspec
import trio

from core.api.fleet.answers import Refused, flag, parameter, whole
from core.api.fleet.desired import Wanted, check, name_of, remarks_of
from core.api.fleet.index import Index
from core.api.fleet.shapes import Shape, Shapes
from core.api.fleet.tables import Tables, in_slices, read
from core.api.http.message import Request, Response
from core.api.plain import JSON, json_answer
from core.client import Store
from core.sched import keys, names
from core.sched.names import UnitName
from core.sched.records import Desired

BINARY = b"Content-Type: application/octet-stream\r\nX-Content-Type-Options: nosniff\r\n"
T = TypeVar("T")
_encode = msgspec.json.Encoder().encode


class Place(msgspec.Struct, frozen=True):
    """A unit on a machine: what is wanted there, and how it fares."""

    machine: str
    desired: str
    """Empty: it is not placed there, and not gone yet."""
    why: str
    """Why it is there."""
    text: str
    state: dict[str, object] | None
    """`core.sched.records.UnitState`; None: nothing is told of it."""


class Unit(msgspec.Struct, frozen=True):
    """A unit, with all machines it is on."""

    name: str
    desired: str
    text: str
    """SHA-256."""
    replicas: int | None
    restarted: int
    of: str
    """The template that keeps this instance; empty: it was submitted itself."""
    places: tuple[Place, ...]
    rollout: dict[str, object] | None = None


class _State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    desired: Desired


class _Scale(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    replicas: int | None


class UnitsHandlers:
    """What is served below `/corenode/fleet/units`."""

    def __init__(self, store: Store, index: Index, wanted: Wanted) -> None:
        self._store = store
        self._index = index
        self._wanted = wanted
        self._shapes = Shapes(store)

    async def list_units(self, request: Request) -> Response:
        """All units, those too that a template keeps, as of one revision."""
        tables = await read(self._store, keys.UNITS, keys.PLACEMENTS, keys.STATES, keys.ROLLOUTS)
        found = set(tables.units) | set(tables.placements) | set(tables.states) | await self._kept(tables)
        units = await in_slices(sorted(found), lambda name: _encode(_shown(tables, name)))
        return Response(200, JSON, b'{"revision":%d,"units":[%b]}\n' % (tables.revision, b",".join(units)))

    async def _kept(self, tables: Tables) -> set[str]:
        """The instances that templates keep, those too that have no machine yet."""
        wanted = [(name, record) for name, record in tables.units.items() if record.desired != "inactive"]
        templates = {name: record for name, record in wanted if "@." in name}
        shapes = await self._shapes.of(record.text for record in templates.values() if record.replicas is None)
        found: set[str] = set()
        for name, record in templates.items():
            shape, parsed = shapes.get(record.text, Shape()), names.parse(name)
            number = shape.replicas if record.replicas is None else record.replicas
            found.update(parsed.of(str(each)).text for each in range(1, number + 1))
            await trio.lowlevel.checkpoint()
        return found

    async def get(self, name: str) -> Response:
        """One unit."""
        parsed = name_of(name)
        template = [] if parsed.template is None else [keys.unit(parsed.template)]
        tables = await self._index.read(name, keys.rollout(name), *template)
        known = name in tables.units or name in tables.placements or name in tables.states
        if not known and name not in await self._kept(tables):
            raise Refused(404, f"there is no unit {name}")
        return json_answer(_shown(tables, name), end=b"\n")

    async def text(self, name: str) -> Response:
        """The text, byte for byte, with its hash in a header; of an instance that a template keeps, the template's."""
        parsed = name_of(name)
        record = await self._wanted.unit(parsed)
        if record is None and parsed.template is not None:
            record = await self._wanted.unit(names.parse(parsed.template))
        if record is None:
            raise Refused(404, f"there is no unit {name}")
        return Response(200, BINARY + _etag(record.text), await self._wanted.text(record.text))

    async def put_text(self, request: Request, name: str) -> Response:
        """Store a text. `?desired=` says what is wanted of it, `?replace=true` that another may be replaced; with
        If-Match only the text of that hash is. `?check=true` stores nothing and says what is wrong with it."""
        parsed = name_of(name)
        if flag(request, "check"):
            return json_answer({"warnings": remarks_of(await check(parsed, request.body))}, end=b"\n")
        text = parameter(request, "desired")
        desired = msgspec.convert({"desired": text}, _State).desired if text in _STATES else None
        if text and desired is None:
            raise Refused(400, f"desired={text[:40]!r} is no state: inactive, loaded or launched")
        known = (request.header(b"if-match") or b"").strip(b' "').decode("latin-1")
        replace = bool(known) or flag(request, "replace")
        done = await self._wanted.submit(parsed, request.body, desired, replace=replace, known=known)
        return json_answer(done, 201 if done.created else 200, _etag(done.hash), end=b"\n")

    async def set_state(self, request: Request, name: str) -> Response:
        """Say what is wanted."""
        await self._wanted.set_state(name_of(name), body_of(request, _State).desired)
        return Response(204, b"", b"")

    async def restart(self, name: str) -> Response:
        """Ask for a restart; which one it is."""
        return json_answer({"restarted": await self._wanted.restart(name_of(name))}, end=b"\n")

    async def scale(self, request: Request, name: str) -> Response:
        """Keep so many instances."""
        await self._wanted.scale(name_of(name), body_of(request, _Scale).replicas)
        return Response(204, b"", b"")

    async def delete(self, name: str) -> Response:
        """Forget a unit."""
        await self._wanted.destroy(name_of(name))
        return Response(204, b"", b"")


_STATES = ("inactive", "loaded", "launched")


def _etag(digest: str) -> bytes:
    return b'ETag: "%b"\r\n' % digest.encode()


def body_of(request: Request, kind: type[T]) -> T:
    """The JSON in a body; none is an empty object. Refused 400."""
    try:
        return msgspec.json.decode(request.body or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(400, str(error)) from None


def _shown(tables: Tables, name: str) -> Unit:
    record = tables.units.get(name)
    template = _template(names.parse(name)) if record is None else ""
    if record is None:
        record = tables.units.get(template)
    placed, states = tables.placements.get(name, {}), tables.states.get(name, {})
    places = []
    for machine in sorted(set(placed) | set(states)):
        placement, told = placed.get(machine), states.get(machine)
        state = None if told is None else whole(told)
        if placement is None:
            places.append(Place(machine, "", "", "", state))
        else:
            places.append(Place(machine, placement.desired, placement.why, placement.text, state))
    rollout = tables.rollouts.get(name)
    if record is None:  # destroyed, and not gone yet
        return Unit(name, "inactive", "", None, 0, "", tuple(places))
    return Unit(
        name,
        record.desired,
        record.text,
        record.replicas if name in tables.units else None,
        record.restarted,
        template,
        tuple(places),
        None if rollout is None else whole(rollout),
    )


def _template(name: UnitName) -> str:
    return name.template or ""
