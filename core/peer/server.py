"""The peer port: who calls, what it wants, and whether it gets it."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence

import trio

from core.peer.connection import Connection
from core.peer.errors import PeerError, PeerListenError, PeerRefusedError
from core.peer.identity import plain_fault
from core.peer.links import Links
from core.peer.listeners import PeerListener
from core.peer.reasons import Reason
from core.peer.secure import Contexts, MakeContext, TlsStream, holder
from core.peer.together import close_gently
from core.peer.upgrade import LINK, TEXT_MAX, UPGRADES, Answer, Exchange, Request, from_headers, hello_from
from core.tls.identity import Identity

AnswerPlain = Callable[[str, str], Answer]
"""`answer(path, peer_name)`: what a plain GET gets. The name is that of the verified certificate, empty without TLS."""

TOLD_MOST = 256
"""Callers remembered, so that each refusal is logged once in a while."""

_logger = logging.getLogger(__name__)


class PeerServer:
    """Serves the listening sockets of `--listen-peer-urls`."""

    def __init__(
        self, links: Links, listeners: Sequence[PeerListener], *, context: MakeContext | None, answer: AnswerPlain
    ) -> None:
        """`context` makes the TLS context for new connections, from the files as they are then; None: only plain HTTP
        on loopback. `answer` is called on the loop, and must not take long.

        PeerListenError if a listener's URL does not go with that.
        """
        for listener in listeners:
            if plain_fault(listener.url):
                raise PeerListenError(f"--listen-peer-urls: {plain_fault(listener.url)}")
            if listener.url.secure and context is None:
                raise PeerListenError(f"--listen-peer-urls: {listener.url} needs a peer certificate and its key")
        self._links = links
        self._listeners = listeners
        self._contexts = context and Contexts(context)
        self._answer = answer
        self._limits = links.limits
        self._pending: OrderedDict[int, trio.CancelScope] = OrderedDict()
        self._count = 0
        self._told: OrderedDict[tuple[str, str], float] = OrderedDict()

    @property
    def pending(self) -> int:
        """Accepted connections that have not yet said what they want."""
        return len(self._pending)

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; then all connections and the listening sockets are closed."""
        async with trio.open_nursery() as nursery:
            for listener in self._listeners:
                welcome = self._secure if listener.url.secure else self._plain
                nursery.start_soon(trio.serve_listeners, welcome, list(listener.sockets))
            task_status.started()

    async def _secure(self, socket: trio.SocketStream) -> None:
        await self._welcome(socket, secure=True)

    async def _plain(self, socket: trio.SocketStream) -> None:
        await self._welcome(socket, secure=False)

    async def _welcome(self, socket: trio.SocketStream, *, secure: bool) -> None:
        """One connection, from its first byte to its last. Who called this closes it."""
        remote = _remote(socket)
        try:
            connection, path = await self._hear(socket, remote, secure=secure) or (None, "")
        except PeerError as error:
            self._tell(remote, error, "a caller of the peer port failed")
            connection, path = None, ""
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            connection, path = None, ""
        if connection is not None and path == LINK:
            await self._links.accepted(connection)
        elif connection is not None:
            await self._links.accepted_snapshot(connection)

    async def _hear(self, socket: trio.SocketStream, remote: str, *, secure: bool) -> tuple[Connection, str] | None:
        """Find out what the caller wants, within bounds of time and number; None if it is served or gone."""
        self._count += 1
        place = self._count
        if len(self._pending) >= self._limits.pending_max:
            self._pending.popitem(last=False)[1].cancel()
            self._tell("", PeerError("connections wait for their first request"), "the peer port is crowded")
        with trio.move_on_after(self._limits.handshake_s) as scope:
            self._pending[place] = scope
            try:
                return await self._converse(socket, remote, secure=secure)
            finally:
                crowded_out = self._pending.pop(place, None) is None
        if crowded_out:
            return None
        self._tell(remote, PeerError("it did not say what it wants in time"), "a caller of the peer port failed")
        return None

    async def _converse(self, socket: trio.SocketStream, remote: str, *, secure: bool) -> tuple[Connection, str] | None:
        stream: trio.abc.Stream = socket
        tls = None
        if secure and self._contexts is not None:
            stream = tls = TlsStream(socket, self._contexts.current(), None)
            await tls.shake_hands()
        exchange = Exchange(stream)
        try:
            request = await exchange.request()
            if request is None:
                return None
            identity = None if tls is None else holder(tls, self._links.is_revoked)
            if request.upgrade:
                return await self._upgrade(exchange, request, identity, remote), request.path
            await exchange.answer(self._plain_answer(request, identity))
        except PeerRefusedError as error:
            self._tell(remote, error, "a caller of the peer port is refused")
            await exchange.refuse(error)
        await close_gently(stream, self._limits.linger_s)
        return None

    def _plain_answer(self, request: Request, identity: Identity | None) -> Answer:
        if request.method != "GET":
            return 405, [("Allow", "GET")], b""
        if request.path in UPGRADES:
            return 426, [("Upgrade", UPGRADES[request.path])], b""
        return self._answer(request.path, "" if identity is None else identity.name)

    async def _upgrade(
        self, exchange: Exchange, request: Request, identity: Identity | None, remote: str
    ) -> Connection:
        if request.method != "GET" or UPGRADES.get(request.path) != request.upgrade.lower():
            raise PeerRefusedError(
                Reason.NOT_FOUND, f"{request.path[:TEXT_MAX]} does not become {request.upgrade[:TEXT_MAX]!r} here"
            )
        links = self._links
        hello = from_headers(request.headers)
        protocol = links.register.judge(hello, identity)
        links.may_begin(hello.sender, hello.instance, snapshot=request.path != LINK)
        mine = hello_from(links.identity, hello.sender, links.instance, (protocol, protocol))
        behind = await exchange.switch(UPGRADES[request.path], mine)
        return Connection(exchange.stream, behind, hello, None if identity is None else identity.serial, remote)

    def _tell(self, remote: str, error: PeerError, what: str) -> None:
        """Log a refusal, but not the same of the same host again and again."""
        host = remote.rpartition(":")[0]
        key = (host, str(error))
        now = trio.current_time()
        last = self._told.get(key)
        if last is not None and now - last < self._limits.told_again_s:
            return
        self._told[key] = now
        self._told.move_to_end(key)
        if len(self._told) > TOLD_MOST:
            self._told.popitem(last=False)
        _logger.warning(what, extra={"from": remote, "why": str(error)})


def _remote(socket: trio.SocketStream) -> str:
    try:
        host, port, *_ = socket.socket.getpeername()
    except OSError:
        return "an address unknown"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
