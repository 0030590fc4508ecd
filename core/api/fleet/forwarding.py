"""Logs and status of a unit wherever it runs: found in the store, asked of that host."""

from collections.abc import Callable
from urllib.parse import quote

from core.api.fleet.answers import Refused, flag, number, parameter
from core.api.fleet.desired import name_of
from core.api.fleet.host import LINES, MOST_LINES, PATH, HostFace
from core.api.fleet.index import Index
from core.api.fleet.tables import read
from core.api.http.message import Outlet, Request
from core.api.plain import TEXT
from core.client import Store
from core.client.credentials import ClientCredentials
from core.client.endpoints import Endpoint, parse
from core.client.errors import ClientError
from core.client.transport import Transport
from core.sched import keys
from core.sched.records import Machine

MOST_REFUSAL = 64 * 1024


class Forwarding:
    """Asks the hosts."""

    def __init__(
        self,
        store: Store,
        index: Index,
        face: HostFace,
        boot_id: str,
        credentials: Callable[[], ClientCredentials | None],
    ) -> None:
        """`boot_id` is that of this host; `credentials` are shown to others: this member's own."""
        self._store = store
        self._index = index
        self._face = face
        self._boot_id = boot_id
        self._credentials = credentials

    async def logs(self, request: Request, name: str, outlet: Outlet) -> None:
        """The log of a unit on the machine it is on, or that `?machine=` names."""
        lines = number(request, "lines", LINES, 0, MOST_LINES)
        follow = "true" if flag(request, "follow") else "false"
        await self._ask(request, name, f"logs?lines={lines}&follow={follow}", outlet)

    async def status(self, request: Request, name: str, outlet: Outlet) -> None:
        """What its host knows of it."""
        await self._ask(request, name, "status", outlet)

    async def _ask(self, request: Request, name: str, what: str, outlet: Outlet) -> None:
        unit = name_of(name).text
        machine = await self._machine(unit, parameter(request, "machine"))
        target = f"{PATH.decode()}/{quote(unit, safe='')}/{what}"
        if machine.id == self._face.machine:
            path, _, query = target.partition("?")
            own = Request(b"GET", path.encode(), query.encode(), (), b"", request.caller)
            await self._face.produce(own, outlet)
            return
        async with Transport(self._ways(machine), self._credentials()) as transport, transport.stream(target) as answer:
            kind = answer.headers.get("content-type", "")
            if answer.status != 200:
                raise Refused(answer.status, f"{_called(machine)} says: {await _words(answer.pieces)}")
            await outlet.start(200, f"Content-Type: {kind}\r\n".encode("latin-1") if kind else TEXT)
            async for piece in answer.pieces:
                if piece:
                    await outlet.send(piece)

    async def _machine(self, unit: str, wanted: str) -> Machine:
        """Where it is. Refused 404, 409."""
        tables = await self._index.read(unit)
        on = {*tables.placements.get(unit, ()), *tables.states.get(unit, ())}
        chosen = sorted(each for each in on if each.startswith(wanted))
        if not chosen:
            where = f" on a machine {wanted[:40]!r}" if wanted else " on any machine"
            raise Refused(404, f"there is no {unit}{where}; `corenode unit explain {unit}` says why")
        if len(chosen) > 1:
            raise Refused(409, f"{unit} is on several machines; say with machine= which: {', '.join(chosen)}")
        found = (await read(self._store, keys.machine(chosen[0]))).machines.get(chosen[0])
        if found is None:
            raise Refused(503, f"{unit} is on {chosen[0]}, which does not answer the cluster")
        return found

    def _ways(self, machine: Machine) -> list[Endpoint]:
        """How to reach it from here: its unix socket if it is this very host, else by TLS."""
        found: list[Endpoint] = []
        for text in machine.endpoints:
            try:
                way = parse(text)
            except ValueError:
                continue
            if way.socket is not None and machine.boot_id == self._boot_id:
                found.insert(0, way)
            elif way.socket is None and way.secure:
                found.append(way)
        if not found:
            raise Refused(
                502, f"{_called(machine)} cannot be asked from here: it has no https:// URL; ask on that host"
            )
        return found


def _called(machine: Machine) -> str:
    return f"{machine.name} ({machine.id})" if machine.name else machine.id


async def _words(pieces: object) -> str:
    found = b""
    try:
        async for piece in pieces:  # type: ignore[attr-defined]
            found += piece
            if len(found) > MOST_REFUSAL:
                break
    except ClientError as error:
        return str(error)
    return found.decode(errors="replace").strip()
