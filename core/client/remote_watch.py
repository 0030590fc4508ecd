"""A watch over HTTP: a stream of JSON lines, taken up again at the revision it had come to."""

from collections.abc import Callable
from contextlib import AsyncExitStack

import msgspec
import trio

from core.client import gateway, login
from core.client.errors import (
    AnswerTooLargeError,
    AuthenticationError,
    ClientError,
    CompactedError,
    ConnectionLostError,
    PermissionDeniedError,
    RefusedError,
    StrangeAnswerError,
    UnavailableError,
    UnreachableError,
    refused,
)
from core.client.gateway import WatchLine, WatchReply
from core.client.login import Login
from core.client.store import Watch
from core.client.transport import Answer, Stream, Transport
from core.client.values import Batch, Event, Keys

RECONNECT_SECONDS = (0.1, 5.0)
"""A watch that lost its connection waits so long before it tries again: at first, and at most."""

_PATH = "/v3/watch"
# A member cut off from the leader would be silent for ever; told this, etcd ends the stream instead.
_LEADER_REQUIRED = (b"Grpc-Metadata-Hasleader", b"true")
_PASSING = frozenset({1, 2, 4, 13, 14})
"""gRPC codes of errors that say nothing about the watch itself."""


class Wanted(msgspec.Struct, frozen=True):
    """What to watch, and how."""

    keys: bytes | Keys
    previous: bool
    puts: bool
    deletes: bool
    progress: bool


class RemoteWatch(Watch):
    """One request at a time, read only when somebody waits for a batch: what is not taken stays with the server."""

    def __init__(
        self,
        transport: Transport,
        login: Login,
        wanted: Wanted,
        start: int,
        seconds: float,
        most: int,
        lost: Callable[[str], None] | None,
    ) -> None:
        if start < 0:
            raise ValueError(f"no watch can start at revision {start}")
        self._transport = transport
        self._login = login
        self._wanted = wanted
        self._seconds = seconds
        self._most = most
        self._lost = lost
        self.revision = start - 1
        self._lines: _Lines | None = None
        """What is being read; None: to be asked for anew."""

    async def open(self) -> None:
        """Ask for the stream, at each endpoint in turn, until one says that it watches."""
        for remaining in reversed(range(len(self._transport.endpoints))):
            try:
                await self._connect()
                return
            except (ConnectionLostError, UnavailableError):
                if not remaining:
                    raise

    async def aclose(self) -> None:
        """End it."""
        lines, self._lines = self._lines, None
        if lines is not None:
            with trio.CancelScope(shield=True):
                await lines.aclose()

    async def __anext__(self) -> Batch:
        events: list[Event] = []
        size = 0
        while True:
            lines = self._lines or await self._reconnected()
            try:
                reply, length = await lines.next()
            except (ConnectionLostError, UnavailableError) as error:
                await self._drop(error)
                events, size = [], 0
                continue
            except BaseException:
                await self.aclose()  # read in part: what it was is asked for again
                raise
            if reply.canceled:
                await self._drop(_cancellation(reply))
                continue
            if reply.watch_id < 0:
                continue
            size += length
            if size > self._most:
                await self.aclose()
                raise AnswerTooLargeError(f"the changes of one revision are larger than {self._most} bytes")
            events += [each.event() for each in reply.events if each.kv.mod_revision > self.revision]
            if reply.fragment:
                continue
            batch = self._batch(reply, events)
            if batch is not None:
                return batch
            events, size = [], 0

    def _batch(self, reply: WatchReply, events: list[Event]) -> Batch | None:
        """What a whole message tells, and the place that is reached with it."""
        if events:
            self.revision = events[-1].kv.mod_revision
            return Batch(self.revision, tuple(events))
        if not reply.events and not reply.created and reply.header.revision > self.revision:
            self.revision = reply.header.revision
            return Batch(self.revision, ()) if self._wanted.progress else None
        return None

    async def _drop(self, error: ClientError) -> None:
        """Give the stream up; raise what taking it up again would not mend."""
        await self.aclose()
        if isinstance(error, ConnectionLostError | UnavailableError):
            if self._lost is not None:
                self._lost(str(error))
        else:
            raise error

    async def _reconnected(self) -> "_Lines":
        pause, longest = RECONNECT_SECONDS
        while True:
            try:
                return await self._connect()
            except (ConnectionLostError, UnreachableError, UnavailableError) as error:
                if self._lost is not None:
                    self._lost(str(error))
                await trio.sleep(pause)
                pause = min(pause * 2, longest)

    async def _connect(self) -> "_Lines":
        """Ask for the stream and wait until the server watches. A token that is refused is renewed, once."""
        token = await self._login.token()
        try:
            return await self._ask(token)
        except (AuthenticationError, PermissionDeniedError):
            # An expired token does not get a watch 401 but "permission denied".
            if not token or not await self._login.renew(token):
                raise
        return await self._ask(await self._login.token())

    async def _ask(self, token: str) -> "_Lines":
        lines = _Lines(self._most)
        try:
            with trio.fail_after(self._seconds):
                headers = [_LEADER_REQUIRED, *login.header(token)]
                await lines.open(self._transport, self._request(), headers)
                reply, _ = await lines.next()
                if reply.canceled:
                    raise _cancellation(reply)
                if not reply.created:
                    raise StrangeAnswerError("the watch began without saying so")
        except trio.TooSlowError:
            await lines.abandon(self._transport)
            raise ConnectionLostError(f"no watch within {self._seconds:g} s") from None
        except BaseException:
            await lines.abandon(self._transport)
            raise
        if self.revision < 0:
            self.revision = reply.header.revision
        self._lines = lines
        return lines

    def _request(self) -> bytes:
        wanted = self._wanted
        fields = gateway.keys_of(wanted.keys) | {"progress_notify": True, "fragment": True}
        if self.revision >= 0:
            fields["start_revision"] = str(self.revision + 1)
        if wanted.previous:
            fields["prev_kv"] = True
        filters = [name for name, wished in (("NOPUT", wanted.puts), ("NODELETE", wanted.deletes)) if not wished]
        if filters:
            fields["filters"] = filters
        return gateway.encode({"create_request": fields})


