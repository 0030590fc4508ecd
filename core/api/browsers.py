"""What web pages may ask of the node through a browser that can reach it.

A page from anywhere can send requests to a loopback port, and can read the answers too once its own name resolves to
that address (DNS rebinding). Two headers, which no page can forge, tell such requests apart:

- `Host`, over TCP without TLS: only addresses, `localhost` and what ends in `.localhost`, and the names in the URLs
  that the node listens on or advertises. Over TLS the browser has compared the name with the certificate; no page
  reaches a unix socket.
- `Origin`, however the request came, since a browser may show a client certificate on behalf of any page: from a page
  that is neither the node's own nor listed in `--cors` nothing is changed, and no quorum read is made. What else it
  reads, the browser keeps from it.

Programs that are no browsers send no `Origin`, and an absent `Host` is HTTP/1.0, which no browser speaks.
"""

import ipaddress
import logging
import re
from collections.abc import Awaitable, Callable, Iterable

from core.api.http.message import Handler, Line, Outlet, Reply, Request, Response, Talk
from core.api.plain import message

ANY = "*"
_REMEMBERED = 1024
_SHOWN = 100
"""Characters of a header that a refusal repeats."""
_READS = frozenset((b"GET", b"HEAD", b"OPTIONS"))
_match_host = re.compile(rb"(?:\[([0-9A-Fa-f:.]+)\]|([-_.0-9A-Za-z]+))(?::[0-9]{1,5})?").fullmatch

_logger = logging.getLogger(__name__)


class Browsers:
    """A handler in front of another: refuses as above, answers OPTIONS, marks answers for the origins in `--cors`."""

    def __init__(self, handler: Handler, names: Iterable[str], origins: Iterable[str] = ()) -> None:
        """`names` are those of the node; addresses among them do no harm."""
        self._handler = handler
        self._names = frozenset(name.lower().encode() for name in names)
        self._known: set[bytes] = set()
        """Values of `Host` that were found good."""
        self.allow(origins)

    def allow(self, origins: Iterable[str]) -> None:
        """List these origins from now on."""
        self._origins = frozenset(origin.encode() for origin in origins)
        self._any = ANY.encode() in self._origins

    def __call__(self, request: Request, reply: Reply) -> None:
        host = origin = None
        for name, value in request.headers:
            if name == b"host":
                host = value
            elif name == b"origin":
                origin = value
        if host is not None and host not in self._known and request.caller.plain and not self._is_ours(host):
            _refuse(request, reply, _WRONG_NAME.format(_shown(host)), "foreign host")
        elif origin is not None or self._any or request.method == b"OPTIONS":
            self._from_page(request, reply, host, origin)
        else:
            self._handler(request, reply)

    def _is_ours(self, host: bytes) -> bool:
        """Whether a `Host` is an address or a name of the node."""
        match = _match_host(host)
        if match is None:
            return False
        address, name = match.groups()
        if address is not None:
            good = _is_address(address, ipaddress.IPv6Address)
        else:
            name = name.lower().removesuffix(b".")
            good = (
                name == b"localhost"
                or (name.endswith(b".localhost") and not name.startswith(b"."))
                or name in self._names
                or _is_address(name, ipaddress.IPv4Address)
            )
        if good:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known.add(host)
        return good

    def _from_page(self, request: Request, reply: Reply, host: bytes | None, origin: bytes | None) -> None:
        """Serve what may come from a page, as far as the page may ask."""
        if self._any or origin in self._origins:
            headers = (
                b"Access-Control-Allow-Methods: POST, GET, OPTIONS, PUT, DELETE\r\n"
                b"Access-Control-Allow-Origin: %b\r\n"
                b"Access-Control-Allow-Headers: accept, content-type, authorization\r\n"
                % (b"*" if self._any else origin or b"")
            )
            reply = _MarkedReply(reply, headers)
        elif origin is not None and _costs(request) and not _is_same(origin, host):
            _refuse(request, reply, _WRONG_ORIGIN.format(_shown(origin)), "foreign origin")
            return
        if request.method == b"OPTIONS" and self._origins:
            reply.send(Response(200, b"", b""))
        else:
            self._handler(request, reply)


_WRONG_NAME = (
    "this node does not know itself as {}, and over plain HTTP that may be a web page that means harm; use an address "
    "or localhost, or add the name to --advertise-client-urls, or serve https://"
)
_WRONG_ORIGIN = "web pages of {} may not ask for this; list that origin in --cors if they are meant to"


def _is_address(text: bytes, kind: type[ipaddress.IPv4Address | ipaddress.IPv6Address]) -> bool:
    try:
        kind(text.decode())
    except ValueError:
        return False
    return True


def _costs(request: Request) -> bool:
    """Whether it may change something, or occupies the cluster."""
    return request.method not in _READS or b"quorum" in request.query


def _is_same(origin: bytes, host: bytes | None) -> bool:
    """Whether the page came from this node. A proxy in front may add TLS, so the scheme is not compared."""
    scheme, mark, rest = origin.partition(b"://")
    return bool(mark) and scheme in (b"http", b"https") and host is not None and rest.lower() == host.lower()


def _shown(value: bytes) -> str:
    return repr(value[:_SHOWN].decode("latin-1"))


def _refuse(request: Request, reply: Reply, why: str, cause: str) -> None:
    _logger.warning("request of a browser refused", extra={"cause": cause, "peer": request.caller.address, "why": why})
    reply.send(message(403, why))


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

    async def start(self, status: int, headers: bytes, length: int | None = None) -> None:
        await self._outlet.start(status, headers + self._headers, length)

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
