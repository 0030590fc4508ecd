"""The handler of a worker: each request goes to a member, and its answer back."""

from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import partial
from urllib.parse import quote

import msgspec
import trio

from core.api.access.reserve import RELAYED
from core.api.figures import Figure
from core.api.http import Outlet, Reply, Request, Response
from core.api.plain import JSON, json_answer, message, method_not_allowed
from core.client.errors import ClientError, ConnectionLostError, OutcomeUnknownError, UnreachableError
from core.client.transport import Stream
from core.relay.calls import OPENED, Call, call_of, refusal_of
from core.relay.conversing import Passing
from core.relay.upstreams import Upstreams

_TAKEN = frozenset((b"accept", b"authorization", b"content-type", b"grpc-metadata-hasleader"))
"""What of a request's headers is passed on."""
_MARK = (RELAYED, b"1")
"""Members see this host's certificate, which vouches for nobody who comes by here."""
_LEFT = frozenset((b"connection", b"keep-alive", b"transfer-encoding", b"content-length", b"date", b"server"))
"""What of an answer's headers is for one connection only, or written by the front end."""
_V2_INTERNAL, _V2_NO_LEADER = 300, 301
_GRPC_UNAVAILABLE, _GRPC_UNKNOWN = 14, 2


class _NoMemberError(ClientError):
    """Nobody answered, and nothing is done."""