class _Lines:
    """The messages of one stream."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._stack = AsyncExitStack()
        self._stream: Stream | None = None
        self._rest = bytearray()
        self._seen = 0
        """How much of `_rest` is known to hold no line end."""

    async def open(self, transport: Transport, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        """Ask for the stream. The errors of a read; RefusedError."""
        request = transport.stream(_PATH, method="POST", body=body, headers=headers)
        stream = self._stream = await self._stack.enter_async_context(request)
        if stream.status != 200:
            whole = b"".join([piece async for piece in stream.pieces])
            raise _refusal(Answer(stream.status, stream.headers, whole, stream.endpoint))

    async def next(self) -> tuple[WatchReply, int]:
        """The next message and its size in bytes. ConnectionLostError at the end."""
        line = await self._line()
        message = gateway.decode(line, WatchLine)
        if message.error is not None:
            raise _passing(message.error.refusal())
        if message.result is None:
            raise StrangeAnswerError("a message of the watch holds neither a result nor an error")
        return message.result, len(line)

    async def abandon(self, transport: Transport) -> None:
        """Close a stream that did not become a watch; ask others first from now on."""
        if self._stream is not None:
            transport.avoid(self._stream.endpoint)
        await self.aclose()

    async def aclose(self) -> None:
        with trio.CancelScope(shield=True):
            await self._stack.aclose()

    async def _line(self) -> bytes:
        if self._stream is None:
            raise ConnectionLostError("the stream was not opened")
        while True:
            end = self._rest.find(b"\n", self._seen)
            if end >= 0:
                line = bytes(self._rest[:end])
                del self._rest[: end + 1]
                self._seen = 0
                if line.strip():
                    return line
                continue
            self._seen = len(self._rest)
            if self._seen > self._most:
                raise AnswerTooLargeError(f"one message of the watch is larger than {self._most} bytes")
            try:
                self._rest += await anext(self._stream.pieces)
            except StopAsyncIteration:
                raise ConnectionLostError(f"{self._stream.endpoint.text}: the server ended the watch") from None


def _cancellation(reply: WatchReply) -> ClientError:
    if reply.compact_revision:
        return CompactedError(reply.compact_revision)
    if "permission denied" in reply.cancel_reason.lower() or "PermissionDenied" in reply.cancel_reason:
        return PermissionDeniedError(403, 7, "permission denied")
    if reply.cancel_reason:
        return refused(400, 3, reply.cancel_reason)
    return ConnectionLostError("the server cancelled the watch")


def _passing(refusal: RefusedError) -> RefusedError:
    """The same, or UnavailableError if another member, or this one later, can be expected to do better."""
    if refusal.code in _PASSING:
        return UnavailableError(refusal.status, refusal.code, refusal.message)
    return refusal


def _refusal(answer: Answer) -> ClientError:
    found = gateway.refusal(answer)
    if found.code == 0:
        if answer.status == 404:
            return StrangeAnswerError(f"{answer.endpoint.text} does not speak the v3 dialect (etcd has it since 3.4)")
        if answer.status >= 500:
            return UnavailableError(answer.status, 0, found.message)
    return _passing(found)
