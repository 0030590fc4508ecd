"""Requests that take the store's time: each a task, bounded in number and in time."""

import logging
from collections.abc import Awaitable, Callable
from functools import partial

import trio

from core.api.access.gate import Gate
from core.api.fleet.answers import Refuse, Refused, of_client
from core.api.http.message import Handler, Outlet, Reply, Request, Response
from core.client.errors import ClientError
from core.kv.access import Office

MOST = 64
"""Requests under way at a time."""
STREAMS = 100
"""Streams open at a time: events and logs."""
SECONDS = 15.0
"""What a request may take."""

_log = logging.getLogger(__name__)

Serve = Callable[[Request], Awaitable[Response]]
Produce = Callable[[Request, Outlet], Awaitable[None]]


class Service:
    """`run` is a task of the daemon. What comes before it runs is refused."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._nursery: trio.Nursery | None = None
        self._under_way = 0
        self._streams = 0

    async def run(self) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as self._nursery:
            await trio.sleep_forever()

    def unary(self, office: Office, serve: Serve, refuse: Refuse) -> Handler:
        """The handler of requests with one answer, for who holds the office."""

        def handler(request: Request, reply: Reply) -> None:
            self._gate.require(office, request, reply, partial(self._begin, serve, refuse, request), refuse)

        return handler

    def stream(self, office: Office, produce: Produce, refuse: Refuse) -> Handler:
        """The handler of requests answered piece by piece, for who holds the office."""

        def handler(request: Request, reply: Reply) -> None:
            self._gate.require(office, request, reply, partial(self._stream, produce, refuse, request), refuse)

        return handler

    def _begin(self, serve: Serve, refuse: Refuse, request: Request, reply: Reply) -> None:
        if self._nursery is None or self._under_way >= MOST:
            reply.send(refuse(503, "too many requests about units are under way; try again"))
            return
        self._under_way += 1
        self._nursery.start_soon(self._serve, serve, refuse, request, reply)

    async def _serve(self, serve: Serve, refuse: Refuse, request: Request, reply: Reply) -> None:
        try:
            reply.send(await answered(serve, refuse, request))
        finally:
            self._under_way -= 1

    def _stream(self, produce: Produce, refuse: Refuse, request: Request, reply: Reply) -> None:
        if self._streams >= STREAMS:
            reply.send(refuse(503, "too many streams about units are open; try again"))
            return
        reply.stream(partial(self._produce, produce, refuse, request))

    async def _produce(self, produce: Produce, refuse: Refuse, request: Request, outlet: Outlet) -> None:
        self._streams += 1
        try:
            await streamed(produce, refuse, request, outlet)
        finally:
            self._streams -= 1


async def answered(serve: Serve, refuse: Refuse, request: Request) -> Response:
    """The answer, whatever comes in between."""
    try:
        with trio.fail_after(SECONDS):
            return await serve(request)
    except Refused as error:
        return refuse(error.status, error.why)
    except ClientError as error:
        told = of_client(error)
        return refuse(told.status, told.why)
    except trio.TooSlowError:
        return refuse(504, f"no answer within {SECONDS:g} s; what was asked for may still happen")
    except Exception:
        _log.exception("a request about units failed", extra={"path": request.path.decode("latin-1")[:200]})
        return refuse(500, "an error of this program; see the node's log")


class _Begun:
    """An outlet that knows whether it was used."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self.begun = False
        self.send = outlet.send
        self.abort = outlet.abort

    async def start(self, status: int, headers: bytes, length: int | None = None) -> None:
        self.begun = True
        await self._outlet.start(status, headers, length)


async def streamed(produce: Produce, refuse: Refuse, request: Request, outlet: Outlet) -> None:
    """Let it be produced. What goes wrong before it begins is an answer, and later breaks the connection."""
    known = _Begun(outlet)
    try:
        await produce(request, known)
        return
    except Refused as error:
        told = error
    except ClientError as error:
        told = of_client(error)
    if known.begun:
        _log.info("a stream about units broke off", extra={"why": told.why})
        await outlet.abort()
        return
    response = refuse(told.status, told.why)
    await outlet.start(response.status, response.headers)
    await outlet.send(response.body)
