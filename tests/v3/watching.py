"""A world whose events are published, served on a loopback port, and a client that reads streams chunk by chunk."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

import trio

from core.api.http import Frontend, Limits, open_tcp
from core.api.router import Route, Router
from core.api.store import Damage, Outcome
from core.api.v3.routes import OPENED, PREFIXES
from core.kv.commands import Batch, Command
from core.watch.hub import Hub
from core.watch.key import KeyWatch, KeyWatcher
from tests.v3.client import _written, b64
from tests.v3.world import World
from tests.whole.servers import HOST

PATIENCE_SECONDS = 20.0
Message = dict[str, Any]


class Watched(World):
    """A world whose watches are those of a hub; `now` is its cluster time in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.hub = Hub(self.keyspace)
        self.now = 1.0
        self.watch = self.hub.watch  # type: ignore[method-assign]

    @property
    def settled(self) -> bool:  # type: ignore[override]
        return self.hub.settled

    def watch_keys(self, *given: Any, **named: Any) -> KeyWatcher:
        return self.hub.watch_keys(*given, **named)

    def follow(self, *given: Any, **named: Any) -> KeyWatch:
        return self.hub.follow(*given, **named)

    def apply(self, command: Command) -> Outcome:
        return self.do(command)[0]

    def do(self, *commands: Command) -> Sequence[Outcome]:
        """Apply commands as one entry of the log, and publish what they changed."""
        batch = Batch(int(self.now * 1e9), commands)
        outcomes, events = self.keyspace.apply(next(self._log), 3, batch)
        self.hub.publish(events)
        return outcomes

    @asynccontextmanager
    async def served(self, limits: Limits | None = None) -> AsyncIterator[int]:
        """Serve it for the time of a block; the port."""
        routes = [Route((prefix + path).encode(), self.handlers[path]) for prefix in PREFIXES for path in self.handlers]
        frontend = Frontend(Router(routes[0].handler, routes, Damage()), limits, opened=OPENED)
        listeners = open_tcp("127.0.0.1", 0)
        with trio.fail_after(PATIENCE_SECONDS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.hub.run)
                await nursery.start(frontend.serve, listeners)
                yield listeners[0].port
                nursery.cancel_scope.cancel()


def request(path: str, *messages: object, headers: str = "") -> bytes:
    """A whole request with messages as its body; bytes in them become base64."""
    body = b"".join(json.dumps(_written(message)).encode() for message in messages)
    return b"POST /v3/%b HTTP/1.1\r\nHost: 127.0.0.1\r\n%bContent-Length: %d\r\n\r\n%b" % (
        path.encode(),
        headers.encode(),
        len(body),
        body,
    )


def create(key: bytes, end: bytes = b"", **more: object) -> Message:
    """A message that opens a watch."""
    given: Message = {"key": key, **({"range_end": end} if end else {}), **more}
    return {"create_request": given}


class Stream:
    """One request and its streamed answer."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.status = 0
        self.head = b""
        self.chunks = 0
        self._data = b""

    @classmethod
    async def open(cls, port: int, path: str, *messages: object, headers: str = "") -> Self:
        """Send a whole request."""
        self = cls(await trio.open_tcp_stream(HOST, port))
        await self.stream.send_all(request(path, *messages, headers=headers))
        return self

    @classmethod
    async def begin(cls, port: int, path: str) -> Self:
        """Send a head; messages follow by `say`."""
        self = cls(await trio.open_tcp_stream(HOST, port))
        head = b"POST /v3/%b HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n" % path.encode()
        await self.stream.send_all(head)
        return self

    async def say(self, message: object) -> None:
        """Send one message of an open body."""
        data = json.dumps(_written(message)).encode() if not isinstance(message, bytes) else message
        await self.stream.send_all(b"%x\r\n%b\r\n" % (len(data), data))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Hang up."""
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(self.stream)

    async def line(self) -> Message | None:
        """The next chunk, or several that are one long line: one JSON object and a newline; None at the end of the
        answer."""
        if not self.status:
            self.head = await self._until(b"\r\n\r\n")
            self.status = int(self.head.split(b" ", 2)[1])
        pieces: list[bytes] = []
        while not pieces or (self.status == 200 and not pieces[-1].endswith(b"\n")):
            while (piece := self._chunk()) is None:
                await self._read()
            if not piece:
                assert not pieces, "the answer ended within a line"
                return None
            self.chunks += 1
            pieces.append(piece)
        found: Message = json.loads(b"".join(pieces))
        return found

    def _chunk(self) -> bytes | None:
        """Take the next chunk, if all of it is here."""
        size, mark, rest = self._data.partition(b"\r\n")
        if not mark or len(rest) < int(size, 16) + 2:
            return None
        piece, self._data = rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        return piece

    async def next(self) -> Message:
        """The result of the next chunk."""
        line = await self.line()
        assert line is not None, "the stream ended"
        assert "result" in line, line
        result: Message = line["result"]
        return result

    async def events(self, count: int) -> list[Message]:
        """The next events, so many, of whichever watch."""
        found: list[Message] = []
        while len(found) < count:
            found += (await self.next()).get("events", [])
        assert len(found) == count
        return found

    async def quiet(self, seconds: float = 0.05) -> bool:
        """Whether nothing comes for so long."""
        with trio.move_on_after(seconds):
            await self._read()
            return False
        return True

    async def _until(self, mark: bytes) -> bytes:
        while mark not in self._data:
            await self._read()
        found, _, self._data = self._data.partition(mark)
        return found

    async def _read(self) -> None:
        piece = await self.stream.receive_some(65536)
        if not piece:
            raise EOFError(f"closed; left unread: {self._data[:300]!r}")
        self._data += piece


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what has no event."""
    while not condition():  # noqa: ASYNC110
        await trio.sleep(0.002)


__all__ = ["Message", "Stream", "Watched", "b64", "create", "request", "until"]