class Relay:
    """A handler. Writes are carried out in `nursery`, so that the end of a client's connection does not end them."""

    def __init__(self, upstreams: Upstreams, nursery: trio.Nursery) -> None:
        self._upstreams = upstreams
        self._nursery = nursery
        self._passed = {"answered": 0, "broken": 0, "unreachable": 0, "unknown": 0}
        self._again = 0

    def __call__(self, request: Request, reply: Reply) -> None:
        refusal = refusal_of(request)
        if refusal is not None:
            reply.send(refusal)
            return
        if request.path in OPENED:
            self._converse(request, reply)
            return
        call = call_of(request)
        if call.piecewise:
            reply.stream(partial(self._pass_pieces, request, call))
        else:
            self._nursery.start_soon(self._pass_whole, request, call, reply)

    def figures(self) -> Iterator[Figure]:
        """What `/metrics` shows of it."""
        for outcome, number in self._passed.items():
            yield Figure("corenode_relayed", "Requests passed on.", number, counter=True, labels={"outcome": outcome})
        yield Figure("corenode_relayed_again", "Times that a further member was asked.", self._again, counter=True)
        for upstream in self._upstreams.all:
            good = float(not upstream.trouble and not upstream.stranger)
            labels = {"member": upstream.endpoint.text}
            yield Figure("corenode_upstream_good", "1 if the member answered last time.", good, labels=labels)

    def _converse(self, request: Request, reply: Reply) -> None:
        if request.method != b"POST":
            reply.send(method_not_allowed((b"POST",)))
            return

        def start(passing: Passing) -> None:
            self._nursery.start_soon(self._pass_conversation, passing)

        reply.converse(Passing(request, _taken(request), self._upstreams, _kept, start))

    async def _pass_conversation(self, passing: Passing) -> None:
        self._passed["answered" if await passing.run() else "broken"] += 1

    async def _pass_whole(self, request: Request, call: Call, reply: Reply) -> None:
        """A write: its answer is small."""
        try:
            with trio.fail_after(call.seconds or 0):
                async with AsyncExitStack() as stack:
                    stream = await self._open(stack, request, call)
                    body = b"".join([piece async for piece in stream.pieces])
        except trio.TooSlowError:
            error = OutcomeUnknownError(f"no answer within {call.seconds:g} s: whether it took effect is not known")
            reply.send(self._failed(request, error))
        except ClientError as error:
            reply.send(self._failed(request, error))
        else:
            self._passed["answered"] += 1
            reply.send(Response(stream.status, _headers(stream), body))

    async def _pass_pieces(self, request: Request, call: Call, outlet: Outlet) -> None:
        """A read, or what waits. The member's connection is closed when the client's is."""
        async with AsyncExitStack() as stack:
            try:
                stream = await self._open(stack, request, call)
            except ClientError as error:
                failed = self._failed(request, error)
                await outlet.start(failed.status, failed.headers)
                await outlet.send(failed.body)
                return
            await outlet.start(stream.status, _headers(stream))
            try:
                async for piece in stream.pieces:
                    await outlet.send(piece)
            except ClientError:
                self._passed["broken"] += 1
                await outlet.abort()
            self._passed["answered"] += 1

    async def _open(self, stack: AsyncExitStack, request: Request, call: Call) -> Stream:
        """The answer of the first member that gives one. _NoMemberError: nothing is done; OutcomeUnknownError."""
        reasons = {}
        upstreams = self._upstreams.in_order()
        for upstream in upstreams:
            try:
                async with AsyncExitStack() as attempt:
                    opened = upstream.transport.stream(
                        _target(request),
                        method=request.method.decode(),
                        body=request.body,
                        headers=_taken(request),
                        repeatable=call.repeatable,
                    )
                    with trio.fail_after(call.seconds) if call.repeatable and call.seconds else trio.CancelScope():
                        stream = await attempt.enter_async_context(opened)
                    if stream.status != 503 or not call.repeatable or upstream is upstreams[-1]:
                        if stream.status < 500:
                            self._upstreams.prefer(upstream)
                        stack.push_async_exit(attempt.pop_all())
                        return stream
                    why = "HTTP status 503"
            except UnreachableError as error:
                why = next(iter(error.reasons.values()))
            except ConnectionLostError as error:
                why = str(error)
            except trio.TooSlowError:
                why = f"no answer within {call.seconds:g} s"
            except OutcomeUnknownError as error:
                self._upstreams.avoid(upstream, str(error))
                raise
            self._upstreams.avoid(upstream, why)
            self._again += 1
            reasons[upstream.endpoint.text] = why
        told = "; ".join(f"{where}: {why}" for where, why in reasons.items()) or "none is known"
        raise _NoMemberError(f"no member of the cluster answers this worker: {told}")

    def _failed(self, request: Request, error: ClientError) -> Response:
        """In the words of the dialect."""
        unknown = isinstance(error, OutcomeUnknownError)
        self._passed["unknown" if unknown else "unreachable"] += 1
        status = 504 if unknown else 503
        text = f"the outcome is unknown: {error}" if unknown else str(error)
        if request.path.startswith(b"/v2/keys"):
            code, said = (_V2_INTERNAL, "Raft Internal Error") if unknown else (_V2_NO_LEADER, "During Leader Election")
            body = msgspec.json.encode({"errorCode": code, "message": said, "cause": text, "index": 0})
            return Response(status, JSON, body + b"\n")
        if request.path.startswith(b"/v3"):
            number = _GRPC_UNKNOWN if unknown else _GRPC_UNAVAILABLE
            return json_answer({"error": text, "code": number, "message": text}, status)
        return message(status, text)


def _target(request: Request) -> str:
    """The same target in characters that no reader of URLs takes for something else, such as `;` and `#`."""
    path = quote(request.path, safe="/%:@!$&'()*+,=~")
    return f"{path}?{quote(request.query, safe=_QUERY)}" if request.query else path


_QUERY = "/%:@!$&'()*+,=~;?"


def _taken(request: Request) -> list[tuple[bytes, bytes]]:
    """The headers that go to a member."""
    return [*(header for header in request.headers if header[0] in _TAKEN), _MARK]


def _headers(stream: Stream) -> bytes:
    return _kept([(name.encode("latin-1"), value.encode("latin-1")) for name, value in stream.headers.items()])


def _kept(headers: list[tuple[bytes, bytes]]) -> bytes:
    """What a client gets of a member's headers, by lower-case names."""
    return b"".join(
        b"%b: %b\r\n" % (name, value)
        for name, value in headers
        if name not in _LEFT and not name.startswith(b"access-control-")
    )
