"""What the front end itself writes: status lines, dates, framing."""

import time
from http import HTTPStatus

_REASONS = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
CLOSE = b"Connection: close\r\n"
KEEP_ALIVE = b"Connection: keep-alive\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
TEXT = b"Content-Type: text/plain; charset=utf-8\r\n"

BODILESS = frozenset((204, 304))
"""Statuses whose responses end with their head (RFC 9112 section 6.3)."""


def framing(length: int | None, *, chunked: bool) -> bytes:
    """The header line that says where the body of a streamed response ends; none: where the connection does."""
    if length is not None:
        return b"Content-Length: %d\r\n" % length
    return CHUNKED if chunked else b""


def http_date(wall: float) -> bytes:
    """A Unix time as `Sun, 06 Nov 1994 08:49:37 GMT`, whatever the locale."""
    t = time.gmtime(wall)
    text = (
        f"{_DAYS[t.tm_wday]}, {t.tm_mday:02} {_MONTHS[t.tm_mon - 1]} {t.tm_year:04}"
        f" {t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} GMT"
    )
    return text.encode("ascii")


class Heads(dict[int, bytes]):
    """Status line and `Date` line by status, made once for each date."""

    def __init__(self, wall: float) -> None:
        super().__init__()
        self._date = http_date(wall)

    def set_date(self, wall: float) -> None:
        """Use this Unix time from now on."""
        date = http_date(wall)
        if date != self._date:
            self._date = date
            self.clear()

    def __missing__(self, status: int) -> bytes:
        reason = _REASONS.get(status, b"Unknown")
        head = self[status] = b"HTTP/1.1 %d %b\r\nDate: %b\r\n" % (status, reason, self._date)
        return head


def chunk(piece: bytes) -> bytes:
    """One piece as one chunk. An empty piece would end the body, so it makes no chunk."""
    return b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""


def refusal(heads: Heads, status: int, text: str) -> bytes:
    """A whole response that says one line and closes."""
    body = text.encode() + b"\n"
    return b"%bContent-Length: %d\r\n%b%b\r\n%b" % (heads[status], len(body), TEXT, CLOSE, body)
