"""Requests and responses as values, and what a handler is given to answer with.

A handler is a plain synchronous function called on the loop. It answers by calling exactly one method of its
`Reply`, exactly once: at once, or later from a completion callback. Streams and long polls ask for a task of their own.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

Headers = tuple[tuple[bytes, bytes], ...]


class Caller(msgspec.Struct, frozen=True):
    """Who is at the other end, as far as the connection proves it."""

    address: str
    """`127.0.0.1:4711`, or `unix`."""
    local: bool = False
    """True on the node's own unix socket when peer credentials are root or the daemon's own user."""
    certificate: bytes | None = None
    """The verified client certificate, DER, or None."""
    plain: bool = False
    """Over TCP without TLS: nothing proves that whoever is there has asked for this node."""


class Request(msgspec.Struct, frozen=True, gc=False):
    """One whole request. `target` is split at the first `?`; neither part is percent-decoded."""

    method: bytes
    path: bytes
    query: bytes
    headers: Headers
    """Lower-case names, values as sent."""
    body: bytes
    """Whole; empty if the front end was told to hand over such requests with their head (`Reply.converse`)."""
    caller: Caller

    def header(self, name: bytes) -> bytes | None:
        """The first header of that lower-case name."""
        for key, value in self.headers:
            if key == name:
                return value
        return None


class Response(msgspec.Struct, frozen=True, gc=False):
    """A whole response. The front end adds `Content-Length`, `Date` and, where due, `Connection: close`."""

    status: int
    headers: bytes
    """Header lines ready for the wire, each ended by CRLF."""
    body: bytes


class Outlet(Protocol):
    """The sending half of a response that is made piece by piece, in a task of its own."""

    async def start(self, status: int, headers: bytes, length: int | None = None) -> None:
        """Send the head at once. With `length` so many bytes must follow; otherwise they come in chunked encoding."""
        ...

    async def send(self, piece: bytes) -> None:
        """Send one piece, as one HTTP chunk if no length was announced; waits while the client reads slowly."""
        ...

    async def abort(self) -> None:
        """Break the connection, so that nobody takes what was sent for the whole; it does not return."""
        ...


class Line(Protocol):
    """The sending half of a conversation. Nothing waits here: look at `free` before you send more."""

    @property
    def free(self) -> bool:
        """Whether the client has taken all that was sent. If not, a `wake` takes effect when it has."""
        ...

    @property
    def begun(self) -> bool:
        """Whether `start` was called."""
        ...

    def start(self, status: int, headers: bytes) -> None:
        """Send the head at once (chunked encoding is added)."""
        ...

    def send(self, *pieces: bytes) -> None:
        """Send each piece as one HTTP chunk."""
        ...

    def wake(self) -> None:
        """Ask for a call of `Talk.ready`, once, after others had their turn."""
        ...

    def wake_in(self, seconds: float) -> None:
        """Ask for one later, by a second or two; the last such call counts."""
        ...

    def end(self) -> None:
        """End the response properly; `Talk.gone` is called."""
        ...


class Talk(Protocol):
    """The handler's half of a conversation: called on the loop, never waits, and returns within milliseconds."""

    @property
    def hungry(self) -> bool:
        """Whether it takes more of the body now."""
        ...

    def begin(self, line: Line) -> None:
        """It begins."""
        ...

    def received(self, data: bytes, *, last: bool) -> None:
        """More of the request's body; `last` with the end of it."""
        ...

    def ready(self) -> None:
        """It was asked for (`Line.wake`), and the line is free."""
        ...

    def gone(self) -> None:
        """It is over: the client has gone, the server drains, or `Line.end` was called. Called once."""
        ...


class Reply(Protocol):
    """The one answer to one request."""

    def send(self, response: Response) -> None: ...

    def stream(self, produce: Callable[[Outlet], Awaitable[None]]) -> None:
        """Run `produce` in a task of its own; it is cancelled when the client goes or the server drains.

        When it returns, the response is ended properly and the connection serves further requests.
        """
        ...

    def converse(self, talk: Talk) -> None:
        """Answer piece by piece, without a task, while the body of the request comes: all of it, where the front end
        was told to hand over such requests with their head, and otherwise the body that is here already."""
        ...


Handler = Callable[[Request, Reply], None]
