"""Paths to handlers, and the headers for browsers."""

import pytest

from core.api.http.message import Handler, Reply, Request, Response
from core.api.router import Route, Router
from core.api.store import Damage
from tests.v2.fakes import FakeReply, request


def named(name: bytes) -> Handler:
    return lambda _, reply: reply.send(Response(200, b"", name))


ROUTER = Router(
    named(b"keys"),
    [Route(b"/a", named(b"a"), below=True), Route(b"/a/b", named(b"b"), below=True), Route(b"/c", named(b"c"))],
    Damage(),
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


@pytest.mark.parametrize("path", [b"/v2/keys/a", b"/a"])
@pytest.mark.parametrize("answered", [False, True])
def test_a_mistake_costs_its_request_alone(path: bytes, answered: bool, caplog: pytest.LogCaptureFixture) -> None:
    def wrong(_: Request, reply: Reply) -> None:
        if answered:
            reply.send(Response(200, b"", b""))
        raise RecursionError("too deep")

    sent: list[int] = []

    class Once(FakeReply):
        def send(self, response: Response) -> None:
            if sent:
                raise RuntimeError("a request was answered twice")
            sent.append(response.status)

    Router(wrong, [Route(b"/a", wrong)], Damage())(request(b"GET", path), Once())
    assert sent == [200 if answered else 500]
    assert "too deep" in caplog.text


def test_what_is_no_mistake_ends_the_node_as_before() -> None:
    def broken(_: Request, __: Reply) -> None:
        raise OSError(5, "the disk")

    with pytest.raises(OSError, match="the disk"):
        Router(broken, [], Damage())(request(b"GET", b"/v2/keys/a"), FakeReply())


def test_two_handlers_for_one_path_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="/x"):
        Router(named(b""), [Route(b"/x", named(b"1")), Route(b"/x", named(b"2"))], Damage())
