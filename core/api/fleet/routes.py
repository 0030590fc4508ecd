"""Every path of units and machines, and who may ask for it."""

from collections.abc import Awaitable, Callable
from functools import partial

import trio

from core.api.access.gate import Gate
from core.api.fleet.answers import Refuse, Refused, fleet_refusal, parts_below
from core.api.fleet.desired import Wanted
from core.api.fleet.discovery import document
from core.api.fleet.events import Events
from core.api.fleet.explaining import Explaining, Sight
from core.api.fleet.forwarding import Forwarding
from core.api.fleet.index import Index
from core.api.fleet.machines import MachinesHandlers
from core.api.fleet.rollouts import RolloutsHandlers
from core.api.fleet.service import Service
from core.api.fleet.units import UnitsHandlers
from core.api.fleet.v1_machines import MachinesV1
from core.api.fleet.v1_units import UnitsV1
from core.api.http.message import Handler, Outlet, Reply, Request, Response
from core.api.plain import json_answer, message
from core.api.router import Route
from core.client import Store
from core.kv.access import Office

V1 = (b"/fleet/v1", b"/v1-alpha")
OWN = b"/corenode/fleet"

Serve = Callable[[Request], Awaitable[Response]]
Table = dict[bytes, tuple[Office, Serve]]
"""By method: who may, and what is done."""


class Fleet:
    """All of it on a member. `run` is a task of the daemon."""

    def __init__(self, store: Store, gate: Gate, index: Index, forwarding: Forwarding, sight: Sight) -> None:
        self._service = Service(gate)
        self._index = index
        wanted = Wanted(store)
        self._units_v1, self._machines_v1 = UnitsV1(store, index, wanted), MachinesV1(store, wanted)
        self._units, self._machines = UnitsHandlers(store, index, wanted), MachinesHandlers(store, wanted)
        self._rollouts, self._events = RolloutsHandlers(store, wanted), Events(store)
        self._explaining = Explaining(sight)
        self._forwarding = forwarding

    async def run(self) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._index.run)
            nursery.start_soon(self._service.run)

    def routes(self) -> list[Route]:
        """The routes."""
        found = [route for base in V1 for route in self._v1(base)]
        return [*found, *self._own()]

    # fleet's

    def _v1(self, base: bytes) -> list[Route]:
        units, state, machines = base + b"/units", base + b"/state", base + b"/machines"
        one = self._units_v1
        only_get = "only GET supported against this resource"
        unit: Table = {
            b"GET": (Office.READER, lambda request: one.get(_only(request, units))),
            b"PUT": (Office.OPERATOR, lambda request: one.put(request, _only(request, units))),
            b"DELETE": (Office.OPERATOR, lambda request: one.delete(_only(request, units))),
        }
        a_state: Table = {b"GET": (Office.READER, lambda request: one.state(_only(request, state)))}
        all_machines: Table = {
            b"GET": (Office.READER, self._machines_v1.list_machines),
            b"PATCH": (Office.OPERATOR, self._machines_v1.patch),
        }
        by = partial(self._by_method, fleet_refusal)
        return [
            _tree(
                units,
                by(only_get, {b"GET": (Office.READER, one.list_units)}),
                by("only GET, PUT and DELETE supported against this resource", unit),
            ),
            _tree(state, by(only_get, {b"GET": (Office.READER, one.list_states)}), by(only_get, a_state)),
            Route(machines, by("only GET and PATCH supported against this resource", all_machines)),
            Route(base + b"/discovery", partial(_discovery, base)),
            Route(base, _unknown, below=True),
        ]

    # ours

    def _own(self) -> list[Route]:
        units, machines, rollouts = OWN + b"/units", OWN + b"/machines", OWN + b"/rollouts"
        rollout: Table = {
            b"GET": (Office.READER, lambda request: self._rollouts.get(_only(request, rollouts))),
            b"POST": (Office.OPERATOR, partial(self._rollout, rollouts)),
        }
        return [
            _tree(units, self._one(Office.READER, b"GET", self._units.list_units), self._unit),
            _tree(
                machines,
                self._one(Office.READER, b"GET", lambda _: self._machines.list_machines()),
                self._one(Office.OPERATOR, b"POST", partial(self._machine, machines)),
            ),
            _tree(
                rollouts,
                self._one(Office.READER, b"GET", lambda _: self._rollouts.list_rollouts()),
                self._by_method(message, "GET and POST are what there is", rollout),
            ),
            Route(OWN + b"/events", self._service.stream(Office.READER, self._events.produce, message)),
        ]

    def _unit(self, request: Request, reply: Reply) -> None:
        """Below `/corenode/fleet/units/`: NAME, and what of it."""
        try:
            name, what = _pair(request, OWN + b"/units")
        except Refused as error:
            reply.send(message(error.status, error.why))
            return
        service, units = self._service, self._units
        if (request.method, what) in ((b"GET", "logs"), (b"GET", "status")):
            ask = self._forwarding.logs if what == "logs" else self._forwarding.status

            async def produce(request: Request, outlet: Outlet) -> None:
                await ask(request, name, outlet)

            service.stream(Office.OPERATOR, produce, message)(request, reply)
            return
        table: dict[tuple[bytes, str], tuple[Office, Serve]] = {
            (b"GET", ""): (Office.READER, lambda _: units.get(name)),
            (b"DELETE", ""): (Office.OPERATOR, lambda _: units.delete(name)),
            (b"GET", "explain"): (Office.READER, lambda _: self._explaining.explain(name)),
            (b"GET", "text"): (Office.READER, lambda _: units.text(name)),
            (b"PUT", "text"): (Office.OPERATOR, lambda request: units.put_text(request, name)),
            (b"POST", "state"): (Office.OPERATOR, lambda request: units.set_state(request, name)),
            (b"POST", "restart"): (Office.OPERATOR, lambda _: units.restart(name)),
            (b"POST", "scale"): (Office.OPERATOR, lambda request: units.scale(request, name)),
        }
        found = table.get((request.method, what))
        if found is None:
            known = [method.decode() for method, other in table if other == what]
            reply.send(message(405, f"{' and '.join(known)} are what there is") if known else _nothing())
            return
        service.unary(*found, message)(request, reply)

    async def _machine(self, base: bytes, request: Request) -> Response:
        machine, verb = _pair(request, base)
        return await self._machines.act(request, machine, verb)

    async def _rollout(self, base: bytes, request: Request) -> Response:
        name, verb = _pair(request, base)
        return await (self._rollouts.steer(name, verb) if verb else self._rollouts.begin(request, name))

    # How

    def _one(self, office: Office, method: bytes, serve: Serve) -> Handler:
        return self._by_method(message, f"{method.decode()} is what there is", {method: (office, serve)})

    def _by_method(self, refuse: Refuse, otherwise: str, table: Table) -> Handler:
        handlers = {method: self._service.unary(office, serve, refuse) for method, (office, serve) in table.items()}

        def handler(request: Request, reply: Reply) -> None:
            found = handlers.get(request.method)
            if found is None:
                reply.send(refuse(405, otherwise))
            else:
                found(request, reply)

        return handler


