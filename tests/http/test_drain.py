"""Orderly stop."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from core.api.http import Frontend, Handler, Outlet, Reply, Request, Response, open_tcp
from tests.http.support import GET, PATIENCE_S, Desk, Served, put, until


@asynccontextmanager
async def until_drained(handler: Handler) -> AsyncIterator[Served]:
    """Serve; the block ends only when `serve` has returned by itself."""
    listeners = open_tcp("127.0.0.1", 0)
    frontend = Frontend(handler)
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(frontend.serve, listeners)
            yield Served(frontend, listeners)


async def test_nothing_to_finish_ends_at_once() -> None:
    async with until_drained(Desk()) as served:
        served.frontend.drain(1000)


async def test_drain_before_serve_makes_serve_return() -> None:
    frontend = Frontend(Desk())
    frontend.drain(1000)
    with trio.fail_after(PATIENCE_S):
        await frontend.serve(open_tcp("127.0.0.1", 0))


async def test_idle_connections_close_and_a_request_in_flight_is_finished() -> None:
    desk = Desk()
    async with until_drained(desk) as served, served.client() as idle, served.client() as busy:
        await idle.send(GET)
        (await desk.next())[1].send(Response(200, b"", b""))
        await idle.answer()
        await busy.send(GET + GET)
        _, reply = await desk.next()
        served.frontend.drain(1000)
        served.frontend.drain(1000)
        assert await idle.end() == b""
        with pytest.raises(OSError, match="all attempts to connect"):
            await trio.open_tcp_stream("127.0.0.1", served.port)
        reply.send(Response(200, b"", b"finished"))
        data = await busy.end()
        assert b"\r\nConnection: close\r\n" in data
        assert data.endswith(b"finished")
        assert desk.waiting == []  # the pipelined one was not begun


async def test_a_request_that_was_begun_is_received_and_answered() -> None:
    desk = Desk()
    request = put(b"/", b"x" * 10)
    async with until_drained(desk) as served, served.client() as client:
        await client.send(request[:-5])
        await until(lambda: served.statistics.held_bytes > 0)
        served.frontend.drain(1000)
        await client.send(request[-5:])
        (await desk.next())[1].send(Response(200, b"", b"finished"))
        assert (await client.end()).endswith(b"finished")


async def test_what_is_not_finished_in_time_is_cut_off() -> None:
    desk = Desk()
    async with until_drained(desk) as served, served.client() as client:
        await client.send(GET)
        _, reply = await desk.next()
        served.frontend.drain(0.05)
        assert await client.end() == b""
    reply.send(Response(200, b"", b"too late"))


@pytest.mark.parametrize("begun", [True, False])
async def test_streams_are_cancelled_and_do_not_look_complete(begun: bool) -> None:
    async def produce(outlet: Outlet) -> None:
        if begun:
            await outlet.start(200, b"")
            await outlet.send(b"piece")
        await trio.sleep_forever()

    def handler(request: Request, reply: Reply) -> None:
        reply.stream(produce)

    async with until_drained(handler) as served, served.client() as client:
        await client.send(GET)
        await until(lambda: served.statistics.streams == 1)
        if begun:
            await client.until(b"piece\r\n")
        served.frontend.drain(1000)
        data = await client.end()
        if begun:
            assert data == b""  # no last chunk
        else:
            assert data.startswith(b"HTTP/1.1 503 ")
            assert data.endswith(b"this node is stopping; try again, or another node\n")


async def test_cancelled_it_closes_everything() -> None:
    desk = Desk()
    listeners = open_tcp("127.0.0.1", 0)
    frontend = Frontend(desk)
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(frontend.serve, listeners)
            async with Served(frontend, listeners).client() as client:
                await client.send(GET)
                _, reply = await desk.next()
                nursery.cancel_scope.cancel()
        reply.send(Response(200, b"", b"too late"))
        assert frontend.statistics().connections == 0
