"""What the client does when things go wrong: over real sockets, against a server that does as it is told."""

import random
import socket
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec
import pytest
import trio

from core.client import tree
from core.client.endpoints import Endpoint, parse
from core.client.errors import (
    ConnectionLostError,
    HistoryLostError,
    OutcomeUnknownError,
    RefusedError,
    StrangeAnswerError,
    UnreachableError,
)
from core.client.operations import Operations
from core.client.transport import Transport
from core.client.tree import Tree
from tests.cli.scripted import Peer, server

SET = '{"action":"set","node":{"key":"/a","value":"1","modifiedIndex":7,"createdIndex":7}}'


@pytest.fixture
def closed() -> Iterator[Endpoint]:
    """An endpoint that refuses connections for as long as the test runs: bound, and nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield parse(f"http://127.0.0.1:{unused.getsockname()[1]}")


async def test_an_endpoint_that_refuses_is_passed_over(closed: Endpoint) -> None:
    seen = []

    async def serve(peer: Peer) -> None:
        while request := await peer.request():
            seen.append(request.split("\r\n")[0])
            await peer.answer(SET, "201 Created")

    async with server(serve) as good, Transport([closed, good]) as transport:
        change = await Tree(transport).put("/a b?", "ü&1")
        await Tree(transport).delete("/a", previous_index=7)
    assert (change.action, change.node.value, change.index) == ("set", "1", 7)
    assert seen == ["PUT /v2/keys/a%20b%3F HTTP/1.1", "DELETE /v2/keys/a?prevIndex=7 HTTP/1.1"]


async def test_nobody_there(closed: Endpoint, tmp_path: Path) -> None:
    absent = parse(f"unix://{tmp_path}/absent")
    async with Transport([closed, absent]) as transport:
        with pytest.raises(UnreachableError) as caught:
            await Tree(transport).put("/a", "1")
    assert caught.value.reasons == {closed.text: "Connection refused", absent.text: "No such file or directory"}


@pytest.mark.parametrize(
    "part", ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{", "rubbish\r\n\r\n"]
)
async def test_a_write_is_sent_once_whatever_comes_back(part: str) -> None:
    writes = []

    async def broken(peer: Peer) -> None:
        writes.append(await peer.request())
        await peer.send(part)

    async def second(peer: Peer) -> None:
        writes.append(await peer.request())
        await peer.answer(SET)

    async with server(broken) as first, server(second) as other, Transport([first, other]) as transport:
        with pytest.raises(OutcomeUnknownError):
            await Tree(transport).put("/a", "1")
    assert len(writes) == 1


async def test_a_read_that_breaks_off_is_no_unknown_outcome() -> None:
    async def broken(peer: Peer) -> None:
        await peer.request()

    async with server(broken) as endpoint, Transport([endpoint]) as transport:
        with pytest.raises(ConnectionLostError):
            await Tree(transport).get("/a")


@pytest.mark.parametrize(("write", "error"), [(True, OutcomeUnknownError), (False, ConnectionLostError)])
async def test_every_call_ends_by_its_deadline(write: bool, error: type[Exception]) -> None:
    async def silent(peer: Peer) -> None:
        await peer.request()
        await trio.sleep_forever()

    async with server(silent) as endpoint, Transport([endpoint]) as transport:
        keys = Tree(transport, seconds=0.2)
        with trio.fail_after(5), pytest.raises(error, match=r"no answer within 0\.2 s"):
            await (keys.put("/a", "1") if write else keys.get("/a"))


async def test_cancelled_in_the_middle_it_can_be_used_again() -> None:
    async def serve(peer: Peer) -> None:
        while request := await peer.request():
            if "/slow" in request:
                await peer.send("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{")
                await trio.sleep_forever()
            await peer.answer(SET)

    async with server(serve) as endpoint, Transport([endpoint]) as transport:
        for _ in range(20):
            with trio.move_on_after(0.01):
                await Tree(transport).get("/slow")
            assert (await Tree(transport).get("/a")).node.value == "1"


async def test_a_unix_socket(tmp_path: Path) -> None:
    with trio.socket.socket(trio.socket.AF_UNIX) as listening:
        path = tmp_path / "a socket"
        await listening.bind(str(path))
        listening.listen()

        async def serve() -> None:
            stream, _ = await listening.accept()
            async with trio.SocketStream(stream) as connection:
                peer = Peer(connection)
                await peer.request()
                await peer.answer('{"health":"true","reason":""}')

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            async with Transport([parse(f"unix://{path}")]) as transport:
                assert (await Operations(transport).health()).healthy


@pytest.mark.parametrize(
    ("status", "body", "code", "text"),
    [
        (
            "404 Not Found",
            '{"errorCode":100,"message":"Key not found","cause":"/a","index":9}',
            100,
            "Key not found (/a)",
        ),
        ("403 Forbidden", '{"message":"not for you"}', 0, "not for you"),
        ("500 Oops", "plain words\n", 0, "plain words"),
        ("502 Bad", "", 0, "HTTP 502"),
        ("500 Oops", '["a list"]', 0, '["a list"]'),
    ],
)
async def test_refusals(status: str, body: str, code: int, text: str) -> None:
    async def serve(peer: Peer) -> None:
        await peer.request()
        await peer.answer(body, status)

    async with server(serve) as endpoint, Transport([endpoint]) as transport:
        with pytest.raises(RefusedError) as caught:
            await Tree(transport).get("/a")
    assert (caught.value.code, str(caught.value)) == (code, text)


@pytest.mark.parametrize(
    ("body", "headers"), [("<html>", "X-Etcd-Index: 7\r\n"), (SET, ""), (SET, "X-Etcd-Index: many\r\n"), ("{}", "")]
)
async def test_something_else_listens_there(body: str, headers: str) -> None:
    async def serve(peer: Peer) -> None:
        await peer.request()
        await peer.answer(body, headers=headers)

    async with server(serve) as endpoint, Transport([endpoint]) as transport:
        with pytest.raises(StrangeAnswerError):
            await Tree(transport).get("/a")


async def test_a_snapshot_cut_short_is_noticed() -> None:
    async def serve(peer: Peer) -> None:
        await peer.request()
        await peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")

    async with (
        server(serve) as endpoint,
        Transport([endpoint]) as transport,
        Operations(transport).snapshot() as stream,
    ):
        assert await anext(stream.pieces) == b"abc"
        with pytest.raises(ConnectionLostError):
            await anext(stream.pieces)


@pytest.mark.parametrize("text", ["http://a", "unix:relative", "ftp://a:1", "http://a:0", "", "a:b:c"])
def test_what_is_no_endpoint(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse(text)


def test_a_host_and_port_is_an_endpoint() -> None:
    assert parse("10.0.0.1:2379").origin == "http://10.0.0.1:2379"


class _History:
    """A store of a few changes that is served by a server with a habit of breaking connections."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        indexes = sorted(self.random.sample(range(10, 400), 60))
        self.changes = {index: f"v{index}" for index in indexes}
        self.polls = 0
        self.broken = 0

    async def serve(self, peer: Peer) -> None:
        while request := await peer.request():
            query = parse_qs(urlsplit(request.split()[1]).query)
            if "wait" not in query:
                await peer.answer('{"errorCode":100,"message":"Key not found"}', "404 Not Found", "X-Etcd-Index: 9\r\n")
                continue
            self.polls += 1
            if not await self._poll(peer, int(query["waitIndex"][0])):
                return

    async def _poll(self, peer: Peer, start: int) -> bool:
        index = next((index for index in self.changes if index >= start), None)
        if index is None:
            await trio.sleep_forever()
        body = SET.replace("7", str(index)).replace('"1"', f'"{self.changes[index]}"') + "\n"
        fate = self.random.random()
        if fate < 0.6:
            await peer.answer(body)
            return fate < 0.4  # else the answer is whole, but the connection ends behind it
        if fate < 0.7:
            await peer.answer("")  # an idle poll that the server ended
            return True
        self.broken += 1
        whole = f"HTTP/1.1 200 OK\r\nX-Etcd-Index: 9\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        await peer.send(whole[: self.random.randrange(len(whole))])
        return False


