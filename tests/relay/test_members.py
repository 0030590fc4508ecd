"""What a worker learns from members: whom to ask, for itself and its agent, and which certificates are revoked."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from core.api.http import Frontend, open_tcp
from core.api.http.message import Reply, Request, Response
from core.client.endpoints import Endpoint, parse
from core.client.transport import Transport
from core.relay import Revoked, Upstreams

CLUSTER = b"X-Etcd-Cluster-ID: abc\r\n"


class Member:
    """What is asked at a port of a member, and what it says."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.members: object = []
        self.serials: object = []
        self.tag = b'"1"'
        self.endpoint = parse("http://127.0.0.1:1")

    def __call__(self, request: Request, reply: Reply) -> None:
        self.asked.append(request)
        if request.path == b"/v2/members":
            reply.send(Response(200, CLUSTER, json.dumps({"members": self.members}).encode()))
        elif request.header(b"if-none-match") == self.tag:
            reply.send(Response(304, b"", b""))
        else:
            headers = b"ETag: " + self.tag + b"\r\n"
            reply.send(Response(200, headers, json.dumps({"serials": self.serials}).encode()))

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        listeners = open_tcp("127.0.0.1", 0)
        self.endpoint = parse(f"http://127.0.0.1:{listeners[0].port}")
        async with trio.open_nursery() as nursery:
            await nursery.start(Frontend(self).serve, listeners)
            yield
            nursery.cancel_scope.cancel()


@pytest.fixture
async def one() -> AsyncIterator[Member]:
    member = Member()
    async with member.serving():
        yield member


def urls(*endpoints: Endpoint | str) -> list[dict[str, object]]:
    return [{"clientURLs": [each if isinstance(each, str) else each.origin]} for each in endpoints]


async def test_the_agent_asks_the_members_of_today(one: Member) -> None:
    two = Member()
    async with two.serving(), Transport([one.endpoint]) as agent:
        one.members = two.members = urls(one.endpoint, two.endpoint)
        async with Upstreams([one.endpoint], None, (agent,)) as upstreams:
            await upstreams.refresh()
            assert agent.endpoints == [one.endpoint, two.endpoint]
            agent.avoid(one.endpoint)
            assert (await agent.call("GET", "/v2/members")).endpoint == two.endpoint
            two.members = one.members = urls(one.endpoint)
            await upstreams.refresh()
            assert agent.endpoints == [one.endpoint]
            assert (await agent.call("GET", "/v2/members")).endpoint == one.endpoint


@pytest.mark.parametrize("named", ["unix:///run/docker.sock", "https://10.0.0.1:1", "nonsense", "http://", "ftp://x:1"])
async def test_nobody_is_asked_at_what_is_no_url_of_a_member(one: Member, named: str) -> None:
    one.members = urls(one.endpoint, named)
    async with Upstreams([one.endpoint], None) as upstreams:
        await upstreams.refresh()
        assert [each.endpoint for each in upstreams.in_order()] == [one.endpoint]


async def test_a_request_under_way_is_not_cut_when_its_member_is_gone() -> None:
    begun, go_on = trio.Event(), trio.Event()

    def slow(request: Request, reply: Reply) -> None:
        async def produce(outlet: object) -> None:
            await outlet.start(200, b"")  # type: ignore[attr-defined]
            await outlet.send(b"one")  # type: ignore[attr-defined]
            begun.set()
            await go_on.wait()
            await outlet.send(b"two")  # type: ignore[attr-defined]

        reply.stream(produce)

    listeners = open_tcp("127.0.0.1", 0)
    endpoint = parse(f"http://127.0.0.1:{listeners[0].port}")
    async with trio.open_nursery() as nursery:
        await nursery.start(Frontend(slow).serve, listeners)
        async with Transport([endpoint]) as transport, transport.stream("/a") as stream:
            assert await anext(stream.pieces) == b"one"
            await transport.follow([parse("http://127.0.0.1:1")])
            go_on.set()
            assert b"".join([piece async for piece in stream.pieces]) == b"two"
        nursery.cancel_scope.cancel()


async def test_revocations_come_and_stay(one: Member, tmp_path: Path) -> None:
    file = tmp_path / "revoked.json"
    async with Upstreams([one.endpoint], None) as upstreams:
        revoked = Revoked(file, upstreams)
        one.serials = ["1f", "2"]
        await revoked.refresh()
        assert (revoked.is_revoked(0x1F), revoked.is_revoked(3), revoked.revocations) == (True, False, 1)
        one.serials = []  # it says that nothing is new
        await revoked.refresh()
        assert (revoked.is_revoked(2), revoked.revocations) == (True, 1)
        one.serials, one.tag = ["1f", "2", "3"], b'"2"'
        await revoked.refresh()
        assert (revoked.is_revoked(3), revoked.revocations) == (True, 2)
    async with Upstreams([parse("http://127.0.0.1:1")], None) as nobody:
        again = Revoked(file, nobody)
        await again.refresh()
        assert (again.is_revoked(3), again.revocations) == (True, 1)


@pytest.mark.parametrize("wrong", ["x", ["zz"], {"a": 1}, [["1"]]])
async def test_what_is_no_list_changes_nothing(one: Member, tmp_path: Path, wrong: object) -> None:
    async with Upstreams([one.endpoint], None) as upstreams:
        revoked = Revoked(tmp_path / "revoked.json", upstreams)
        one.serials = ["2"]
        await revoked.refresh()
        one.serials, one.tag = wrong, b'"2"'
        await revoked.refresh()
        assert (revoked.is_revoked(2), revoked.revocations) == (True, 1)
