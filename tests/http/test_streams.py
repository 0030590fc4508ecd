"""Responses made piece by piece."""

from collections.abc import Awaitable, Callable

import pytest
import trio

from core.api.http import Outlet, Reply, Request
from tests.http.support import GET, QUICK, Desk, Served, echo, put, serving, until

Produce = Callable[[Outlet], Awaitable[None]]


def streaming(produce: Produce) -> Callable[[Request, Reply], None]:
    """A handler that streams, except for `/echo`."""

    def handler(request: Request, reply: Reply) -> None:
        if request.path == b"/echo":
            echo(request, reply)
        else:
            reply.stream(produce)

    return handler


STREAM = b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n"


async def three_pieces(outlet: Outlet) -> None:
    await outlet.start(200, b"X: y\r\n")
    for piece in (b"one ", b"", b"two ", b"x" * 300_000):
        await outlet.send(piece)


async def test_pieces_travel_as_chunks_and_the_connection_goes_on() -> None:
    async with serving(streaming(three_pieces)) as served, served.client() as client:
        for _ in range(3):
            await client.send(STREAM + GET)
            answer = await client.answer()
            assert answer.headers[b"transfer-encoding"] == b"chunked"
            assert answer.headers[b"x"] == b"y"
            assert answer.body == b"one two " + b"x" * 300_000
            assert (await client.answer()).text.startswith("GET /echo")
        assert served.statistics.streams == 0
        assert served.statistics.accepted == 1


async def test_with_a_length_pieces_travel_as_they_are() -> None:
    async def produce(outlet: Outlet) -> None:
        await outlet.start(206, b"X: y\r\n", 300_003)
        for piece in (b"one", b"", b"x" * 300_000):
            await outlet.send(piece)

    async with serving(streaming(produce)) as served, served.client() as client:
        for _ in range(2):
            await client.send(STREAM + GET)
            answer = await client.answer()
            assert (answer.status, answer.headers[b"content-length"]) == (206, b"300003")
            assert b"transfer-encoding" not in answer.headers
            assert answer.body == b"one" + b"x" * 300_000
            assert (await client.answer()).text.startswith("GET /echo")
        assert served.statistics.accepted == 1


async def test_what_breaks_off_before_its_length_ends_the_connection() -> None:
    async def produce(outlet: Outlet) -> None:
        await outlet.start(200, b"", 10)
        await outlet.send(b"four")
        await outlet.abort()

    async with serving(streaming(produce)) as served, served.client() as client:
        await client.send(STREAM)
        assert (await client.end()).endswith(b"\r\n\r\nfour")


