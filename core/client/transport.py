"""One request, one answer, over the first endpoint that can be connected to.

httpcore brings what is easy to get wrong by hand: a pool that survives cancellation at any await, TLS, unix sockets and
h11's judgement of what the server sends. Its retries and timeouts are not used: whether a request may be repeated is
decided here, and Trio's cancel scopes bound the time.
"""

import math
import os
import re
import ssl
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Any, Self

import httpcore
import msgspec
import trio

from core.client.credentials import ClientCredentials
from core.client.endpoints import Endpoint
from core.client.errors import (
    AnswerTooLargeError,
    ClientError,
    ConnectionLostError,
    OutcomeUnknownError,
    UnreachableError,
)
from core.client.pool import CONNECT_SECONDS, Pool

CALL_SECONDS = 10.0
"""How long a whole call may take, unless told otherwise."""

_READS = frozenset({"GET", "HEAD"})


class Answer(msgspec.Struct, frozen=True):
    """A whole answer."""

    status: int
    headers: dict[str, str]
    """By lower-case name."""
    body: bytes
    endpoint: Endpoint
    """Who answered."""


class Stream(msgspec.Struct, frozen=True):
    """An answer whose body is still coming."""

    status: int
    headers: dict[str, str]
    pieces: AsyncIterator[bytes]
    """Raises ConnectionLostError if the body breaks off."""
    endpoint: Endpoint
    """Who answers."""


class _Attempt:
    """A request on its way: whether any of it can have left this host, and what went wrong first."""

    def __init__(self, method: str, repeatable: bool | None = None) -> None:
        self.method = method
        self.repeatable = method in _READS if repeatable is None else repeatable
        self.sent = False
        self.endpoint: Endpoint | None = None
        """Who is asked."""
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

    def lost(self, error: Exception) -> ClientError:
        """What it means that the connection failed."""
        if self.endpoint is None:
            return self.broken(str(error))
        return self.broken(f"{self.endpoint.text}: {_why(error, self.endpoint)}")

    def broken(self, why: str) -> ClientError:
        """What it means that no whole answer came."""
        if self.repeatable or not self.sent:
            return ConnectionLostError(why)
        return OutcomeUnknownError(f"{why}: whether it took effect is not known")