@pytest.mark.parametrize("seed", range(10))
async def test_a_watch_loses_and_repeats_nothing(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "RECONNECT_SECONDS", (0.0, 0.001))
    history = _History(seed)
    lost: list[str] = []
    told = []
    async with server(history.serve) as endpoint, Transport([endpoint]) as transport:
        with trio.fail_after(30):
            async with aclosing(Tree(transport).watch("/", recursive=True, lost=lost.append)) as changes:
                async for change in changes:
                    told.append(change.node.value)
                    if len(told) == len(history.changes):
                        break
    assert told == list(history.changes.values())
    assert history.broken > 5
    assert len(lost) >= history.broken


async def test_a_watch_says_when_history_is_gone() -> None:
    async def serve(peer: Peer) -> None:
        while request := await peer.request():
            if "wait" in request:
                body = '{"errorCode":401,"message":"The event in requested index is outdated","cause":"gone [50/3]"}'
                await peer.answer(body, "400 Bad Request")
            else:
                await peer.answer(SET)

    async with server(serve) as endpoint, Transport([endpoint]) as transport:
        with pytest.raises(HistoryLostError, match=r"from index 3 on are no longer kept \(gone \[50/3\]\)"):
            await anext(Tree(transport).watch("/a", index=3))


async def test_a_watch_that_never_began_fails_at_once(closed: Endpoint) -> None:
    async with Transport([closed]) as transport:
        with pytest.raises(UnreachableError):
            await anext(Tree(transport).watch("/a", index=3))


