"""`/corenode/host/units/NAME/logs` and `/status`: what this host says of its own units, to members and operators.

It is the only thing that the certificate of a member opens at a client's port: members ask each other, and workers, on
behalf of operators whom they have let in.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Protocol

from core.api.access import audit
from core.api.access.identity import of_certificate
from core.api.fleet.answers import Refused, flag, number, parts_below
from core.api.fleet.desired import name_of
from core.api.fleet.service import streamed
from core.api.http.message import Caller, Handler, Outlet, Reply, Request
from core.api.plain import TEXT, json_answer, message, method_not_allowed

PATH = b"/corenode/host/units"
LINES = 10
MOST_LINES = 100_000
STREAMS = 100
"""Logs read at a time."""

_BELOW = PATH + b"/"
_PIECE = 64 * 1024


class Units(Protocol):
    """The units of this host; its executor fulfils it. Errors are exceptions whose text is for people."""

    def logs(self, name: str, *, lines: int, follow: bool) -> AsyncGenerator[bytes]:
        """The last lines, and with `follow` each new one, each with its newline."""
        ...

    async def properties(self, name: str) -> dict[str, str]:
        """What is known of a unit, in systemd's names."""
        ...


class HostFace:
    """Answers about this host's units."""

    def __init__(self, machine: str, units: Callable[[], Units | None], failures: tuple[type[Exception], ...]) -> None:
        """`units` gives None while nothing runs units here; `failures` are what they raise if they cannot."""
        self.machine = machine
        self._units = units
        self._failures = failures
        self._streams = 0

    async def produce(self, request: Request, outlet: Outlet) -> None:
        """One answer. Refused."""
        parts = parts_below(request, PATH)
        if len(parts) != 2 or parts[1] not in ("logs", "status"):
            raise Refused(404, f"{PATH.decode()}/NAME/logs and {PATH.decode()}/NAME/status are what there is")
        name = name_of(parts[0]).text
        if self._streams >= STREAMS:
            raise Refused(503, "too many logs of this host are being read; try again")
        self._streams += 1
        try:
            if parts[1] == "status":
                await self._status(name, outlet)
            else:
                lines = number(request, "lines", LINES, 0, MOST_LINES)
                await self._logs(name, lines, flag(request, "follow"), outlet)
        finally:
            self._streams -= 1

    def _there(self) -> Units:
        found = self._units()
        if found is None:
            raise Refused(503, "nothing runs units on this host (--executor none), or it is not ready yet")
        return found

    async def _status(self, name: str, outlet: Outlet) -> None:
        try:
            found = await self._there().properties(name)
        except self._failures as error:
            raise Refused(404, str(error)) from error
        answer = json_answer({"machine": self.machine, "unit": name, "properties": found}, end=b"\n")
        await outlet.start(answer.status, answer.headers)
        await outlet.send(answer.body)

    async def _logs(self, name: str, lines: int, follow: bool, outlet: Outlet) -> None:
        begun = False
        try:
            async with aclosing(self._there().logs(name, lines=lines, follow=follow)) as log:
                async for line in log:
                    if not begun:
                        begun = True
                        await outlet.start(200, TEXT)
                    for at in range(0, len(line), _PIECE):
                        await outlet.send(line[at : at + _PIECE])
        except self._failures as error:
            raise Refused(404 if not begun else 503, str(error)) from error
        if not begun:
            await outlet.start(200, TEXT)


class HostHandler:
    """A handler in front of all others: it serves the path, and keeps members' certificates to it."""

    def __init__(
        self,
        face: HostFace,
        rest: Handler,
        require: Callable[[Request, Reply, Callable[[Reply], None]], None],
        knows: Callable[[str], bool],
        also: tuple[bytes, ...] = (),
    ) -> None:
        """`require` serves, or answers why not, where a certificate is not a member's. `knows` tells whether there is a
        member of that name now: one that was removed keeps its certificate. Members may go to the paths that begin with
        one of `also`, where who they are is looked at again."""
        self._knows = knows
        self._also = also
        self._face = face
        self._rest = rest
        self._require = require

    def __call__(self, request: Request, reply: Reply) -> None:
        if is_member(request.caller) and not self._knows(_name(request.caller)):
            audit.refused(f"certificate {_name(request.caller)}", request, "it is that of no member")
            reply.send(
                message(403, f"its certificate is that of a peer, and there is no member {_name(request.caller)!r}")
            )
        elif request.path.startswith(_BELOW):
            self._host(request, reply)
        elif is_member(request.caller) and not request.path.startswith(self._also):
            audit.refused("a member", request, "its certificate is that of a peer")
            reply.send(message(403, f"its certificate is that of a peer, which opens nothing here but {PATH.decode()}"))
        else:
            self._rest(request, reply)

    def _host(self, request: Request, reply: Reply) -> None:
        def serve(reply: Reply) -> None:
            reply.stream(lambda outlet: streamed(self._face.produce, message, request, outlet))

        if request.method != b"GET":
            reply.send(method_not_allowed((b"GET",)))
        elif is_member(request.caller):
            serve(reply)
        else:
            self._require(request, reply, serve)


def is_member(caller: Caller) -> bool:
    """Whether the certificate shown is that of a member."""
    return caller.certificate is not None and of_certificate(caller.certificate).member


def _name(caller: Caller) -> str:
    return of_certificate(caller.certificate).user or "" if caller.certificate is not None else ""
