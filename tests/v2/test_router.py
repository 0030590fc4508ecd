"""Paths to handlers, and the headers for browsers."""

import pytest

from core.api.cors import Cors
from core.api.http.message import Handler, Outlet, Reply, Request, Response
from core.api.router import Route, Router
from tests.v2.fakes import FakeOutlet, FakeReply, request


def named(name: bytes) -> Handler:
    return lambda _, reply: reply.send(Response(200, b"", name))


ROUTER = Router(
    named(b"keys"),
    [Route(b"/a", named(b"a"), below=True), Route(b"/a/b", named(b"b"), below=True), Route(b"/c", named(b"c"))],
)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (b"/v2/keys", b"keys"),
        (b"/v2/keys/", b"keys"),
        (b"/v2/keys/x/../../../..", b"keys"),
        (b"/a", b"a"),
        (b"/a/", b"a"),
        (b"/a/x/y", b"a"),
        (b"/a/b", b"b"),
        (b"/a/b/x", b"b"),
        (b"/a/bx", b"a"),
        (b"/c", b"c"),
    ],
)
def test_a_path_finds_its_handler(path: bytes, name: bytes) -> None:
    reply = FakeReply()
    ROUTER(request(b"GET", path), reply)
    assert reply.sent.body == name


@pytest.mark.parametrize(
    "path", [b"/", b"", b"*", b"/v2", b"/v2/keysx", b"/ax", b"/c/", b"/c/x", b"/" * 60_000, b"\xff"]
)
def test_other_paths_are_404(path: bytes) -> None:
    reply = FakeReply()
    ROUTER(request(b"GET", path), reply)
    assert (reply.sent.status, reply.sent.body) == (404, b"404 page not found\n")


def test_two_handlers_for_one_path_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="/x"):
        Router(named(b""), [Route(b"/x", named(b"1")), Route(b"/x", named(b"2"))])


ALLOWED = (
    b"Access-Control-Allow-Methods: POST, GET, OPTIONS, PUT, DELETE\r\n"
    b"Access-Control-Allow-Origin: %b\r\n"
    b"Access-Control-Allow-Headers: accept, content-type, authorization\r\n"
)


def from_origin(origins: set[str], method: bytes, origin: bytes | None) -> Response:
    reply = FakeReply()
    headers = () if origin is None else ((b"origin", origin),)
    Cors(named(b"x"), frozenset(origins))(request(method, b"/", b"", headers), reply)
    return reply.sent


def test_origins() -> None:
    assert from_origin({"*"}, b"GET", None) == Response(200, ALLOWED % b"*", b"x")
    assert from_origin({"http://a"}, b"GET", b"http://a") == Response(200, ALLOWED % b"http://a", b"x")
    assert from_origin({"http://a"}, b"GET", b"http://b") == Response(200, b"", b"x")
    assert from_origin({"http://a"}, b"GET", None) == Response(200, b"", b"x")
    assert from_origin({"*"}, b"OPTIONS", b"http://b") == Response(200, ALLOWED % b"*", b"")
    assert from_origin({"http://a"}, b"OPTIONS", b"http://b") == Response(200, b"", b"")


async def test_streams_are_marked_too() -> None:
    async def produce(outlet: Outlet) -> None:
        await outlet.start(200, b"A: b\r\n")
        await outlet.send(b"x")
        await outlet.abort()

    def handle(_: Request, reply: Reply) -> None:
        reply.stream(produce)

    reply = FakeReply()
    Cors(handle, frozenset({"*"}))(request(b"GET", b"/"), reply)
    outlet = FakeOutlet()
    assert reply.produce is not None
    await reply.produce(outlet)
    assert (outlet.status, outlet.headers, outlet.pieces) == (200, b"A: b\r\n" + ALLOWED % b"*", [b"x"])
    assert outlet.aborted
