"""The recogniser against h11: what it accepts, h11 accepts with the same meaning."""

import re
from collections.abc import Callable

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.api.http import recognise as module
from core.api.http.message import Caller, Headers
from core.api.http.recognise import BODY_MAX, HEAD_MAX, NEED_MORE, UNUSUAL, Recognised, Verdict, recognise
from tests.http.support import HERE

PLAIN = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /v2/keys/a?wait=true&recursive=true HTTP/1.1\r\nHost: 127.0.0.1:2379\r\nAccept: */*\r\n\r\n",
    b"HEAD /version HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"DELETE /v2/keys/a?dir=true HTTP/1.1\r\nhost:a\r\nconnection: Keep-Alive\r\n\r\n",
    b"OPTIONS /? HTTP/1.1\r\nHost: a\r\nOrigin: http://b\r\n\r\n",
    (
        b"PUT /v2/keys/a HTTP/1.1\r\nHost: a\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: 11\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\nAccept-Encoding: gzip\r\n\r\nvalue=hello"
    ),
    b"POST /v2/keys/a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
]

UNUSUAL_REQUESTS = {
    "chunked": b"PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "expect": b"PUT /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n1",
    "upgrade": b"GET /a HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\n",
    "old version": b"GET /a HTTP/1.0\r\nHost: a\r\n\r\n",
    "other method": b"PATCH /a HTTP/1.1\r\nHost: a\r\n\r\n",
    "absolute target": b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "no host": b"GET /a HTTP/1.1\r\nAccept: */*\r\n\r\n",
    "no headers": b"GET /a HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /a HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "folded": b"GET /a HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
    "space before colon": b"GET /a HTTP/1.1\r\nHost : a\r\n\r\n",
    "tab": b"GET /a HTTP/1.1\r\nHost:\ta\r\n\r\n",
    "two lengths": b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n1",
    "length list": b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n1",
    "signed length": b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n1",
    "other connection option": b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X\r\n\r\n",
    "not ASCII": b"GET /a HTTP/1.1\r\nHost: a\r\nX: \xe9\r\n\r\n",
    "bare line feed": b"GET /a HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
    "big head": b"GET /a HTTP/1.1\r\nHost: a\r\nX: " + b"x" * HEAD_MAX + b"\r\n\r\n",
    "big body": b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (BODY_MAX + 1),
    "TLS": b"\x16\x03\x01\x02\x00",
}

Recogniser = Callable[[bytes, Caller], Recognised | Verdict]


def judge(data: bytes) -> tuple[bytes, bytes, Headers, bytes, int, bool]:
    """What h11 reads at the beginning of `data`: method, target, headers, body, bytes used, keep-alive."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(data)
    head = connection.next_event()
    assert isinstance(head, h11.Request)
    assert head.http_version == b"1.1"
    body = b""
    while isinstance(event := connection.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    used = len(data) - len(connection.trailing_data[0])
    return head.method, head.target, tuple(head.headers), body, used, connection.their_state is h11.DONE


def hold_to_judge(recogniser: Recogniser, data: bytes) -> None:
    """If the recogniser accepts, so does h11, with the same meaning."""
    found = recogniser(data, HERE)
    if isinstance(found, Verdict):
        return
    request, used, keep_alive = found
    target = request.path
    if data.partition(b" HTTP/")[0].count(b"?"):
        target += b"?" + request.query
    assert (request.method, target, request.headers, request.body, used, keep_alive) == judge(data)


@pytest.mark.parametrize("data", PLAIN)
def test_plain_requests_are_accepted_as_h11_reads_them(data: bytes) -> None:
    for tail in (b"", b"GET / HT"):
        found = recognise(data + tail, HERE)
        assert not isinstance(found, Verdict)
        assert found[1] == len(data)
        hold_to_judge(recognise, data + tail)


@pytest.mark.parametrize("data", PLAIN)
def test_a_part_of_a_plain_request_is_never_taken_for_one(data: bytes) -> None:
    for length in range(len(data)):
        assert isinstance(recognise(data[:length], HERE), Verdict)
    after_method = data.index(b"/") + 1
    assert all(recognise(data[:length], HERE) is NEED_MORE for length in range(after_method, len(data)))


@pytest.mark.parametrize("name", UNUSUAL_REQUESTS)
def test_the_unusual_is_left_to_the_judge(name: str) -> None:
    assert recognise(UNUSUAL_REQUESTS[name], HERE) is UNUSUAL


PIECES = [
    *(b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b": ", b"?", b"\x00", b"\x0b", b"\x7f", b"\x85", b"\xff", b"\r\n\r\n"),
    *(b"Host: a\r\n", b"Content-Length: 3\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(
        b"Connection: close\r\n",
        b"Connection: x\r\n",
        b"Expect: 100-continue\r\n",
    ),
    *(b"Upgrade: x\r\n", b"X:\r\n", b"X: \r\n"),
    *(b" HTTP/1.1", b" HTTP/1.0", b"GET ", b"PUT ", b"/", b"a", b"1", b"http://a"),
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A request that was plain, until pieces were inserted, overwritten and cut out."""
    data = draw(st.sampled_from(PLAIN + list(UNUSUAL_REQUESTS.values())))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        width = draw(st.sampled_from((0, 0, 1, 2, 5)))
        data = data[:at] + draw(st.sampled_from([*PIECES, b""])) + data[at + width :]
    return data + draw(st.sampled_from((b"", b"GET / HTTP/1.1\r\n", b"xyz", b"\r\n")))


@settings(max_examples=3000, deadline=None)
@given(mutated())
def test_what_it_accepts_h11_accepts_with_the_same_meaning(data: bytes) -> None:
    hold_to_judge(recognise, data)


FAULTS = {
    "line feeds inside values": ("_FIELD", rb"([-!#$%&'*+.^_`|~0-9A-Za-z]+): ?([!-~](?:[ -~\n]*[!-~])?)\r\n"),
    "space before the colon": ("_FIELD", rb"([-!#$%&'*+.^_`|~0-9A-Za-z]+) ?: ?([!-~](?:[ -~]*[!-~])?)\r\n"),
    "chunked bodies": ("_UNUSUAL_FIELDS", frozenset((b"expect", b"upgrade"))),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_fuzz_catches_a_recogniser_that_is_too_generous(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, value = FAULTS[fault]
    if isinstance(value, bytes):
        monkeypatch.setattr(module, "_match_fields", re.compile(rb"(?:" + value + rb")+").fullmatch)
        monkeypatch.setattr(module, "_find_fields", re.compile(value).findall)
    else:
        monkeypatch.setattr(module, name, value)
    module._read_fields.cache_clear()

    @settings(max_examples=20_000, deadline=None, database=None, derandomize=True)
    @given(mutated())
    def fuzz(data: bytes) -> None:
        hold_to_judge(recognise, data)

    try:
        with pytest.raises((AssertionError, h11.RemoteProtocolError)):
            fuzz()
    finally:
        module._read_fields.cache_clear()