async def test_the_head_is_sent_before_there_is_a_piece() -> None:
    async def produce(outlet: Outlet) -> None:
        await outlet.start(200, b"")
        await trio.sleep_forever()

    async with serving(streaming(produce)) as served, served.client() as client:
        await client.send(STREAM)
        assert (await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_http_1_0_gets_its_stream_without_chunks() -> None:
    async with serving(streaming(three_pieces)) as served, served.client() as client:
        await client.send(b"GET /stream HTTP/1.0\r\n\r\n")
        head, _, body = (await client.end()).partition(b"\r\n\r\n")
        assert b"chunked" not in head
        assert b"Connection: close" in head
        assert body == b"one two " + b"x" * 300_000


async def test_head_of_a_stream_has_no_body_and_ends_the_producer() -> None:
    async def produce(outlet: Outlet) -> None:
        await outlet.start(200, b"")
        while True:
            await outlet.send(b"piece")

    async with serving(streaming(produce)) as served, served.client() as client:
        answer = await client.ask(b"HEAD /stream HTTP/1.1\r\nHost: a\r\n\r\n", b"HEAD")
        assert (answer.status, answer.body) == (200, b"")
        assert (await client.ask(GET)).status == 200


@pytest.mark.parametrize("sent", [True, False])
async def test_the_producer_is_cancelled_when_the_client_goes(sent: bool) -> None:
    cancelled = trio.Event()

    async def produce(outlet: Outlet) -> None:
        try:
            if sent:
                await outlet.start(200, b"")
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async with serving(streaming(produce)) as served:
        async with served.client() as client:
            await client.send(STREAM)
            await until(lambda: served.statistics.streams == 1)
        await cancelled.wait()
        await until(lambda: served.statistics.streams == 0)
        assert served.statistics.connections == 0


async def test_a_client_that_went_before_its_stream_began_leaves_nothing() -> None:
    desk = Desk()
    async with serving(desk) as served:
        async with served.client() as client:
            await client.send(STREAM)
            _, reply = await desk.next()
        async with served.client() as later:
            await later.send(STREAM)
            _, other = await desk.next()  # so the loop has seen what came before: the end of the first client
            other.stream(three_pieces)
            assert (await later.answer()).status == 200
        reply.stream(three_pieces)
        await served.settle(connections=0)
        assert served.statistics.streams == 0


@pytest.mark.parametrize("begun", [True, False])
async def test_a_producer_can_break_its_response_off(begun: bool) -> None:
    async def produce(outlet: Outlet) -> None:
        if begun:
            await outlet.start(200, b"")
            await outlet.send(b"piece")
        await outlet.abort()

    async with serving(streaming(produce)) as served, served.client() as client:
        await client.send(STREAM)
        data = await client.end()
        assert data.endswith(b"piece\r\n") if begun else data == b""


async def test_a_slow_reader_waits_alone() -> None:
    sent = 0

    async def produce(outlet: Outlet) -> None:
        nonlocal sent
        await outlet.start(200, b"")
        while True:
            await outlet.send(b"x" * 65536)
            sent += 65536

    async with serving(streaming(produce)) as served, served.client() as slow, served.client() as quick:
        await slow.send(STREAM)
        before = -1
        while sent != before:  # until the kernel's buffers, which grow for a while, are full
            before = sent
            await trio.sleep(0.05)
        for number in range(100):
            assert (await quick.ask(put(b"/echo", b"%d" % number))).status == 200
        assert sent == before
        assert served.statistics.held_bytes <= 65536 + 16
        while sent == before:
            assert await slow.stream.receive_some(65536)


async def test_a_reader_that_stops_is_cut_off_and_its_producer_cancelled() -> None:
    cancelled = trio.Event()

    async def produce(outlet: Outlet) -> None:
        await outlet.start(200, b"")
        try:
            while True:
                await outlet.send(b"x" * 65536)
        finally:
            cancelled.set()

    async with serving(streaming(produce), QUICK) as served, served.client() as client:
        await client.send(STREAM)
        await cancelled.wait()
        await served.settle(connections=0)
        assert served.statistics.refused == {"slow-reader": 1}
        assert served.statistics.held_bytes == 0


async def test_a_stream_that_says_nothing_has_no_time_limit() -> None:
    speak = trio.Event()

    async def produce(outlet: Outlet) -> None:
        await outlet.start(200, b"")
        await speak.wait()
        await outlet.send(b"at last")

    async with serving(streaming(produce), QUICK) as served, served.client() as waiting, served.client() as idle:
        await waiting.send(STREAM)
        await idle.ask(GET)
        await idle.end()  # every limit of an idle connection has passed
        speak.set()
        assert (await waiting.answer()).body == b"at last"


@pytest.mark.parametrize("fault", ["no start", "two starts", "send first"])
async def test_a_producer_that_breaks_the_contract_is_a_bug(fault: str) -> None:
    async def produce(outlet: Outlet) -> None:
        if fault == "send first":
            await outlet.send(b"x")
        if fault == "two starts":
            await outlet.start(200, b"")
            await outlet.start(200, b"")

    with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match="stream"), flatten_subgroups=True):
        async with serving(streaming(produce)) as served, served.client() as client:
            await client.send(STREAM)
            await trio.sleep_forever()


async def test_hundreds_of_streams_get_every_piece() -> None:
    count, pieces = 300, 50
    channels: list[trio.MemorySendChannel[bytes]] = []

    async def produce(outlet: Outlet) -> None:
        sender, receiver = trio.open_memory_channel[bytes](pieces)
        channels.append(sender)
        await outlet.start(200, b"")
        async for piece in receiver:
            await outlet.send(piece)

    async def watch(served: Served) -> None:
        async with served.client() as client:
            answer = await client.ask(STREAM)
            assert answer.body == b"".join(b"%d\n" % n for n in range(pieces))

    async with serving(streaming(produce)) as served, trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(watch, served)
        await until(lambda: len(channels) == count)
        for number in range(pieces):
            for channel in channels:
                await channel.send(b"%d\n" % number)
        for channel in channels:
            channel.close()
