"""h11 as the judge of one request that the recogniser calls unusual. No I/O.

Feed it bytes, step it until it has the request, take what follows the request from `rest`.
"""

from collections.abc import Collection

import h11

from core.api.http.limits import Limits
from core.api.http.message import Caller, Request

EVENTS_PER_STEP = 256
"""Events of h11 one step reads at most (some 10 µs each): a body in chunks of one byte must not hold the loop."""

TLS_HANDSHAKE = b"\x16"
"""The first byte of a TLS connection."""


class RefusedError(Exception):
    """A request that is not served: a status and one line for the client. The connection is closed after it."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class WrongProtocolError(RefusedError):
    """What came is the beginning of a TLS connection."""


class Judge:
    """Reads one request. A step that returns None wants more bytes, or if `unfinished` just another step."""

    __slots__ = ("_body", "_caller", "_continued", "_fed", "_head", "_limits", "_parser", "_unfed", "unfinished")

    def __init__(self, limits: Limits, caller: Caller) -> None:
        self._limits = limits
        self._caller = caller
        self._parser = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.head_max)
        self._unfed = b""
        self._fed = 0
        self._head: h11.Request | None = None
        self._body = bytearray()
        self._continued = False
        self.unfinished = False

    @property
    def size(self) -> int:
        """Bytes of this request that are held in memory, about."""
        return len(self._body) + len(self._unfed) + min(self._fed, self._limits.head_max)

    @property
    def http_1_1(self) -> bool:
        """Whether the client understands chunked encoding."""
        return self._head is not None and self._head.http_version == b"1.1"

    @property
    def keep_alive(self) -> bool:
        """Whether the client keeps the connection after this request: HTTP/1.0 does so only if it says so."""
        if self._head is None:
            return False
        lines = b",".join(value for name, value in self._head.headers if name == b"connection")
        options = [option.strip().lower() for option in lines.split(b",")]
        return b"close" not in options and (self.http_1_1 or b"keep-alive" in options)

    @property
    def rest(self) -> bytes:
        """What was fed but does not belong to this request."""
        return bytes(self._parser.trailing_data[0]) + self._unfed

    def feed(self, data: bytes) -> None:
        """Add received bytes."""
        self._unfed += data

    def take_continue(self) -> bool:
        """Whether `100 Continue` must be sent now; True at most once."""
        due = not self._continued and self._parser.they_are_waiting_for_100_continue
        self._continued = self._continued or due
        return due

    def opening(self, paths: Collection[bytes]) -> Request | None:
        """The request without its body, once its head is here, if it is for one of these paths."""
        head = self._head
        if head is None or not self.http_1_1 or bytes(head.target).partition(b"?")[0] not in paths:
            return None
        return self._request(b"")

    def take_body(self) -> bytes:
        """What came of the body since it was asked for last."""
        body = bytes(self._body)
        self._body.clear()
        return body

    def step(self) -> Request | None:
        """Read on; the request once it is whole. Raises RefusedError."""
        self.unfinished = False
        try:
            for _ in range(EVENTS_PER_STEP):
                event = self._parser.next_event()
                if isinstance(event, h11.Data):
                    self._add(event.data)
                elif isinstance(event, h11.Request):
                    self._check(event)
                    self._head = event
                elif isinstance(event, h11.EndOfMessage):
                    return self._request(bytes(self._body))
                elif not self._feed_parser():
                    return None
        except h11.RemoteProtocolError as error:
            raise self._refusal(error) from error
        self.unfinished = True
        return None

    def _feed_parser(self) -> bool:
        """Give h11 what it may have now. Until it has a head that is no more than a head may be."""
        data = self._unfed
        if not data:
            return False
        if self._head is None:
            room = self._limits.head_max - self._fed
            if room <= 0:
                raise self._too_long()
            data = data[:room]
        self._unfed = self._unfed[len(data) :]
        self._fed += len(data)
        self._parser.receive_data(data)
        return True

    def _add(self, data: bytes) -> None:
        if len(self._body) + len(data) > self._limits.body_max:
            raise self._body_too_big()
        self._body += data

    def _check(self, head: h11.Request) -> None:
        """Refuse what h11 lets pass but is not served here."""
        if head.http_version not in (b"1.1", b"1.0"):
            version = head.http_version.decode("ascii")
            raise RefusedError(505, f"HTTP/{version} is not served here (nor is gRPC); use HTTP/1.1")
        if len(head.target) > self._limits.target_max:
            raise self._target_too_long()
        names = [name for name, _ in head.headers]
        if b"transfer-encoding" in names and (b"content-length" in names or head.http_version == b"1.0"):
            raise RefusedError(400, "malformed request: Transfer-Encoding beside Content-Length or in HTTP/1.0")
        for name, value in head.headers:
            if name == b"content-length" and int(value) > self._limits.body_max:
                raise self._body_too_big()

    def _request(self, body: bytes) -> Request:
        head = self._head
        if head is None:
            raise RuntimeError("h11 ended a request it had not begun")
        path, _, query = _origin_form(head).partition(b"?")
        headers = tuple((bytes(name), bytes(value)) for name, value in head.headers)
        return Request(bytes(head.method), path, query, headers, body, self._caller)

    def _refusal(self, error: h11.RemoteProtocolError) -> RefusedError:
        if error.error_status_hint == 431 and self._head is None:
            return self._too_long()
        if self._fed and self._head is None and bytes(self._parser.trailing_data[0][:1]) == TLS_HANDSHAKE:
            return WrongProtocolError(400, "this port speaks plain HTTP, not TLS; use http:// or another port")
        text = str(error).partition(": bytearray(")[0].partition(" (expected")[0]
        return RefusedError(error.error_status_hint, f"malformed request: {text}")

    def _too_long(self) -> RefusedError:
        if b"\n" not in self._parser.trailing_data[0]:
            return self._target_too_long()
        return RefusedError(431, f"request line and headers are longer than {self._limits.head_max} bytes")

    def _target_too_long(self) -> RefusedError:
        return RefusedError(414, f"request target is longer than {self._limits.target_max} bytes")

    def _body_too_big(self) -> RefusedError:
        return RefusedError(413, f"request body is larger than {self._limits.body_max} bytes")


def _origin_form(head: h11.Request) -> bytes:
    """The target as a path with query; RFC 9112 section 3.2 wants the absolute form understood too."""
    target = bytes(head.target)
    if target.startswith(b"/") or (target == b"*" and head.method == b"OPTIONS"):
        return target
    scheme, mark, rest = target.partition(b"://")
    if mark and scheme.lower() in (b"http", b"https"):
        cut = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
        rest = rest[cut:]
        return rest if rest.startswith(b"/") else b"/" + rest
    raise RefusedError(400, "malformed request: the target must begin with / or http://")