def _tree(base: bytes, all_: Handler, one: Handler) -> Route:
    """A path that lists, and below it the single ones."""

    def handler(request: Request, reply: Reply) -> None:
        (all_ if request.path == base else one)(request, reply)

    return Route(base, handler, below=True)


def _only(request: Request, base: bytes) -> str:
    """The one part of the path behind a base. Refused 404."""
    parts = parts_below(request, base)
    if len(parts) != 1 or not parts[0]:
        raise Refused(404, "there is nothing at this path")
    return parts[0]


def _pair(request: Request, base: bytes) -> tuple[str, str]:
    """The one or two parts of the path behind a base. Refused 404."""
    parts = parts_below(request, base)
    if not 1 <= len(parts) <= 2 or not all(parts):
        raise Refused(404, "there is nothing at this path")
    return parts[0], parts[1] if len(parts) == 2 else ""


def _discovery(base: bytes, request: Request, reply: Reply) -> None:
    if request.method == b"GET":
        reply.send(json_answer(document(f"{base.decode()}/")))
    else:
        reply.send(fleet_refusal(400, "only HTTP GET supported against this resource"))


def _unknown(request: Request, reply: Reply) -> None:
    reply.send(fleet_refusal(404, "there is nothing at this path"))


def _nothing() -> Response:
    return message(404, "there is nothing at this path")
