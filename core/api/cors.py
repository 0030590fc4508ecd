"""Cross-origin requests of browsers, for the origins an operator lists (`--cors`)."""

from collections.abc import Awaitable, Callable

from core.api.http.message import Handler, Line, Outlet, Reply, Request, Response, Talk

ANY = "*"


class Cors:
    """A handler in front of another: answers OPTIONS, and adds etcd's headers where the origin is listed."""

    def __init__(self, handler: Handler, origins: frozenset[str]) -> None:
        self._handler = handler
        self._any = ANY in origins
        self._origins = frozenset(origin.encode() for origin in origins)

    def __call__(self, request: Request, reply: Reply) -> None:
        origin = b"*" if self._any else request.header(b"origin") or b""
        if self._any or origin in self._origins:
            headers = (
                b"Access-Control-Allow-Methods: POST, GET, OPTIONS, PUT, DELETE\r\n"
                b"Access-Control-Allow-Origin: %b\r\n"
                b"Access-Control-Allow-Headers: accept, content-type, authorization\r\n" % origin
            )
            reply = _MarkedReply(reply, headers)
        if request.method == b"OPTIONS":
            reply.send(Response(200, b"", b""))
        else:
            self._handler(request, reply)


class _MarkedReply:
    """A reply with header lines of its own."""

    def __init__(self, reply: Reply, headers: bytes) -> None:
        self._reply = reply
        self._headers = headers

    def send(self, response: Response) -> None:
        self._reply.send(Response(response.status, response.headers + self._headers, response.body))

    def stream(self, produce: Callable[[Outlet], Awaitable[None]]) -> None:
        async def marked(outlet: Outlet) -> None:
            await produce(_MarkedOutlet(outlet, self._headers))

        self._reply.stream(marked)

    def converse(self, talk: Talk) -> None:
        self._reply.converse(_MarkedTalk(talk, self._headers))


class _MarkedOutlet:
    def __init__(self, outlet: Outlet, headers: bytes) -> None:
        self._outlet = outlet
        self._headers = headers

    async def start(self, status: int, headers: bytes) -> None:
        await self._outlet.start(status, headers + self._headers)

    async def send(self, piece: bytes) -> None:
        await self._outlet.send(piece)

    async def abort(self) -> None:
        await self._outlet.abort()


class _MarkedTalk:
    def __init__(self, talk: Talk, headers: bytes) -> None:
        self._talk = talk
        self._headers = headers
        self.received = talk.received
        self.ready = talk.ready
        self.gone = talk.gone

    @property
    def hungry(self) -> bool:
        return self._talk.hungry

    def begin(self, line: Line) -> None:
        self._talk.begin(_MarkedLine(line, self._headers))


class _MarkedLine:
    def __init__(self, line: Line, headers: bytes) -> None:
        self._line = line
        self._headers = headers
        self.send = line.send
        self.wake = line.wake
        self.wake_in = line.wake_in
        self.end = line.end

    @property
    def free(self) -> bool:
        return self._line.free

    @property
    def begun(self) -> bool:
        return self._line.begun

    def start(self, status: int, headers: bytes) -> None:
        self._line.start(status, headers + self._headers)
