"""`/units` and `/state` of fleet's API v1."""

from collections.abc import Sequence

import msgspec

from core.api.fleet.answers import Refused, parameter
from core.api.fleet.desired import Wanted, name_of, text_gone
from core.api.fleet.index import Index
from core.api.fleet.listing import Listing, cut, page_of
from core.api.fleet.shapes import Shape, Shapes
from core.api.fleet.tables import Tables, in_slices, read
from core.api.http.message import Request, Response
from core.api.plain import JSON, json_answer
from core.client import Store
from core.sched import fleet_options, keys, names, unit_text
from core.sched.fleet_options import FleetOption
from core.sched.records import Desired, UnitRecord, UnitState

_STATES: tuple[Desired, ...] = ("inactive", "loaded", "launched")
_NOTHING = Response(204, b"", b"")
_CREATED = Response(201, JSON, b"")
_NO_SHAPE = Shape()
LARGEST_BODY = 4 * unit_text.LARGEST
"""Of a unit to be created: each line of its text is an object."""


class Unit(msgspec.Struct, frozen=True, omit_defaults=True, rename={
    "desired_state": "desiredState", "current_state": "currentState", "machine_id": "machineID"
}):  # fmt: skip
    """A unit as fleet shows it."""

    name: str = ""
    options: tuple[FleetOption, ...] = ()
    desired_state: str = ""
    current_state: str = ""
    """Global units and templates have none."""
    machine_id: str = ""


class UnitPage(msgspec.Struct, frozen=True, omit_defaults=True, rename={"next_page_token": "nextPageToken"}):
    units: tuple[Unit, ...] = ()
    next_page_token: str = ""


class State(msgspec.Struct, frozen=True, omit_defaults=True, rename={
    "machine_id": "machineID", "load": "systemdLoadState", "active": "systemdActiveState", "sub": "systemdSubState"
}):  # fmt: skip
    """How a unit fares on a machine, as fleet shows it."""

    name: str = ""
    hash: str = ""
    """SHA-1 of the options, as fleet reckoned it."""
    machine_id: str = ""
    load: str = ""
    active: str = ""
    sub: str = ""


class StatePage(msgspec.Struct, frozen=True, omit_defaults=True, rename={"next_page_token": "nextPageToken"}):
    states: tuple[State, ...] = ()
    next_page_token: str = ""


class _Shown(msgspec.Struct, frozen=True):
    """One unit, its text not yet read."""

    name: str
    record: UnitRecord
    tables: Tables


