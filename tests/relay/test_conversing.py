"""A watch through a worker whose request stays open: messages and events pass as they come."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from core.api.http import Frontend, open_tcp
from core.client.endpoints import parse
from core.kv.commands import Put
from core.relay import OPENED, Relay, Upstreams
from tests.v3.watching import Stream, Watched, create
from tests.whole.servers import HOST


@asynccontextmanager
async def worker(*members: int) -> AsyncIterator[int]:
    """A worker's port before members at these."""
    listeners = open_tcp("127.0.0.1", 0)
    async with trio.open_nursery() as nursery:
        async with Upstreams([parse(f"http://{HOST}:{port}") for port in members], None) as upstreams:
            frontend = Frontend(Relay(upstreams, nursery), opened=OPENED)
            await nursery.start(frontend.serve, listeners)
            yield listeners[0].port
        nursery.cancel_scope.cancel()


async def test_watches_are_opened_and_closed_while_events_flow() -> None:
    world = Watched()
    async with world.served() as member, worker(1, member) as port, await Stream.begin(port, "watch") as stream:
        await stream.say(create(b"/a"))
        assert (await stream.next())["created"] is True
        world.apply(Put(b"/a", b"1"))
        assert (await stream.next())["events"][0]["kv"]["value"] == "MQ=="
        await stream.say(create(b"/b"))
        second = await stream.next()
        assert second["created"] is True
        world.apply(Put(b"/b", b"2"))
        told = await stream.next()
        assert (told["watch_id"], told["events"][0]["kv"]["value"]) == (second["watch_id"], "Mg==")
        await stream.say({"cancel_request": {"watch_id": second["watch_id"]}})
        assert (await stream.next())["canceled"] is True
        assert world.hub.open == 1
    with trio.fail_after(5):
        while world.hub.open:  # noqa: ASYNC110 - the worker lets go of what its client let go of
            await trio.sleep(0.01)


async def test_a_request_that_is_whole_is_answered_too() -> None:
    world = Watched()
    async with world.served() as member, worker(member) as port, await Stream.open(port, "watch", create(b"/a")) as one:
        assert (await one.next())["created"] is True
        world.apply(Put(b"/a", b"1"))
        assert (await one.next())["events"][0]["kv"]["value"] == "MQ=="


async def test_what_cannot_go_on_is_told() -> None:
    async with worker(1) as port, await Stream.open(port, "watch", create(b"/a")) as stream:
        told = await stream.line()
        assert told is not None
        assert (told["error"]["grpc_code"], "no member" in told["error"]["message"]) == (14, True)


@pytest.mark.parametrize("said", [b"", b"noise\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}\n"])
async def test_a_member_that_breaks_off_or_talks_nonsense(said: bytes) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(said)
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, serve, 0)
        member = listeners[0].socket.getsockname()[1]
        async with worker(member) as port, await Stream.begin(port, "watch") as stream:
            await stream.say(create(b"/a"))
            told = await stream.line() or {}
            while "error" not in told:
                told = await stream.line() or {}
        assert told["error"]["grpc_code"] == 14
        nursery.cancel_scope.cancel()


async def test_who_reads_slowly_or_talks_without_end_makes_nothing_grow() -> None:
    """The member takes nothing: after some 64 KiB the client's messages are not read any longer."""

    async def serve(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, serve, 0)
        member = listeners[0].socket.getsockname()[1]
        async with worker(member) as port, await Stream.begin(port, "watch") as stream:
            sent = 0
            with trio.move_on_after(1.5):
                while sent < 64 << 20:
                    await stream.say(b" " * 65_536)
                    sent += 65_536
            assert sent < 32 << 20
        nursery.cancel_scope.cancel()
