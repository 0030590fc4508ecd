"""One request, one answer, over the first endpoint that can be connected to.

httpcore brings what is easy to get wrong by hand: a pool that survives cancellation at any await, TLS, unix sockets and
h11's judgement of what the server sends. Its retries and timeouts are not used: whether a request may be repeated is
decided here, and Trio's cancel scopes bound the time.
"""

import math
import os
import re
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Self

import httpcore
import msgspec
import trio

from core.client.credentials import ClientCredentials
from core.client.endpoints import Endpoint
from core.client.errors import ClientError, ConnectionLostError, OutcomeUnknownError, UnreachableError

CONNECT_SECONDS = 2.0
"""How long one endpoint may take to accept, before the next is tried."""
CALL_SECONDS = 10.0
"""How long a whole call may take, unless told otherwise."""

_READS = frozenset({"GET", "HEAD"})
_KEEPALIVE = (  # a watch may be silent for days: notice within a minute that the other host is gone
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 20),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
)


class Answer(msgspec.Struct, frozen=True):
    """A whole answer."""

    status: int
    headers: dict[str, str]
    """By lower-case name."""
    body: bytes


class Stream(msgspec.Struct, frozen=True):
    """An answer whose body is still coming."""

    status: int
    headers: dict[str, str]
    pieces: AsyncIterator[bytes]
    """Raises ConnectionLostError if the body breaks off."""


class _Attempt:
    """A request on its way: whether any of it can have left this host, and what went wrong first."""

    def __init__(self) -> None:
        self.sent = False
        self._failure: Exception | None = None

    async def trace(self, event: str, details: dict[str, Any]) -> None:
        """What httpcore tells of its steps."""
        if event.endswith("send_request_headers.started"):
            self.sent = True
        elif event.endswith(".failed") and self._failure is None:
            self._failure = details["exception"]

    def cause(self, error: Exception) -> Exception:
        """What went wrong first: httpcore goes on reading after a failed write, and raises what comes of that."""
        failure, self._failure = self._failure, None
        return failure or error


class _Pool:
    """Connections to one endpoint that trust and show the same."""

    def __init__(self, endpoint: Endpoint, tls: ssl.SSLContext | None) -> None:
        self.tls = tls
        self._requests = 0
        self._retired = False
        self._connections = httpcore.AsyncConnectionPool(
            ssl_context=tls,
            uds=endpoint.socket,
            keepalive_expiry=30.0,
            socket_options=None if endpoint.socket else _KEEPALIVE,
        )

    @asynccontextmanager
    async def stream(
        self, method: str, url: str, body: bytes, headers: Sequence[tuple[bytes, bytes]], attempt: _Attempt
    ) -> AsyncIterator[httpcore.Response]:
        """Send a request. The errors of httpcore."""
        extensions = {"timeout": {"connect": CONNECT_SECONDS}, "trace": attempt.trace}
        self._requests += 1
        try:
            async with self._connections.stream(
                method, url, content=body or None, headers=list(headers), extensions=extensions
            ) as response:
                yield response
        finally:
            self._requests -= 1
            if self._retired:
                await self.retire()

    async def retire(self) -> None:
        """Close the connections, if there is no request on them, else when the last one has ended."""
        self._retired = True
        if not self._requests:
            await self.close()

    async def close(self) -> None:
        """Close them now."""
        with trio.CancelScope(shield=True):
            await self._connections.aclose()


