"""The HTTP/1.1 request that begins each connection, and its answer, on both sides. h11 is the judge of HTTP."""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from urllib.parse import quote, unquote

import h11
import msgspec
import trio

from core.peer.errors import PeerError, PeerRefusedError
from core.peer.identity import PeerIdentity, hexadecimal
from core.peer.reasons import STATUS, Reason
from core.peer.secure import TlsStream, fault

LINK = "/corenode/peer"
SNAPSHOT = "/corenode/snapshot"
UPGRADES = {LINK: "corenode-peer/1", SNAPSHOT: "corenode-snapshot/1"}
"""Paths, and what the connection turns into there."""

HEAD_BYTES = 16 * 1024
"""Of a request or an answer; beyond: 431."""
BODY_BYTES = 64 * 1024
"""Of a refusal's JSON; what is beyond is not read."""

Answer = tuple[int, Sequence[tuple[str, str]], bytes]
"""Status, headers, body. Length and connection headers are added."""

_HEX = re.compile(r"[0-9a-f]{16}")
_RANGE = re.compile(r"([0-9]{1,4})-([0-9]{1,4})")
_TLS_RECORD = b"\x16\x03"
"""How a TLS handshake begins."""
TEXT_MAX = 400
"""Characters of a text from the other side that are shown."""


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """What one side says of itself."""

    cluster: int
    sender: int
    name: str
    receiver: int
    """Whom the sender takes the other side for."""
    protocols: tuple[int, int]
    """The oldest and the newest version spoken; in an answer twice the chosen one."""
    program: str
    instance: str
    """A random word for each life of the process, by which two processes with one identity are told apart."""


class Refusal(msgspec.Struct):
    """The body of an answer that refuses."""

    reason: str
    message: str


def hello_from(identity: PeerIdentity, receiver: int, instance: str, protocols: tuple[int, int] | None = None) -> Hello:
    """What this member says to another: as the caller, or in answer with the chosen version."""
    return Hello(
        cluster=identity.cluster,
        sender=identity.member,
        name=identity.name,
        receiver=receiver,
        protocols=protocols or identity.protocols,
        program=identity.program,
        instance=instance,
    )


def to_headers(hello: Hello) -> list[tuple[str, str]]:
    """As HTTP carries it."""
    return [
        ("Corenode-Cluster", hexadecimal(hello.cluster)),
        ("Corenode-Sender", hexadecimal(hello.sender)),
        ("Corenode-Name", quote(hello.name, safe="")),
        ("Corenode-Receiver", hexadecimal(hello.receiver)),
        ("Corenode-Protocol", f"{hello.protocols[0]}-{hello.protocols[1]}"),
        ("Corenode-Program", quote(hello.program, safe="")),
        ("Corenode-Instance", quote(hello.instance, safe="")),
    ]


def from_headers(headers: Mapping[str, str]) -> Hello:
    """What the headers (names in lower case) say; PeerRefusedError if one is missing or is not what it should be."""

    def text(name: str) -> str:
        try:
            return headers[f"corenode-{name}"]
        except KeyError:
            raise PeerRefusedError(Reason.GARBAGE, f"the header Corenode-{name.title()} is missing") from None

    def number(name: str) -> int:
        if not _HEX.fullmatch(text(name)):
            raise PeerRefusedError(
                Reason.GARBAGE, f"the header Corenode-{name.title()} is not 16 hexadecimal digits in lower case"
            )
        return int(text(name), 16)

    protocols = _RANGE.fullmatch(text("protocol"))
    if protocols is None:
        raise PeerRefusedError(Reason.GARBAGE, "the header Corenode-Protocol is not OLDEST-NEWEST")
    return Hello(
        cluster=number("cluster"),
        sender=number("sender"),
        name=unquote(text("name"))[:TEXT_MAX],
        receiver=number("receiver"),
        protocols=(int(protocols[1]), int(protocols[2])),
        program=unquote(text("program"))[:TEXT_MAX],
        instance=text("instance")[:TEXT_MAX],
    )


class Request(msgspec.Struct, frozen=True):
    """The first request of a connection."""

    method: str
    path: str
    upgrade: str
    """What the caller wants the connection to become; empty: nothing else."""
    headers: dict[str, str]
    """Names in lower case."""


