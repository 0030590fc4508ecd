"""FleetLock: the reboot lock for hosts that update by other programs, such as Zincati.

`POST /v1/pre-reboot` takes the lock of a group and `POST /v1/steady-state` lets it go, each as often as one likes. The
lock is that of the same name everywhere here; the group `default` is that of all who name none.

A host that is a voting member gets the lock of all voters with it, while enough others are there.

Who may is who may write the lock's keys: the doors give no right that a write of these keys does not. Therefore they
are open where keys are, over plain HTTP and to callers without a certificate too, which is all that the clients of this
protocol know, and closed where access to those keys is restricted. The rest of updates asks for more.
"""

import re
from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec

from core.api.access.gate import Denied, Gate
from core.api.http.message import Outlet, Reply, Request, Response
from core.api.plain import JSON, json_answer
from core.api.router import Route
from core.client.errors import ClientError
from core.client.store import Store
from core.kv.access import Identity, Right, Span, prefix_end
from core.update.lock_keys import NAME_MAX, Place, RebootLockError
from core.update.semaphore import SemaphoreError
from core.update.voters import VOTERS, Turns, Voters

DEFAULT = "default"
HEADER = b"fleet-lock-protocol"
LARGEST = 64 * 1024
"""Bytes of a request."""
_GROUP = re.compile(r"[a-zA-Z0-9.-]{1,256}")


class _Params(msgspec.Struct, frozen=True):
    id: str
    group: str


class _Asked(msgspec.Struct, frozen=True):
    client_params: _Params


class FleetLock:
    """Both doors."""

    def __init__(self, store: Store, gate: Gate, voters: Voters) -> None:
        self._store = store
        self._voters = voters
        self._gate = gate

    def routes(self) -> list[Route]:
        """The paths."""
        return [
            Route(b"/v1/pre-reboot", lambda request, reply: self._serve(request, reply, self._take)),
            Route(b"/v1/steady-state", lambda request, reply: self._serve(request, reply, self._let_go)),
        ]

    def _serve(self, request: Request, reply: Reply, work: Callable[[_Params], Awaitable[Response]]) -> None:
        params = _params(request)
        if isinstance(params, Response):
            reply.send(params)
            return

        def identified(found: Identity | Denied) -> None:
            if isinstance(found, Denied):
                reply.send(_refusal(found.status, "unauthorized", found.why, found.headers()))
            elif self._gate.switch.enabled and not self._gate.may(found, Right.READWRITE, _spans(params)):
                why = f"{found.name} may not write the keys of this lock, and of the one of all voters"
                reply.send(_refusal(403, "forbidden", why))
            else:
                reply.stream(produce)

        async def produce(outlet: Outlet) -> None:
            answer = await self._answer(params, work)
            await outlet.start(answer.status, answer.headers)
            await outlet.send(answer.body)

        self._gate.identify(request, identified)

    async def _answer(self, params: _Params, work: Callable[[_Params], Awaitable[Response]]) -> Response:
        try:
            return await work(params)
        except SemaphoreError as error:
            return _refusal(409, "failed_lock", str(error))
        except RebootLockError as error:
            return _refusal(500, "failed_lock", str(error))
        except ClientError as error:
            return _refusal(503, "unavailable", str(error))

    async def _take(self, params: _Params) -> Response:
        await self._turns(params).acquire(params.id)
        return _done()

    async def _let_go(self, params: _Params) -> Response:
        with suppress(SemaphoreError):  # what is not held need not be let go
            await self._turns(params).release(params.id)
        return _done()

    def _turns(self, params: _Params) -> Turns:
        return Turns(self._store, _name(params.group), self._voters)


def _params(request: Request) -> _Params | Response:
    """What is asked for, or why not."""
    if request.method != b"POST":
        return _refusal(405, "method_not_allowed", "POST is what there is", b"Allow: POST\r\n")
    if request.header(HEADER) != b"true":
        return _refusal(400, "missing_header", f"the header {HEADER.decode()}: true is missing")
    try:
        if len(request.body) > LARGEST:
            raise ValueError(f"it has more than {LARGEST} bytes")
        params = msgspec.json.decode(request.body, type=_Asked).client_params
    except (msgspec.DecodeError, ValueError) as error:
        return _refusal(400, "invalid_body", f"the request cannot be read: {error}")
    if not _GROUP.fullmatch(params.group):
        return _refusal(400, "invalid_group", "a group has 1 to 256 letters, digits, dots and hyphens")
    if not 0 < len(params.id) <= NAME_MAX:
        return _refusal(400, "invalid_id", f"an id has 1 to {NAME_MAX} characters")
    return params


def _name(group: str) -> str:
    return "" if group == DEFAULT else group


def _spans(params: _Params) -> tuple[Span, ...]:
    """All keys that may be written: who holds a group's lock may have that of all voters, and lets it go with it."""
    paths = [Place(group).path + b"/" for group in (_name(params.group), VOTERS)]
    return tuple(Span(path, prefix_end(path)) for path in paths)


def _done() -> Response:
    return Response(200, JSON, b"")


def _refusal(status: int, kind: str, value: str, headers: bytes = b"") -> Response:
    return json_answer({"kind": kind, "value": value}, status, headers)