class Transport:
    """Connections to some endpoints of one cluster; the one that answered last is asked first."""

    def __init__(
        self, endpoints: Sequence[Endpoint], tls: ClientCredentials | None = None, authorization: str | None = None
    ) -> None:
        self._endpoints = list(endpoints)
        self._tls = tls
        self._headers = [] if authorization is None else [(b"Authorization", authorization.encode("latin-1"))]
        self._pools: dict[Endpoint, _Pool] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pool in self._pools.values():
            await pool.close()

    async def call(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        headers: Sequence[tuple[bytes, bytes]] = (),
        seconds: float = CALL_SECONDS,
    ) -> Answer:
        """Send a request and read its answer within `seconds`.

        `target` is the path and query, percent-encoded. Raises UnreachableError, ConnectionLostError (reads) or
        OutcomeUnknownError (writes); any HTTP status is an answer.
        """
        attempt = _Attempt()
        try:
            with trio.fail_after(seconds):
                async with self._open(attempt, method, target, body, headers) as stream:
                    content = b"".join([piece async for piece in stream.pieces])
                    return Answer(stream.status, stream.headers, content)
        except trio.TooSlowError:
            raise _broken(method, attempt, f"no answer within {seconds:g} s") from None

    @asynccontextmanager
    async def stream(self, target: str) -> AsyncIterator[Stream]:
        """GET with an answer that is read piece by piece, without a deadline."""
        async with self._open(_Attempt(), "GET", target, b"", ()) as stream:
            yield stream

    @asynccontextmanager
    async def _open(
        self, attempt: _Attempt, method: str, target: str, body: bytes, headers: Sequence[tuple[bytes, bytes]]
    ) -> AsyncIterator[Stream]:
        async with AsyncExitStack() as stack:
            reasons: dict[str, str] = {}
            for endpoint in list(self._endpoints):
                pool = await self._pool(endpoint)
                request = pool.stream(method, endpoint.origin + target, body, [*self._headers, *headers], attempt)
                try:
                    response = await stack.enter_async_context(request)
                    break
                except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError) as error:
                    cause = attempt.cause(error)
                    why = _why(cause, endpoint)
                    if attempt.sent and not _is_unwelcome(cause):
                        raise _broken(method, attempt, f"{endpoint.text}: {why}") from None
                    attempt.sent = False
                    reasons[endpoint.text] = why
            else:
                raise UnreachableError(reasons)
            self._endpoints.sort(key=lambda each: each != endpoint)
            found = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
            yield Stream(response.status, found, _pieces(response, method, attempt, endpoint))

    async def _pool(self, endpoint: Endpoint) -> _Pool:
        """The connections to an endpoint; others than before once what is trusted or shown has changed."""
        tls = self._tls.context() if self._tls is not None and endpoint.secure else None
        found = self._pools.get(endpoint)
        if found is None or found.tls is not tls:
            self._pools[endpoint] = fresh = _Pool(endpoint, tls)
            if found is not None:
                await found.retire()
            return fresh
        return found


async def _pieces(
    response: httpcore.Response, method: str, attempt: _Attempt, endpoint: Endpoint
) -> AsyncIterator[bytes]:
    try:
        async for piece in response.aiter_stream():
            yield piece
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError) as error:
        raise _broken(method, attempt, f"{endpoint.text}: {_why(error, endpoint)}") from None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what is behind it, the innermost last."""
    while error is not None:
        if isinstance(error, BaseExceptionGroup):  # Trio tried several addresses of a name
            error = error.exceptions[0]
        yield error
        error = error.__cause__ or error.__context__


def _is_unwelcome(error: Exception) -> bool:
    """Whether the server refused our certificate, or that we have none. TLS 1.3 lets us send before it says so, but it
    has read none of that."""
    return any(
        isinstance(each, ssl.SSLError) and "ALERT" in (each.reason or "") and _CERTIFICATE.search(each.reason or "")
        for each in _chain(error)
    )


_CERTIFICATE = re.compile("CERTIFICATE|UNKNOWN_CA")


def _why(error: Exception, endpoint: Endpoint) -> str:
    """The innermost reason that says something to people."""
    if isinstance(error, httpcore.ConnectTimeout):
        return f"no connection within {CONNECT_SECONDS:g} s"
    words = str(error) or ("the TLS connection broke" if endpoint.secure else "the connection broke")
    if _is_unwelcome(error):
        return "TLS: it accepts only clients with a certificate of its authority"
    for inner in _chain(error):
        if isinstance(inner, ssl.SSLCertVerificationError):
            words = f"TLS: {inner.verify_message}"
        elif isinstance(inner, ssl.SSLError):
            words = f"TLS: {inner.reason or 'the other side broke off; perhaps it speaks plain http'}"
        elif endpoint.secure and isinstance(inner, BrokenPipeError | ConnectionResetError):
            words = "TLS: the other side broke off; perhaps it wants a client certificate"
        elif isinstance(inner, OSError) and inner.strerror:
            # Trio puts the address before the system's words; those of a name server have no positive number.
            words = os.strerror(inner.errno) if inner.errno and inner.errno > 0 else inner.strerror
    return words


def _broken(method: str, attempt: _Attempt, why: str) -> ClientError:
    if method in _READS or not attempt.sent:
        return ConnectionLostError(why)
    return OutcomeUnknownError(f"{why}: whether it took effect is not known")


NO_DEADLINE = math.inf
"""For `seconds`, where waiting is what is wanted."""
