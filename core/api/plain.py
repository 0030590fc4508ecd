"""Answers in plain text and plain JSON, as Go's net/http writes them."""

from collections.abc import Sequence

import msgspec

from core.api.http.message import Response

TEXT = b"Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n"
JSON = b"Content-Type: application/json\r\n"

DAMAGED = "what this needs is damaged on this member's disk; ask another member, and see this one's log"
"""Said instead of data that cannot be trusted."""

_encode = msgspec.json.Encoder().encode


def plain(status: int, line: bytes) -> Response:
    """One line of text."""
    return Response(status, TEXT, line + b"\n")


def not_found() -> Response:
    """There is nothing at this path."""
    return plain(404, b"404 page not found")


def method_not_allowed(allowed: Sequence[bytes]) -> Response:
    """The path is known, the method is not."""
    return Response(405, b"Allow: %b\r\n%b" % (b",".join(allowed), TEXT), b"Method Not Allowed\n")


def json_answer(value: object, status: int = 200, headers: bytes = b"", end: bytes = b"") -> Response:
    """A value as JSON; etcd ends some of its answers with a newline."""
    return Response(status, JSON + headers, _encode(value) + end)


def message(status: int, text: str, headers: bytes = b"") -> Response:
    """An error of everything but the keys: `{"message":...}`."""
    return json_answer({"message": text}, status, headers)
