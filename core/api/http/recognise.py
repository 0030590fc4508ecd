"""A lean recogniser for small, whole, plain HTTP/1.1 requests.

It knows one shape and no other: one of six methods, an origin-form target in visible ASCII, header lines of the form
`Name: value` in visible ASCII, exactly one `Host`, at most one `Content-Length`, and a body that is all there. What it
does not know it calls unusual and leaves to h11, which is the judge (see `judge.py`): it never refuses a request.
Whatever it accepts, h11 accepts with the same meaning; `tests/http/test_recognise.py` holds it to that.

Pure: the same bytes give the same answer. The memo of header blocks only saves time (a client sends the same block
again and again); it is bounded by `BLOCKS_MAX` times a few times `HEAD_MAX` bytes.
"""

import re
from enum import Enum
from functools import lru_cache
from typing import Final

from core.api.http.message import Caller, Headers, Request

HEAD_MAX = 4096
"""Bytes of request line and headers up to which a request is small."""

BODY_MAX = 16384
"""Bytes of body up to which a request is small."""

BLOCKS_MAX = 512
"""Header blocks the memo keeps."""


class Verdict(Enum):
    """Why there is no request yet."""

    NEED_MORE = "need more"
    UNUSUAL = "unusual"


NEED_MORE: Final = Verdict.NEED_MORE
UNUSUAL: Final = Verdict.UNUSUAL

Recognised = tuple[Request, int, bool]
"""The request, how many bytes it took, and whether the client keeps the connection."""

_METHODS = rb"GET|HEAD|PUT|POST|DELETE|OPTIONS"
_STARTS = tuple(method + b" /" for method in _METHODS.split(b"|"))
_match_line = re.compile(rb"(" + _METHODS + rb") (/[!->@-~]*)(?:\?([!-~]*))? HTTP/1\.1\r\n").match
_FIELD = rb"([-!#$%&'*+.^_`|~0-9A-Za-z]+): ?([!-~](?:[ -~]*[!-~])?)\r\n"
_match_fields = re.compile(rb"(?:" + _FIELD + rb")+").fullmatch
_find_fields = re.compile(_FIELD).findall
_match_length = re.compile(rb"[0-9]{1,9}").fullmatch

_UNUSUAL_FIELDS = frozenset((b"transfer-encoding", b"expect", b"upgrade"))


@lru_cache(maxsize=BLOCKS_MAX)
def _read_fields(block: bytes) -> tuple[Headers, int, bool] | None:
    """The headers, body length and keep-alive a block of header lines says, or None if it is unusual."""
    if _match_fields(block) is None:
        return None
    headers = tuple((name.lower(), value) for name, value in _find_fields(block))
    hosts, length, keep_alive = 0, -1, True
    for name, value in headers:
        if name == b"host":
            hosts += 1
        elif name == b"content-length":
            if length >= 0 or _match_length(value) is None:
                return None
            length = int(value)
        elif name == b"connection":
            option = value.lower()
            if option == b"close":
                keep_alive = False
            elif option != b"keep-alive":
                return None
        elif name in _UNUSUAL_FIELDS:
            return None
    if hosts != 1 or length > BODY_MAX:
        return None
    return headers, max(length, 0), keep_alive


def recognise(data: bytes, caller: Caller) -> Recognised | Verdict:
    """Find one request of the known shape at the beginning of `data`."""
    end = data.find(b"\r\n\r\n", 0, HEAD_MAX)
    if end < 0:
        return NEED_MORE if len(data) < HEAD_MAX and data.startswith(_STARTS) else UNUSUAL
    line = _match_line(data)
    if line is None:
        return UNUSUAL
    fields = _read_fields(data[line.end() : end + 2])
    if fields is None:
        return UNUSUAL
    headers, length, keep_alive = fields
    start = end + 4
    stop = start + length
    if len(data) < stop:
        return NEED_MORE
    method, path, query = line.groups(b"")
    return Request(method, path, query, headers, data[start:stop], caller), stop, keep_alive