class Exchange:
    """The accepting side of the one request of a connection."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        self._tls = False
        self._bodiless = False

    async def request(self) -> Request | None:
        """The request; None if the caller closed without one. PeerRefusedError if it is none."""
        try:
            head = await self._next()
            if not isinstance(head, h11.Request):
                return None
            self._bodiless = head.method == b"HEAD"
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
            if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
                raise PeerRefusedError(Reason.GARBAGE, "requests on the peer port have no body")
            await self._next()
        except h11.RemoteProtocolError as error:
            seen = "this is TLS, and the port is for plain HTTP" if self._tls else f"this is not HTTP/1.1: {error}"
            raise PeerRefusedError(Reason.GARBAGE, seen) from None
        path = head.target.decode("latin-1")
        return Request(head.method.decode("latin-1"), path, headers.get("upgrade", ""), headers)

    async def _next(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            data = bytes(await self.stream.receive_some(HEAD_BYTES))
            self._tls = self._tls or data.startswith(_TLS_RECORD)
            self._http.receive_data(data)
        return event

    async def switch(self, protocol: str, hello: Hello) -> bytes:
        """Say yes. Returns what the caller sent behind its request."""
        headers = [("Connection", "Upgrade"), ("Upgrade", protocol), *to_headers(hello)]
        data = self._http.send(h11.InformationalResponse(status_code=101, headers=headers))
        await self.stream.send_all(data or b"")
        return bytes(self._http.trailing_data[0])

    async def refuse(self, error: PeerRefusedError) -> None:
        """Say no, and why."""
        body = msgspec.json.encode(Refusal(error.reason, str(error))) + b"\n"
        status = STATUS.get(Reason(error.reason), 400)
        await self.answer((status, [("Content-Type", "application/json")], body))

    async def answer(self, answer: Answer) -> None:
        """Send a whole response; the connection ends with it."""
        status, headers, body = answer
        if self._http.our_state in (h11.DONE, h11.ERROR):
            return
        sent = [*headers, ("Content-Length", str(len(body))), ("Connection", "close")]
        reason = HTTPStatus(status).phrase.encode()
        head = self._http.send(h11.Response(status_code=status, headers=sent, reason=reason)) or b""
        data = self._http.send(h11.Data(data=b"" if self._bodiless else body)) or b""
        await self.stream.send_all(head + data + (self._http.send(h11.EndOfMessage()) or b""))


_SILENCE = "it closed the connection without an answer"
_IS_IT_TLS = "is its peer URL an https:// one?"


async def ask(stream: trio.abc.Stream, host: str, path: str, hello: Hello) -> tuple[Hello, bytes]:
    """The dialling side: what the other side says of itself, and what it sent behind its answer.

    PeerRefusedError if it refuses, PeerError if it makes no sense.
    """
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES)
    headers = [("Host", host), ("Connection", "Upgrade"), ("Upgrade", UPGRADES[path]), *to_headers(hello)]
    data = http.send(h11.Request(method="GET", target=path, headers=headers)) or b""
    data += http.send(h11.EndOfMessage()) or b""
    status, body, heard = 0, b"", False
    try:
        await stream.send_all(data)
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                received = bytes(await stream.receive_some(HEAD_BYTES))
                if not (received or heard):
                    raise PeerError(_SILENCE + ("" if isinstance(stream, TlsStream) else f"; {_IS_IT_TLS}"))
                heard = True
                http.receive_data(received)
            elif isinstance(event, h11.InformationalResponse) and event.status_code == 101:
                found = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}
                return from_headers(found), bytes(http.trailing_data[0])
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data) and len(body) < BODY_BYTES:
                body += event.data
            elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                raise _refusal(status, body)
    except h11.RemoteProtocolError as error:
        raise PeerError(f"its answer is not HTTP/1.1 ({error}); {_IS_IT_TLS}") from None
    except trio.BrokenResourceError as error:
        raise PeerError(fault(error) or _SILENCE) from error


def _refusal(status: int, body: bytes) -> PeerError:
    if not status:
        return PeerError(_SILENCE)
    try:
        refusal = msgspec.json.decode(body, type=Refusal)
    except msgspec.DecodeError:
        return PeerError(f"it answered {status}, which no member does; is this the peer URL of a member?")
    reason = refusal.reason[:TEXT_MAX]
    # Being told to go away for good is believed only in the one form a member says it in.
    if (reason == Reason.REMOVED) != (status == STATUS[Reason.REMOVED]):
        reason = Reason.GARBAGE
    return PeerRefusedError(reason, f"it refuses: {refusal.message[:TEXT_MAX]}")
