"""Callers that send what they should not: each costs its own connection, and one clear line."""

import random

import msgspec
import pytest
import trio

from core.peer import Address, FrameError, Limits, PeerError, plain
from core.peer.frames import BYE, FORMAT, HEADER, MAGIC, PING, PONG, PULSE, frame
from core.peer.upgrade import LINK
from tests.peer.callers import Caller, answering, calling, hello, request, switching
from tests.peer.support import QUICK, Member, running, until

VALUE = plain.encode([1, b"x"])


def reasons(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [str(vars(record).get("why")) for record in caplog.records if record.levelname == "WARNING"]


async def link(caller: Caller, two: Member, sender: int = 3) -> bytes:
    """Become a link; returns what came behind the answer."""
    await caller.send(request(hello(sender=sender)))
    status, headers, behind = await caller.answer()
    assert status == 101
    assert headers["corenode-name"] == two.name
    return behind


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "it sent something that is no frame"),
        (HEADER.pack(MAGIC, FORMAT + 1, 1, 0, 0), "it sent something that is no frame"),
        (frame(1, VALUE)[:-1] + b"?", "it sent a frame with a wrong checksum"),
        (HEADER.pack(MAGIC, FORMAT, 1, 8 * 1024 * 1024 + 1, 0), "it sent a frame of 8388609 bytes; at most 8388608"),
        (frame(1, b"\xa0"), "there is a value of the type dict in its body"),
        (frame(1, b"\xc1\x00"), "its body is not CBOR of plain values"),
        (frame(1, VALUE + b"\0"), "there are bytes behind the value"),
        (frame(PONG, VALUE), "it sent a frame of kind 129, which has no business here"),
        (frame(255, VALUE), "it sent a frame of kind 255, which has no business here"),
    ],
    ids=range(9),
)
async def test_what_is_no_frame_ends_the_link_and_both_ends_are_told(
    caplog: pytest.LogCaptureFixture, sent: bytes, why: str
) -> None:
    one, two = Member(1), Member(2)
    async with running(one, two):
        two.links.follow({1: one.address, 3: Address("n3", ())})
        caplog.clear()
        async with calling(two) as caller:
            behind = await link(caller, two)
            await caller.send(frame(1, VALUE) + sent + frame(1, VALUE))
            with pytest.raises(PeerError):
                await caller.collect(behind)
            assert two.got == [(3, 1, [1, b"x"])], "what came before is taken, nothing behind it"
            assert caller.frames[-1][0] == BYE
            assert why in str(plain.decode(caller.frames[-1][1]))
        assert len(reasons(caplog)) == 1
        assert why in reasons(caplog)[0]
        assert one.linked(two)


async def test_a_frame_cut_short_is_not_taken() -> None:
    one, two = Member(1), Member(2)
    async with running(one, two):
        two.links.follow({1: one.address, 3: Address("n3", ())})
        async with calling(two) as caller:
            await link(caller, two)
            await caller.send(frame(1, VALUE) + frame(1, VALUE)[:-1])
            await until(lambda: two.got)
        await until(lambda: not two.links.states()[3].connected_from)
        assert len(two.got) == 1


async def test_content_the_user_refuses_ends_the_link(caplog: pytest.LogCaptureFixture) -> None:
    class Strict(Member):
        def receive(self, sender: int, kind: int, content: object) -> None:
            raise FrameError("it sent something that is no message")

    one, two = Member(1), Strict(2)
    async with running(one, two):
        one.links.send(2, 1, b"x")
        await until(lambda: "no message" in one.links.states()[2].why_not or "it closed" in str(reasons(caplog)))
    assert "it sent something that is no message" in reasons(caplog)


REQUESTS = [
    b"",
    b"\r\n\r\n",
    b"\0" * 100,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    b"GET /corenode/peer HTTP/1.1\r\nHost: a\r\nUpgrade: corenode-peer/1\r\n\r\n",
    b"GET /corenode/peer HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
    b"POST /corenode/peer HTTP/1.1\r\nHost: a\r\nUpgrade: corenode-peer/1\r\n\r\n",
    b"HEAD /corenode/peer HTTP/1.1\r\nHost: a\r\nUpgrade: corenode-peer/1\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /members HTTP/1.1\r\n\r\n",
    b"GET /members HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde",
    b"GET /members HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET /members HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
    b"GET /members HTTP/9.9\r\nHost: a\r\n\r\n",
    b"GET /m\xc3\xa4mbers HTTP/1.1\r\nHost: a\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    request(hello()).replace(b"HTTP/1.1", b"HTTP/1.0"),
    request(hello()).replace(b"Corenode-Cluster: 1", b"Corenode-Cluster: z"),
    request(hello()).replace(b"Protocol: 1-1", b"Protocol: 1"),
    request(hello(name="\r\n" * 100, sender=77)),
    request(hello(name="n" * 5000, sender=77)),
    request(hello(), LINK).replace(b"GET", b"HEAD"),
]


