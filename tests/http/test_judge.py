"""The judge without sockets: the malformed, the odd but legal, whole and byte by byte."""

import pytest

from core.api.http.judge import EVENTS_PER_STEP, Judge, RefusedError
from core.api.http.limits import Limits
from core.api.http.message import Request
from tests.http.support import HERE

PUT = b"PUT / HTTP/1.1\r\nHost: a\r\n"
LIMITS = Limits(target_max=4096, head_max=8192, body_max=20_000)

MALFORMED = {
    "no request": (b"\r\n\r\n", 400, "malformed"),
    "garbage": (b"\x01\x02\x03\r\n\r\n", 400, "malformed"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "plain HTTP, not TLS"),
    "gRPC": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "HTTP/1.1"),
    "no version": (b"GET /\r\nHost: a\r\n\r\n", 400, "illegal request line"),
    "spaces in target": (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "illegal request line"),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400, "Host"),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "Host"),
    "space before colon": (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, "illegal header line"),
    "NUL in value": (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", 400, "illegal header line"),
    "fold at start": (b"GET / HTTP/1.1\r\n folded\r\nHost: a\r\n\r\n", 400, "continuation"),
    "length no number": (PUT + b"Content-Length: x\r\n\r\n", 400, "Content-Length"),
    "length negative": (PUT + b"Content-Length: -1\r\n\r\n", 400, "Content-Length"),
    "length endless": (PUT + b"Content-Length: %b\r\n\r\n" % (b"9" * 5000), 400, "Content-Length"),
    "lengths differ": (PUT + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "conflicting"),
    "length and chunked": (
        PUT + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "beside",
    ),
    "chunked in 1.0": (b"PUT / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "HTTP/1.0"),
    "other coding": (PUT + b"Transfer-Encoding: gzip\r\n\r\n", 501, "chunked"),
    "chunk size no number": (PUT + b"Transfer-Encoding: chunked\r\n\r\nz\r\n", 400, "chunk header"),
    "chunk without end": (
        PUT + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", 400, "chunk footer",
    ),
    "authority target": (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target"),
    "star target": (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target"),
    "long target": (b"GET /" + b"a" * 4096 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, "4096 bytes"),
    "endless target": (b"GET /" + b"a" * 9000, 414, "4096 bytes"),
    "long head": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 8192 + b"\r\n\r\n", 431, "8192 bytes"),
    "endless head": (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 2000, 431, "8192 bytes"),
    "announced body too big": (PUT + b"Content-Length: 20001\r\n\r\n", 413, "20000 bytes"),
    "chunked body too big": (
        PUT + b"Transfer-Encoding: chunked\r\n\r\n4e21\r\n" + b"x" * 20_001, 413, "20000 bytes",
    ),
    "endless trailers": (
        PUT + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: a\r\n" * 2000, 431, "too long",
    ),
}  # fmt: skip

CHUNKED = PUT + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: x\r\n\r\n"

LEGAL = {
    "chunked": (CHUNKED, b"PUT", b"/", b"abcde", True, True),
    "HTTP/1.0": (b"GET /a?b HTTP/1.0\r\n\r\n", b"GET", b"/a?b", b"", False, False),
    "close": (b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: foo, Close\r\n\r\n", b"GET", b"/a", b"", False, True),
    "upgrade": (b"GET /a HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\n", b"GET", b"/a", b"", True, True),
    "other method": (b"PURGE /a HTTP/1.1\r\nHost: a\r\n\r\n", b"PURGE", b"/a", b"", True, True),
    "absolute": (b"GET http://a:1/b?c HTTP/1.1\r\nHost: a\r\n\r\n", b"GET", b"/b?c", b"", True, True),
    "absolute without path": (b"GET HTTP://a?c/d HTTP/1.1\r\nHost: a\r\n\r\n", b"GET", b"/?c/d", b"", True, True),
    "star": (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", b"OPTIONS", b"*", b"", True, True),
    "folded": (b"GET /a HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", b"GET", b"/a", b"", True, True),
    "bare line feeds": (b"GET /a HTTP/1.1\nHost: a\n\n", b"GET", b"/a", b"", True, True),
}


def read(judge: Judge, data: bytes, size: int) -> Request | None:
    """Feed in pieces of that size and step until done."""
    for at in range(0, len(data), size):
        judge.feed(data[at : at + size])
        request = judge.step()
        while judge.unfinished:
            request = judge.step()
        if request is not None:
            judge.feed(data[at + size :])
            return request
    return None


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize("name", MALFORMED)
def test_the_malformed_is_refused_in_one_clear_line(name: str, size: int) -> None:
    data, status, part = MALFORMED[name]
    with pytest.raises(RefusedError) as caught:
        read(Judge(LIMITS, HERE), data, size)
    assert caught.value.status == status
    assert part in caught.value.text
    assert caught.value.text.isprintable()
    assert len(caught.value.text) < 120


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize("name", LEGAL)
def test_the_odd_but_legal_is_read(name: str, size: int) -> None:
    data, method, target, body, keep_alive, http_1_1 = LEGAL[name]
    judge = Judge(LIMITS, HERE)
    request = read(judge, data + b"GET /next", size)
    assert request is not None
    path, _, query = target.partition(b"?")
    assert (request.method, request.path, request.query, request.body) == (method, path, query, body)
    assert (judge.keep_alive, judge.http_1_1) == (keep_alive, http_1_1)
    assert judge.rest == b"GET /next"


def test_a_body_in_tiny_chunks_is_read_in_bounded_steps() -> None:
    judge = Judge(LIMITS, HERE)
    judge.feed(PUT + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 2000 + b"0\r\n\r\n")
    steps = 1
    while (request := judge.step()) is None:
        assert judge.unfinished
        steps += 1
    assert request.body == b"x" * 2000
    assert steps >= 2000 // EVENTS_PER_STEP


def test_continue_is_asked_for_once_and_not_after_a_body_began() -> None:
    head = PUT + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    judge = Judge(LIMITS, HERE)
    judge.feed(head)
    assert judge.step() is None
    assert [judge.take_continue(), judge.take_continue()] == [True, False]
    judge = Judge(LIMITS, HERE)
    judge.feed(head + b"x")
    assert judge.step() is None
    assert not judge.take_continue()
