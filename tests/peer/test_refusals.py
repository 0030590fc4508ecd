"""Who is not let in, and what it and the log are told."""

import logging
from typing import Any

import pytest
import trio

from core.addresses import Url, parse
from core.peer import Address, Links, PeerIdentity, PeerListener, PeerListenError, PeerServer, Plain, open_listeners
from core.peer.upgrade import LINK, SNAPSHOT, Hello
from tests.peer.callers import Caller, answering, calling, hello, request
from tests.peer.support import CLUSTER, Member, addresses, introduce, running, until


@pytest.mark.parametrize(
    ("said", "status", "reason", "text"),
    [
        (hello(cluster=7), 412, "wrong-cluster", "cluster 0000000000000007, 'n2' to cluster 123456789abcdef0"),
        (hello(receiver=9), 421, "wrong-member", "0000000000000009 is called, but this is 'n2'"),
        (hello(sender=2), 421, "wrong-member", "the id of 'n2' itself"),
        (hello(sender=5), 403, "unknown-member", "'n5'\\) is not in the cluster"),
        (hello(sender=8), 410, "removed", "'n8'\\) was removed .* new member, with an empty data directory"),
        (hello(name="n3"), 403, "wrong-name", "is 'n1' here, but calls itself 'n3'"),
        (hello(protocols=(2, 3)), 426, "protocol-version", "versions 2 to 3 .*, newer than 1"),
        (hello(protocols=(0, 0)), 426, "protocol-version", "versions 0 .*, older than 1"),
    ],
)
async def test_each_reason_is_answered_and_logged_once(
    caplog: pytest.LogCaptureFixture, said: Hello, status: int, reason: str, text: str
) -> None:
    one, two = Member(1), Member(2)
    async with running(one, two):
        two.links.follow(addresses(one), removed=[8])
        caplog.clear()
        for path in (LINK, SNAPSHOT, LINK):
            async with calling(two) as caller:
                await caller.send(request(said, path))
                found = await caller.refusal()
                assert found[:2] == (status, reason)
                assert await caller.end() == b""
        lines = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert [record.getMessage() for record in lines] == ["a caller of the peer port is refused"]
        assert pytest.RaisesExc(Exception, match=text).matches(Exception(found[2]))
        assert vars(lines[0])["why"] == found[2]


async def test_a_removed_member_is_told_and_stops(caplog: pytest.LogCaptureFixture) -> None:
    one, two, three = Member(1), Member(2), Member(3)
    async with running(one, two, three):
        for member, others in ((one, [two]), (two, [one])):
            member.links.follow(addresses(*others), removed=[3])
        await until(lambda: three.removals == 2)
        assert "member 0000000000000003 ('n3') was removed" in three.links.states()[1].why_not
        assert not three.links.send(1, 1, None)
        got = len(one.got)
        assert one.links.send(2, 1, None)
        await until(lambda: two.got)
        assert len(one.got) == got


async def test_an_unknown_member_goes_on_until_it_is_known(caplog: pytest.LogCaptureFixture) -> None:
    one, two = Member(1), Member(2)
    async with running(one, two, linked=False):
        one.links.follow(addresses(two))
        await until(lambda: "is not in the cluster" in one.links.states()[2].why_not)
        assert one.removals == 0
        two.links.follow(addresses(one))
        await until(lambda: one.linked(two))
        told = [record for record in caplog.records if record.getMessage() == "no connection to a member"]
        assert len(told) == 1, "a refusal that repeats is told once"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"cluster": CLUSTER + 1}, "cluster 123456789abcdef1 .*|belongs to cluster"),
        ({"member": 5}, "is called, but this is 'n2', member 0000000000000005"),
        ({"name": "other"}, "member 0000000000000002 is 'n2' here, but calls itself 'other'"),
        ({"protocols": (2, 2)}, "speaks versions 1 of the protocol .* older than 2"),
    ],
)
async def test_the_dialling_side_says_in_words_why_there_is_no_link(change: dict[str, Any], text: str) -> None:
    one, two = Member(1), Member(2, **change)
    async with running(one, two, linked=False):
        two.links.follow(addresses(one))
        one.links.follow({2: Address("n2", two.address.urls)})
        refused = pytest.RaisesExc(Exception, match=text)
        await until(lambda: refused.matches(Exception(one.links.states()[2].why_not)))
        assert not one.linked(two)


async def test_the_newest_version_that_both_speak_is_chosen() -> None:
    old, new = Member(1), Member(2, protocols=(1, 2))
    async with running(old, new):
        async with calling(new) as caller:
            await caller.send(request(hello(protocols=(1, 1), instance=old.links.instance)))
            status, headers, _ = await caller.answer()
            assert (status, headers["corenode-protocol"]) == (101, "1-1")
        async with calling(new) as caller:
            await caller.send(request(hello(protocols=(1, 5), instance=old.links.instance)))
            assert (await caller.answer())[1]["corenode-protocol"] == "2-2"