@pytest.mark.parametrize("sent", REQUESTS, ids=range(len(REQUESTS)))
async def test_requests_that_are_none_are_answered_or_closed(sent: bytes) -> None:
    one, two = Member(1), Member(2)
    async with running(one, two):
        async with calling(two) as caller:
            await caller.send(sent)
            if isinstance(caller.stream, trio.SocketStream):
                await caller.stream.send_eof()
            data = await caller.end()
        assert data == b"" or data.startswith(b"HTTP/1.1 ")
        assert one.linked(two)
        assert two.links.send(1, 1, None)
        await until(lambda: one.got)


async def test_requests_bent_at_random_break_nothing() -> None:
    chance = random.Random(4)
    base = [request(hello(sender=3)), *REQUESTS]
    one, two = Member(1), Member(2)
    async with running(one, two):
        for _ in range(300):
            sent = bytearray(chance.choice(base))
            for _ in range(chance.randint(0, 6)):
                if sent:
                    place = chance.randrange(len(sent))
                    sent[place : place + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 3))
            async with calling(two) as caller:
                try:
                    await caller.send(bytes(sent))
                    if isinstance(caller.stream, trio.SocketStream):
                        await caller.stream.send_eof()
                except trio.BrokenResourceError:
                    continue
                data = await caller.end()
            assert data == b"" or data.startswith(b"HTTP/1.1 ")
        assert one.linked(two)
        assert two.server is not None
        await until(lambda: two.server is not None and two.server.pending == 0)


@pytest.mark.parametrize("first", [b"", b"GET /corenode/peer HTTP/1.1\r\nHost"])
async def test_connections_that_say_nothing_are_closed_in_time(first: bytes, caplog: pytest.LogCaptureFixture) -> None:
    one = Member(1, limits=msgspec.structs.replace(QUICK, handshake_s=0.05))
    async with running(one), calling(one) as caller:
        await caller.send(first)
        assert await caller.end() == b""
        assert one.server is not None
        assert one.server.pending == 0
    assert reasons(caplog) == ["it did not say what it wants in time"]


async def test_two_thousand_half_open_connections_keep_no_member_out(caplog: pytest.LogCaptureFixture) -> None:
    limits = Limits(handshake_s=15.0, pending_max=64, retry_first_s=0.005, retry_most_s=0.02)
    one, two = Member(1, limits=limits), Member(2, limits=limits)
    most = 0
    async with running(one, two, linked=False):
        streams = []
        try:
            for number in range(2000):
                streams.append(await trio.open_tcp_stream("127.0.0.1", two.port))
                if two.server is not None:
                    most = max(most, two.server.pending)
                if number == 1000:
                    one.links.follow({2: two.address})
                    two.links.follow({1: one.address})
            await until(lambda: one.linked(two) and two.linked(one))
        finally:
            for stream in streams:
                await trio.aclose_forcefully(stream)
    assert most <= 64
    assert reasons(caplog) == ["connections wait for their first request"]


async def test_a_replayed_request_gets_no_more_than_the_first(caplog: pytest.LogCaptureFixture) -> None:
    """On plain loopback anyone can repeat a member's request: that member's living link stays."""
    one, two = Member(1), Member(2)
    async with running(one, two):
        async with calling(two) as caller:
            await caller.send(request(hello(instance="replayed")))
            assert (await caller.refusal())[:2] == (409, "twice")
        assert one.linked(two)
        assert one.links.send(2, 1, None)
        await until(lambda: two.got)


async def test_a_flood_of_pings_costs_only_its_sender() -> None:
    one, two = Member(1), Member(2)
    async with running(one, two):
        two.links.follow({1: one.address, 3: Address("n3", ())})
        async with calling(two) as caller:
            await link(caller, two)
            for _ in range(200):
                await caller.send(frame(PING, VALUE) * 500)
            await until(lambda: one.linked(two))
            one.links.send(2, 1, None)
            await until(lambda: (1, 1, None) in two.got)


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (frame(1, VALUE), "kind 1, which has no business"),
        (frame(PONG, b"\xa0"), "type dict"),
        (b"nonsense and more of it", "no frame"),
        (frame(PULSE, bytes(5000)), "5000 bytes; at most 4096"),
        (frame(BYE, plain.encode("go away")), "it closed the connection: go away"),
    ],
    ids=range(5),
)
async def test_answers_that_are_none_end_the_dialled_link(sent: bytes, why: str) -> None:
    one = Member(1)

    async def converse(caller: Caller) -> None:
        await caller.send(frame(PULSE, b"") + sent)
        await trio.sleep_forever()

    async with running(one), answering(converse) as address:
        one.links.follow({2: address})
        await until(lambda: why in one.links.states()[2].why_not)


async def test_an_answer_for_somebody_else_makes_no_link() -> None:
    async def converse(caller: Caller) -> None:
        await trio.sleep_forever()

    for said, why in (
        (hello(sender=2, receiver=9), "meant for somebody else"),
        (hello(sender=2, receiver=1, cluster=5), "meant for somebody else"),
        (hello(sender=3, receiver=1), "it says that it is 'n3', member 0000000000000003"),
        (hello(sender=2, receiver=1, protocols=(7, 7)), "it chose version 7"),
    ):
        async with running(one := Member(1)), answering(converse, switching(said)) as address:
            one.links.follow({2: address})
            await until(lambda one=one, why=why: why in one.links.states()[2].why_not)  # type: ignore[misc]
