"""Logs and status of a unit wherever it runs: found in the store, asked of that host."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from urllib.parse import quote

import msgspec
import trio

from core.api.fleet.answers import Refused, flag, number, parameter
from core.api.fleet.desired import name_of
from core.api.fleet.host import LINES, MOST_LINES, PATH, HostFace
from core.api.fleet.index import Index
from core.api.fleet.tables import read
from core.api.fleet.ways import Vouchers, ways
from core.api.http.message import Outlet, Request
from core.api.plain import TEXT, json_answer
from core.client import Store
from core.client.credentials import ClientCredentials
from core.client.errors import ClientError
from core.client.transport import Stream, Transport
from core.sched import keys
from core.sched.records import Machine

MOST_REFUSAL = 64 * 1024
MOST_STATUS = 256 * 1024
"""Bytes of what a host says: it may be hostile, and only its logs have no end."""
HEAD_SECONDS = 15.0
"""How long a host may take to begin its answer, and to say all of what is no log."""


class _Known(msgspec.Struct, frozen=True):
    """What a host knows of one of its units."""

    machine: str
    unit: str
    properties: dict[str, str]


class Forwarding:
    """Asks the hosts."""

    def __init__(
        self,
        store: Store,
        index: Index,
        face: HostFace,
        boot_id: str,
        credentials: Callable[[], ClientCredentials | None],
        vouchers: Vouchers,
    ) -> None:
        """`boot_id` is that of this host; `credentials` are shown to others: this member's own."""
        self._store = store
        self._index = index
        self._face = face
        self._boot_id = boot_id
        self._credentials = credentials
        self._vouchers = vouchers

    async def logs(self, request: Request, name: str, outlet: Outlet) -> None:
        """The log of a unit on the machine it is on, or that `?machine=` names."""
        lines = number(request, "lines", LINES, 0, MOST_LINES)
        follow = "true" if flag(request, "follow") else "false"
        async with AsyncExitStack() as stack:
            answer = await self._ask(stack, request, name, f"logs?lines={lines}&follow={follow}", outlet)
            if answer is not None:
                await outlet.start(200, TEXT)
                async for piece in answer.pieces:
                    if piece:
                        await outlet.send(piece)

    async def status(self, request: Request, name: str, outlet: Outlet) -> None:
        """What its host knows of it."""
        async with AsyncExitStack() as stack:
            answer = await self._ask(stack, request, name, "status", outlet)
            if answer is None:
                return
            try:
                known = msgspec.json.decode(await _whole(answer.pieces, MOST_STATUS), type=_Known)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                raise Refused(502, "its host answers with what is no status of a unit; see that host") from None
        told = json_answer(known, end=b"\n")
        await outlet.start(told.status, told.headers)
        await outlet.send(told.body)

    async def _ask(
        self, stack: AsyncExitStack, request: Request, name: str, what: str, outlet: Outlet
    ) -> Stream | None:
        """The answer of its host, open until the stack ends; None if this is that host and all is told. Refused."""
        unit = name_of(name).text
        machine = await self._machine(unit, parameter(request, "machine"))
        target = f"{PATH.decode()}/{quote(unit, safe='')}/{what}"
        if machine.id == self._face.machine:
            path, _, query = target.partition("?")
            own = Request(b"GET", path.encode(), query.encode(), (), b"", request.caller)
            await self._face.produce(own, outlet)
            return None
        vouchers = self._vouchers
        sockets = await trio.to_thread.run_sync(vouchers.sockets)
        endpoints = ways(machine, self._boot_id, vouchers.urls(machine.id), vouchers.names(machine.id), sockets)
        if not endpoints:
            raise Refused(502, f"{_called(machine)} cannot be asked from here: {_NO_WAY}; ask on that host")
        try:
            with trio.fail_after(HEAD_SECONDS):
                transport = await stack.enter_async_context(Transport(endpoints, self._credentials()))
                answer = await stack.enter_async_context(transport.stream(target))
                if answer.status != 200:
                    why = _printable(await _whole(answer.pieces, MOST_REFUSAL))
                    told = answer.status if 400 <= answer.status < 600 else 502
                    raise Refused(told, f"{_called(machine)} says: {why}")
        except trio.TooSlowError:
            raise Refused(504, f"{_called(machine)} does not answer within {HEAD_SECONDS:g} s") from None
        return answer

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


_NO_WAY = (
    "it names no https:// URL that the members, or the address it joined with, vouch for, and no socket of a node here"
)


def _called(machine: Machine) -> str:
    return f"{_printable(machine.name.encode())} ({machine.id})" if machine.name else machine.id


async def _whole(pieces: AsyncIterator[bytes], most: int) -> bytes:
    """All of an answer, in time. Refused 502 if it is larger, 504."""
    found = b""
    with trio.move_on_after(HEAD_SECONDS):
        try:
            async for piece in pieces:
                found += piece
                if len(found) > most:
                    raise Refused(502, f"its host answers with more than {most} bytes")
        except ClientError as error:
            raise Refused(502, f"its host broke off its answer: {error}") from None
        return found
    raise Refused(504, f"its host does not end its answer within {HEAD_SECONDS:g} s")


def _printable(words: bytes) -> str:
    """Words of a host, without what a terminal would obey."""
    return "".join(each if each.isprintable() else " " for each in words.decode(errors="replace")).strip()