async def test_plain_requests_are_answered_by_the_node() -> None:
    one = Member(1)
    async with running(one):
        async with calling(one) as caller:
            await caller.send(b"GET /members HTTP/1.1\r\nHost: a\r\n\r\n")
            status, headers, body = await caller.answer()
            assert (status, headers["content-type"], body) == (200, "text/plain", b"hello")
        for line, expected in (("POST /members", 405), ("GET /corenode/peer", 426), ("HEAD /members", 405)):
            async with calling(one) as caller:
                await caller.send(f"{line} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                assert (await caller.answer())[0] == expected
    assert one.asked == [("/members", "")]


@pytest.mark.parametrize("url", ["http://192.0.2.1:2380", "http://0.0.0.0:0", "http://example.org:2380"])
async def test_plain_peers_are_for_loopback_only(url: str) -> None:
    with pytest.raises(PeerListenError, match="plain HTTP and not on a loopback address"):
        await open_listeners([parse(url)])
    one = Member(1)
    with pytest.raises(PeerListenError, match="plain HTTP"):
        PeerServer(one.links, [PeerListener(parse(url), ())], context=None, answer=one.answer)
    listener = PeerListener(Url("https", "127.0.0.1", 0), ())
    with pytest.raises(PeerListenError, match="needs a peer certificate"):
        PeerServer(one.links, [listener], context=None, answer=one.answer)
    async with running(one):
        one.links.follow({2: Address("n2", (parse(url),))})
        await until(lambda: "plain HTTP and not on a loopback" in one.links.states()[2].why_not)


async def test_a_busy_port_is_named() -> None:
    one = Member(1)
    async with running(one):
        with pytest.raises(PeerListenError, match=f"127.0.0.1:{one.port}: .*; another process listens there"):
            await open_listeners([Url("http", "127.0.0.1", one.port)])


def test_a_member_does_not_follow_itself() -> None:
    def receive(sender: int, kind: int, content: Plain) -> None: ...

    identity = PeerIdentity(cluster=1, member=1, name="a", program="0")
    links = Links(identity, receive, Member(2).install)
    with pytest.raises(ValueError, match="itself"):
        links.follow({1: Address("a", ())})


async def test_two_processes_with_one_identity_do_not_push_each_other_out() -> None:
    """A copied data directory: the first stays, the second is told."""
    first, second, other = Member(1), Member(1), Member(2)
    async with running(first, other), trio.open_nursery() as nursery:
        await nursery.start(second.run)
        second.links.follow(addresses(other))
        await until(lambda: "do two run with one name" in second.links.states()[2].why_not)
        for _ in range(20):
            first.links.send(2, 1, b"first")
            second.links.send(2, 1, b"second")
            await trio.sleep(0.005)
        await until(lambda: other.got)
        assert first.linked(other)
        assert all(content == b"first" for _, _, content in other.got)
        nursery.cancel_scope.cancel()


async def test_the_second_takes_over_once_the_first_is_silent() -> None:
    first, second, other = Member(1), Member(1), Member(2)
    async with running(other):
        async with trio.open_nursery() as nursery:
            await nursery.start(first.run)
            introduce(first, other)
            await until(lambda: first.linked(other))
            nursery.cancel_scope.cancel()
        async with trio.open_nursery() as nursery:
            await nursery.start(second.run)
            introduce(second, other)
            await until(lambda: second.linked(other) and other.linked(second))
            nursery.cancel_scope.cancel()


async def test_a_member_without_a_known_name_may_have_any_that_is_free() -> None:
    """As after adding it by its URL alone."""
    one, two, three = Member(1), Member(2), Member(3)
    async with running(one, two, three, linked=False):
        two.links.follow(addresses(one))
        one.links.follow({2: Address("", two.address.urls), 3: Address("", three.address.urls)})
        await until(lambda: one.linked(two) and two.linked(one))
        since = one.links.states()[2].connected_since
        one.links.follow({2: Address("", two.address.urls)})
        assert one.links.states()[2].connected_since == since
    for name in ("n1", "n2"):
        one, two, three = Member(1), Member(2), Member(3, name=name)
        async with running(one, two, three, linked=False):
            three.links.follow(addresses(one))
            one.links.follow({2: two.address, 3: Address("", three.address.urls)})
            await until(lambda one=one: "so is another member called" in one.links.states()[3].why_not)  # type: ignore[misc]
            await until(lambda three=three: "so is another member called" in three.links.states()[1].why_not)  # type: ignore[misc]


async def test_a_member_without_urls_is_not_tried() -> None:
    one = Member(1)
    async with running(one):
        one.links.follow({2: Address("n2", ())})
        assert one.links.states()[2].why_not == "it has no peer URL"
        assert not one.links.send(2, 1, None)


def refusing(status: int, body: str) -> bytes:
    return f"HTTP/1.1 {status} No\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (refusing(403, '{"reason": "removed", "message": "go"}'), "it refuses: go"),
        (refusing(410, '{"reason": "unknown-member", "message": "go"}'), "it refuses: go"),
        (refusing(410, "<h1>Gone</h1>"), "it answered 410, which no member does; is this the peer URL of a member"),
        (refusing(200, "{}"), "it answered 200, which no member does"),
        (refusing(403, '{"reason": "unknown-member", "message": "' + "x" * 100_000 + '"}'), "it answered 403"),
        (b"", "it closed the connection without an answer"),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: corenode-peer/1\r\n\r\n",
            "header Corenode-Protocol is missing",
        ),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "its answer is not HTTP/1.1"),
        (b"HTTP/1.1 403 No\r\nX: " + b"x" * 100_000, "its answer is not HTTP/1.1"),
    ],
    ids=range(9),
)
async def test_nobody_is_believed_who_answers_otherwise_than_a_member(answer: bytes, why: str) -> None:
    one = Member(1)
    async with running(one), answering(hangs_up, answer) as address:
        one.links.follow({2: address})
        await until(lambda: why in one.links.states()[2].why_not)
        assert one.removals == 0
        one.links.follow({2: Address("n2", (Url("http", "127.0.0.1", 1),))})
        await until(lambda: "connection refused" in one.links.states()[2].why_not)


async def hangs_up(caller: Caller) -> None:
    await caller.stream.aclose()