class Transport:
    """Connections to some endpoints of one cluster; the one that answered last is asked first."""

    def __init__(
        self, endpoints: Sequence[Endpoint], tls: ClientCredentials | None = None, authorization: str | None = None
    ) -> None:
        self._endpoints = list(endpoints)
        self._tls = tls
        self._headers = [] if authorization is None else [(b"Authorization", authorization.encode("latin-1"))]
        self._pools: dict[Endpoint, Pool] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        for pool in self._pools.values():
            await pool.close()

    @property
    def endpoints(self) -> list[Endpoint]:
        """All of them, in the order in which they are tried next."""
        return list(self._endpoints)

    async def follow(self, endpoints: Collection[Endpoint]) -> None:
        """Ask these from now on. What is under way at others goes on to its end."""
        known = set(self._endpoints)
        self._endpoints = [each for each in self._endpoints if each in endpoints]
        self._endpoints += [each for each in endpoints if each not in known]
        for endpoint in [each for each in self._pools if each not in endpoints]:
            await self._pools.pop(endpoint).retire()

    def avoid(self, endpoint: Endpoint) -> None:
        """Try the others first, from now on: this one broke off, or knows no leader."""
        self._endpoints.sort(key=lambda each: each == endpoint)

    async def call(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        headers: Sequence[tuple[bytes, bytes]] = (),
        seconds: float = CALL_SECONDS,
        *,
        repeatable: bool | None = None,
        most: int | None = None,
    ) -> Answer:
        """Send a request and read its answer within `seconds`.

        `target` is the path and query, percent-encoded; `repeatable` says whether it only reads, where the method does
        not say it; `most` is how large an answer may be. Raises UnreachableError, ConnectionLostError (reads),
        OutcomeUnknownError (writes) or AnswerTooLargeError; any HTTP status is an answer.
        """
        attempt = _Attempt(method, repeatable)
        try:
            with trio.fail_after(seconds):
                async with self._open(attempt, target, body, headers) as stream:
                    return Answer(stream.status, stream.headers, await _whole(stream, attempt, most), stream.endpoint)
        except trio.TooSlowError:
            if attempt.endpoint is not None:
                self.avoid(attempt.endpoint)
            raise attempt.broken(f"no answer within {seconds:.3g} s") from None

    @asynccontextmanager
    async def stream(
        self,
        target: str,
        *,
        method: str = "GET",
        body: bytes = b"",
        headers: Sequence[tuple[bytes, bytes]] = (),
        repeatable: bool = True,
    ) -> AsyncIterator[Stream]:
        """A request whose answer is taken piece by piece, without a deadline; `repeatable`: it only reads."""
        async with self._open(_Attempt(method, repeatable), target, body, headers) as stream:
            yield stream

    @asynccontextmanager
    async def _open(
        self, attempt: _Attempt, target: str, body: bytes, headers: Sequence[tuple[bytes, bytes]]
    ) -> AsyncIterator[Stream]:
        async with AsyncExitStack() as stack:
            reasons: dict[str, str] = {}
            shown = [*self._headers, *headers]
            for endpoint in list(self._endpoints):
                attempt.endpoint = endpoint
                pool = await self._pool(endpoint)
                request = pool.stream(attempt.method, endpoint.origin + target, body, shown, attempt.trace)
                try:
                    response = await stack.enter_async_context(request)
                    break
                except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError) as error:
                    cause = attempt.cause(error)
                    if attempt.sent and not _is_unwelcome(cause):
                        self.avoid(endpoint)
                        raise attempt.lost(cause) from None
                    attempt.sent = False
                    reasons[endpoint.text] = _why(cause, endpoint)
            else:
                raise UnreachableError(reasons)
            self._endpoints.sort(key=lambda each: each != endpoint)
            found = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
            pieces = _Pieces(response, attempt, partial(self.avoid, endpoint))
            stack.push_async_callback(pieces.aclose)
            yield Stream(response.status, found, pieces, endpoint)

    async def _pool(self, endpoint: Endpoint) -> Pool:
        """The connections to an endpoint; others than before once what is trusted or shown has changed."""
        tls = self._tls.context() if self._tls is not None and endpoint.secure else None
        found = self._pools.get(endpoint)
        if found is None or found.tls is not tls:
            self._pools[endpoint] = fresh = Pool(endpoint, tls)
            if found is not None:
                await found.retire()
            return fresh
        return found


class _Pieces:
    """The body of an answer, as it comes."""

    def __init__(self, response: httpcore.Response, attempt: _Attempt, avoid: Callable[[], None]) -> None:
        self._response = response
        self._attempt = attempt
        self._avoid = avoid
        self._parts = response.aiter_stream()
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._parts)
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError) as error:
            self._ended = True
            self._avoid()
            raise self._attempt.lost(error) from None
        except BaseException:
            self._ended = True
            raise

    async def aclose(self) -> None:
        """Give up what is still to come. httpcore's nested generators end only by an error from the innermost; left to
        the garbage collector they would be reported as leaks."""
        if not self._ended:
            with trio.CancelScope(shield=True) as waiting:
                waiting.cancel()
                async for _ in self._parts:
                    pass


async def _whole(stream: Stream, attempt: _Attempt, most: int | None) -> bytes:
    pieces = []
    size = 0
    async for piece in stream.pieces:
        size += len(piece)
        if most is not None and size > most:
            if not attempt.repeatable and stream.status == 200:
                raise OutcomeUnknownError(f"the answer is larger than {most} bytes: what was done is not known")
            raise AnswerTooLargeError(f"the answer is larger than {most} bytes; ask for less, or in pages")
        pieces.append(piece)
    return b"".join(pieces)


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


NO_DEADLINE = math.inf
"""For `seconds`, where waiting is what is wanted."""