@pytest.mark.parametrize(
    ("call", "line", "form"),
    [
        (lambda t: t.put("/a", "1", ttl=5), "PUT /v2/keys/a", {"value": ["1"], "ttl": ["5"]}),
        (lambda t: t.put("/a", None, exists=True), "PUT /v2/keys/a", {"dir": ["true"], "prevExist": ["true"]}),
        (lambda t: t.put("/a", "", exists=False), "PUT /v2/keys/a", {"value": [""], "prevExist": ["false"]}),
        (lambda t: t.put("a", "1", previous_value="0"), "PUT /v2/keys/a", {"value": ["1"], "prevValue": ["0"]}),
        (lambda t: t.create_in_order("/q", "j"), "POST /v2/keys/q", {"value": ["j"]}),
        (lambda t: t.delete("/a", recursive=True), "DELETE /v2/keys/a?recursive=true", {}),
        (lambda t: t.get("/a", ordered=True, quorum=True), "GET /v2/keys/a?sorted=true&quorum=true", {}),
    ],
)
async def test_what_is_asked(call: Callable[[Tree], object], line: str, form: dict[str, list[str]]) -> None:
    seen = []

    async def serve(peer: Peer) -> None:
        seen.append(await peer.request())
        await peer.answer(SET)

    async with server(serve) as endpoint, Transport([endpoint], authorization="Basic eDp5") as transport:
        await call(Tree(transport))  # type: ignore[misc]
    head, _, body = seen[0].partition("\r\n\r\n")
    assert head.startswith(f"{line} HTTP/1.1\r\n")
    assert "Authorization: Basic eDp5" in head
    assert parse_qs(unquote(body), keep_blank_values=True) == form


def test_a_node_is_read_as_v2_writes_it() -> None:
    node = msgspec.json.decode(
        b'{"key":"/a","dir":true,"nodes":[{"key":"/a/b","value":""}],"modifiedIndex":4}', type=tree.Node
    )
    assert (node.dir, node.nodes[0].value, node.modified_index) == (True, "", 4)