class UnitsV1:
    """The handlers."""

    def __init__(self, store: Store, index: Index, wanted: Wanted) -> None:
        self._store = store
        self._index = index
        self._wanted = wanted
        self._shapes = Shapes(store)
        self._units: Listing[_Shown] = Listing(self._all_units)
        self._states: Listing[State] = Listing(self._all_states)

    async def list_units(self, request: Request) -> Response:
        """A page of units."""
        page = page_of(request)
        part, token = cut(await self._units.items(page), page)
        shapes = await self._shapes.of(each.record.text for each in part)
        units = tuple([_unit(each, shapes.get(each.record.text, _NO_SHAPE)) for each in part])
        return json_answer(UnitPage(units, token))

    async def get(self, name: str) -> Response:
        """One unit; that of an instance which `Replicas=` keeps is made of its template's."""
        parsed = name_of(name)
        template = [] if parsed.template is None else [keys.unit(parsed.template)]
        tables = await self._index.read(name, *template)
        record = tables.units.get(name)
        if record is None and name in tables.placements:
            record = tables.units.get(parsed.template or "")
        if record is None:
            raise Refused(404, "unit does not exist")
        shape = (await self._shapes.of([record.text])).get(record.text)
        if shape is None:
            raise text_gone(record.text)
        return json_answer(_unit(_Shown(name, record, tables), shape))

    async def put(self, request: Request, name: str) -> Response:
        """Create or change a unit."""
        kind = (request.header(b"content-type") or b"").partition(b";")[0].strip().lower()
        if kind != b"application/json":
            raise Refused(415, f"only content type application/json is accepted, not {kind[:100].decode('latin-1')!r}")
        if len(request.body) > LARGEST_BODY:
            raise Refused(413, f"a unit has at most {LARGEST_BODY:,} bytes here, and this has {len(request.body):,}")
        try:
            given = msgspec.json.decode(request.body, type=Unit)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Refused(400, f"unable to decode body: {error}") from None
        if given.name and given.name != name:
            raise Refused(400, f'name in URL "{name}" differs from unit name in request body "{given.name}"')
        parsed = name_of(name)
        desired = _desired(given.desired_state)
        old = await self._wanted.unit(parsed)
        if old is None and not given.options:
            raise Refused(409, "unit does not exist and options field empty")
        if old is not None and desired is None:
            raise Refused(409, "must provide DesiredState to update existing unit")
        if given.options and (old is None or not await self._same(old, given.options)):
            await self._wanted.submit(parsed, _text_of(given.options), desired or "inactive")
            return _CREATED
        if desired is not None:
            await self._wanted.set_state(parsed, desired)
        return _NOTHING

    async def delete(self, name: str) -> Response:
        """Forget a unit."""
        parsed = name_of(name)
        if parsed.template is None and await self._wanted.unit(parsed) is None:
            raise Refused(404, "unit does not exist")
        await self._wanted.destroy(parsed)
        return _NOTHING

    async def list_states(self, request: Request) -> Response:
        """A page of states, of one unit or machine if so asked."""
        page = page_of(request)
        unit, machine = parameter(request, "unitName"), parameter(request, "machineID")
        if unit:
            all_ = await self._shown_states(await self._index.read(unit))
        else:
            all_ = await self._states.items(page)
        chosen = [each for each in all_ if machine in ("", each.machine_id)]
        part, token = cut(chosen, page)
        return json_answer(StatePage(tuple(part), token))

    async def state(self, name: str) -> Response:
        """The first state of a unit."""
        found = await self._shown_states(await self._index.read(name_of(name).text))
        if not found:
            raise Refused(404, f"no state of {name} is known")
        return json_answer(found[0])

    async def _same(self, old: UnitRecord, options: Sequence[FleetOption]) -> bool:
        shapes = await self._shapes.of([old.text])
        return shapes.get(old.text, _NO_SHAPE).sha1 == fleet_options.sha1(list(options))

    async def _all_units(self) -> Sequence[_Shown]:
        tables = await read(self._store, keys.UNITS, keys.PLACEMENTS, keys.STATES)
        return await in_slices(sorted(tables.units.items()), lambda found: _Shown(*found, tables))

    async def _all_states(self) -> Sequence[State]:
        return await self._shown_states(await read(self._store, keys.STATES))

    async def _shown_states(self, tables: Tables) -> Sequence[State]:
        digests = {state.text for found in tables.states.values() for state in found.values() if state.text}
        shapes = await self._shapes.of(digests)

        def of_unit(found: tuple[str, dict[str, UnitState]]) -> list[State]:
            name, by_machine = found
            return [
                State(name, shapes.get(state.text, _NO_SHAPE).sha1, machine, state.load, state.active, state.sub)
                for machine, state in sorted(by_machine.items())
            ]

        by_unit = await in_slices(sorted(tables.states.items()), of_unit)
        return [state for states in by_unit for state in states]


def _desired(text: str) -> Desired | None:
    if not text:
        return None
    for state in _STATES:
        if text == state:
            return state
    raise Refused(400, f"{text[:40]!r} is no state: inactive, loaded or launched")


def _text_of(options: Sequence[FleetOption]) -> bytes:
    for option in options:
        if any("\n" in part for part in (option.section, option.name)) or "]" in option.section:
            raise Refused(400, f"{option.section[:40]!r} and {option.name[:40]!r} are no section and option of a unit")
    try:
        return fleet_options.serialise(list(options)).encode()
    except UnicodeEncodeError:
        raise Refused(400, "the options are no UTF-8") from None


def _unit(shown: _Shown, shape: Shape) -> Unit:
    name, record, tables = shown.name, shown.record, shown.tables
    if shape.is_global or names.parse(name).is_template:
        return Unit(name, shape.options, record.desired)
    machine, current = _where(tables, name)
    return Unit(name, shape.options, record.desired, current, machine)


def _where(tables: Tables, name: str) -> tuple[str, Desired]:
    """The machine a unit is placed on, and how far its agent has come, by fleet's reckoning: launched says that it was
    started, not that it runs."""
    placed = tables.placements.get(name, {})
    if not placed:
        return "", "inactive"
    machine, placement = min(placed.items())
    state = tables.states.get(name, {}).get(machine)
    if state is None or state.load != "loaded":
        return machine, "inactive"
    return machine, placement.desired
