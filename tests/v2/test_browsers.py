"""What web pages may ask of a node: nothing by a name not its own, no change from elsewhere unless listed."""

import pytest

from core.api.browsers import Browsers
from core.api.http.message import Caller, Handler, Outlet, Reply, Request, Response
from tests.v2.fakes import FakeOutlet, FakeReply

PLAIN = Caller("127.0.0.1:4711", plain=True)
TLS = Caller("127.0.0.1:4711")
UNIX = Caller("unix", local=True)
GOOD = Response(200, b"", b"x")
ALLOWED = (
    b"Access-Control-Allow-Methods: POST, GET, OPTIONS, PUT, DELETE\r\n"
    b"Access-Control-Allow-Origin: %b\r\n"
    b"Access-Control-Allow-Headers: accept, content-type, authorization\r\n"
)


def answer(_: Request, reply: Reply) -> None:
    reply.send(GOOD)


def ask(
    method: bytes = b"GET",
    *,
    host: bytes | None = b"127.0.0.1:2379",
    origin: bytes | None = None,
    origins: tuple[str, ...] = (),
    caller: Caller = PLAIN,
    query: bytes = b"",
    handler: Handler = answer,
) -> Response:
    """The answer to a request of a node that advertises node1.example."""
    found = ((b"accept", b"*/*"), (b"host", host), (b"origin", origin))
    headers = tuple((name, value) for name, value in found if value is not None)
    reply = FakeReply()
    Browsers(handler, ["node1.example", "10.0.0.5"], origins)(
        Request(method, b"/v2/keys/a", query, headers, b"", caller), reply
    )
    return reply.sent


@pytest.mark.parametrize(
    "host",
    [
        *(b"127.0.0.1:2379", b"127.0.0.1", b"10.9.8.7:1", b"[::1]:2379", b"[::1]", b"[fe80::1]:80"),
        *(b"localhost", b"localhost:2379", b"LOCALHOST:80", b"app.localhost:2379", b"localhost."),
        *(b"node1.example", b"Node1.Example:4001", b"node1.example.:2379"),
    ],
)
def test_names_of_the_node(host: bytes) -> None:
    assert ask(host=host) == ask(b"PUT", host=host) == GOOD


@pytest.mark.parametrize(
    "host",
    [
        *(
            b"evil.example",
            b"evil.example:2379",
            b"node1.example.evil",
            b"xlocalhost",
            b"localhost.evil",
            b".localhost",
        ),
        *(b"127.0.0.1.evil:2379", b"0x7f.1", b"127.1", b"[::1", b"::1", b"[::1]x", b"", b":2379", b"a b", b"\xff"),
        *(b"node1.example:x", b"node1.example:2379:2379", b"u@node1.example", b"[127.0.0.1]"),
    ],
)
def test_other_names_over_plain_http(host: bytes) -> None:
    refused = ask(host=host)
    assert refused.status == 403
    assert b"--advertise-client-urls" in refused.body
    assert b"https://" in refused.body
    assert ask(b"PUT", host=host).status == ask(b"OPTIONS", host=host).status == 403
    assert ask(host=host, caller=TLS) == ask(host=host, caller=UNIX) == GOOD


def test_http_1_0_names_no_host_and_no_browser_speaks_it() -> None:
    assert ask(host=None) == GOOD


def test_one_good_name_does_not_let_another_in() -> None:
    browsers = Browsers(answer, ["node1.example"])
    for _ in range(2):
        for host, status in ((b"node1.example", 200), (b"evil.example", 403)):
            reply = FakeReply()
            browsers(Request(b"GET", b"/", b"", ((b"host", host),), b"", PLAIN), reply)
            assert reply.sent.status == status


FOREIGN = [b"http://evil.example", b"null", b"http://127.0.0.1:3000", b"http://localhost:2379", b"", b"127.0.0.1:2379"]


@pytest.mark.parametrize("caller", [PLAIN, TLS, UNIX], ids=["plain", "tls", "unix"])
@pytest.mark.parametrize("origin", FOREIGN)
def test_pages_from_elsewhere_change_nothing(origin: bytes, caller: Caller) -> None:
    for method in (b"PUT", b"POST", b"DELETE", b"PATCH"):
        refused = ask(method, origin=origin, caller=caller)
        assert refused.status == 403
        assert b"--cors" in refused.body
    assert ask(query=b"recursive=true&quorum=true", origin=origin, caller=caller).status == 403
    assert ask(origin=origin, caller=caller) == GOOD  # without a header that lets the page read it


def test_the_node_s_own_pages_and_listed_ones_may() -> None:
    assert ask(b"PUT", origin=b"http://127.0.0.1:2379") == GOOD
    assert ask(b"PUT", origin=b"https://node1.example", host=b"node1.example", caller=TLS) == GOOD
    marked = Response(200, ALLOWED % b"http://a", b"x")
    assert ask(b"PUT", origin=b"http://a", origins=("http://a",)) == marked
    assert ask(b"PUT", origin=b"http://b", origins=("http://a",)).status == 403
    assert ask(b"PUT", origin=b"http://b", origins=("*",)) == Response(200, ALLOWED % b"*", b"x")
    assert ask(b"PUT", origin=b"http://b", origins=("*",), host=b"evil.example").status == 403


def test_listed_origins_are_marked() -> None:
    assert ask(origins=("*",)) == Response(200, ALLOWED % b"*", b"x")
    assert ask(origins=("http://a",), origin=b"http://a") == Response(200, ALLOWED % b"http://a", b"x")
    assert ask(origins=("http://a",), origin=b"http://b") == GOOD
    assert ask(origins=("http://a",)) == GOOD
    assert ask(b"OPTIONS", origins=("*",), origin=b"http://b") == Response(200, ALLOWED % b"*", b"")
    assert ask(b"OPTIONS", origins=("http://a",), origin=b"http://b") == Response(200, b"", b"")
    assert ask(b"OPTIONS", origin=b"http://b") == GOOD  # nobody is listed: the path itself answers


async def test_streams_are_marked_too() -> None:
    async def produce(outlet: Outlet) -> None:
        await outlet.start(200, b"A: b\r\n")
        await outlet.send(b"x")
        await outlet.abort()

    reply = FakeReply()
    Browsers(lambda _, found: found.stream(produce), [], ["*"])(Request(b"GET", b"/", b"", (), b"", UNIX), reply)
    outlet = FakeOutlet()
    assert reply.produce is not None
    await reply.produce(outlet)
    assert (outlet.status, outlet.headers, outlet.pieces) == (200, b"A: b\r\n" + ALLOWED % b"*", [b"x"])
    assert outlet.aborted
