"""Every limit costs the connection that exceeds it, and no other."""

import errno
import os
import resource
from pathlib import Path

import msgspec
import pytest
import trio

from core.api.http import Limits, Reply, Request, Response, open_tcp, open_unix
from core.api.http.frontend import FILES_RESERVED
from core.api.http.wire import Heads, http_date
from tests.http.support import GET, QUICK, Client, Desk, echo, put, serving, until

LIMITS = Limits(target_max=4096, head_max=8192, body_max=20_000)

TOO_BIG = {
    "target": (b"GET /" + b"a" * 4096 + b" HTTP/1.1\r\nHost: a\r\n\r\n", b"414 Request-URI Too Long"),
    "head": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 9000 + b"\r\n\r\n", b"431 Request Header Fields Too Large"),
    "body": (put(b"/", b"x" * 20_001), b"413 Request Entity Too Large"),
    "endless body": (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", b"413 "),
}


@pytest.mark.parametrize("name", TOO_BIG)
async def test_what_is_too_big_is_refused_and_the_rest_served(name: str) -> None:
    data, status = TOO_BIG[name]
    async with serving(echo, LIMITS) as served, served.client() as good, served.client() as bad:
        await good.ask(GET)
        await bad.send(data)
        assert (await bad.end()).startswith(b"HTTP/1.1 " + status[:4])
        assert (await good.ask(GET)).status == 200


async def test_a_small_limit_holds_for_small_bodies_too() -> None:
    async with serving(echo, Limits(body_max=10)) as served, served.client() as client:
        assert (await client.ask(put(b"/", b"x" * 10))).status == 200
        await client.send(put(b"/", b"x" * 11))
        assert (await client.answer()).text == "request body is larger than 10 bytes\n"


async def test_the_largest_allowed_is_served() -> None:
    async with serving(echo, LIMITS) as served, served.client() as client:
        assert (await client.ask(put(b"/", b"x" * 20_000))).body.endswith(b"x" * 20_000)
        assert (await client.ask(b"GET /" + b"a" * 4095 + b" HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200


async def test_a_body_is_refused_before_it_is_sent_and_the_refusal_can_be_read() -> None:
    """The client sends on for a while: a reset must not overtake the answer."""
    async with serving(echo, LIMITS) as served, served.client() as client:
        await client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n" + b"x" * 9_999_999)
        assert (await client.answer()).text == "request body is larger than 20000 bytes\n"


async def drip(stream: trio.abc.Stream, data: bytes) -> None:
    """One byte at a time, for ever."""
    try:
        while True:
            for byte in data:
                await stream.send_all(bytes([byte]))
                await trio.sleep(0.005)
    except trio.BrokenResourceError:
        pass


@pytest.mark.parametrize(
    "data",
    [
        b"GET /" + b"a" * 2000,
        b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n" + b"x" * 900,
        b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 500,
    ],
)
async def test_a_client_that_sends_byte_by_byte_has_bounded_time(data: bytes) -> None:
    async with serving(echo, QUICK) as served, served.client() as slow:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(drip, slow.stream, data)
            answer = await slow.answer()
            nursery.cancel_scope.cancel()
        assert answer.status == 408
        assert answer.text == "the request was not complete after 0.2 seconds\n"
        await served.settle(connections=0)
        assert served.statistics.held_bytes == 0


async def test_idle_connections_are_closed_and_waiting_ones_are_not() -> None:
    desk = Desk()
    async with serving(desk, QUICK) as served, served.client() as waiting, served.client() as idle:
        await waiting.send(GET)
        _, reply = await desk.next()
        assert await idle.end() == b""
        assert served.statistics.refused == {"idle": 1}
        reply.send(Response(200, b"", b"late"))
        assert (await waiting.answer()).body == b"late"
        assert await waiting.end() == b""


async def test_a_client_that_does_not_take_its_response_is_cut_off() -> None:
    def handler(request: Request, reply: Reply) -> None:
        reply.send(Response(200, b"", b"x" * 20_000_000))

    async with serving(handler, QUICK) as served, served.client() as client:
        await client.send(GET)
        await client.until(b"HTTP/1.1 200 OK")
        await served.settle(connections=0)
        assert served.statistics.refused == {"slow-reader": 1}
        assert served.statistics.held_bytes == 0


async def test_unsent_responses_together_are_bounded() -> None:
    def handler(request: Request, reply: Reply) -> None:
        reply.send(Response(200, b"", b"x" * 20_000_000))

    async with serving(handler, Limits(held_max=50_000_000)) as served, trio.open_nursery() as nursery:

        async def ask_and_never_read() -> None:
            async with served.client() as client:
                await client.send(GET)
                await trio.sleep_forever()

        for _ in range(6):
            nursery.start_soon(ask_and_never_read)
        await until(lambda: served.statistics.refused.get("memory", 0) + served.statistics.connections == 6)
        await until(lambda: served.statistics.refused.get("memory", 0) >= 3)
        assert served.statistics.held_bytes <= 50_000_000
        nursery.cancel_scope.cancel()


async def test_unfinished_requests_together_are_bounded() -> None:
    limits = Limits(held_max=100_000)
    async with serving(echo, limits) as served, served.client() as first, served.client() as second:
        part = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 90000\r\n\r\n" + b"x" * 80_000
        await first.send(part)
        await until(lambda: served.statistics.held_bytes >= 80_000)
        await second.send(part)
        answer = await second.answer()
        assert (answer.status, answer.text[:28]) == (503, "too many unfinished requests")
        assert (await first.ask(b"x" * 10_000)).status == 200
        assert served.statistics.held_bytes == 0


async def test_connections_beyond_the_limit_are_told_so() -> None:
    async with serving(echo, Limits(connections_max=2)) as served, served.client() as one, served.client() as two:
        await one.ask(GET)
        await two.ask(GET)
        async with served.client() as three:
            assert (await three.end()).startswith(b"HTTP/1.1 503 ")
        assert (await one.ask(GET)).status == 200
        await two.stream.aclose()
        await served.settle(connections=1)
        async with served.client() as four:
            assert (await four.ask(GET)).status == 200


@pytest.mark.parametrize(
    "part", [b"", b"GET / HTTP/1.1\r\n", b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"]
)
async def test_who_never_sent_a_whole_request_makes_room_for_others(part: bytes) -> None:
    async with serving(echo, Limits(connections_max=3)) as served, served.client() as known, served.client() as oldest:
        await known.ask(GET)
        async with served.client() as newer:
            for client in (oldest, newer):
                await client.send(part)
            await until(lambda: served.statistics.accepted == 3)
            async with served.client() as fourth:
                assert await oldest.end() == b""
                assert (await fourth.ask(GET)).status == 200
                assert (await known.ask(GET)).status == 200
                assert served.statistics.refused == {"newcomer": 1}
                assert served.statistics.connections == 3


async def test_an_operator_gets_in_by_the_unix_socket_when_all_is_full(tmp_path: Path) -> None:
    listeners = [*open_tcp("127.0.0.1", 0), open_unix(tmp_path / "s")]
    async with serving(echo, Limits(connections_max=1), listeners) as served, served.client() as one:
        await one.ask(GET)
        async with served.client() as two:
            assert (await two.end()).startswith(b"HTTP/1.1 503 ")
        async with await trio.open_unix_socket(tmp_path / "s") as operator:
            assert (await Client(operator).ask(GET)).status == 200


async def test_when_files_run_out_it_waits_without_spinning(monkeypatch: pytest.MonkeyPatch) -> None:
    listeners = open_tcp("127.0.0.1", 0)
    accept, tries = listeners[0].accept, 0

    def no_files() -> object:
        nonlocal tries
        tries += 1
        if tries <= 3:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return accept()

    monkeypatch.setattr(listeners[0], "accept", no_files)
    async with serving(echo, QUICK, listeners) as served, served.client() as client:
        assert (await client.ask(GET)).status == 200
        # One try a sweep, the one that succeeded, and one that found nobody else waiting.
        assert tries == 5
        assert served.statistics.refused == {"files": 3}


async def test_the_limit_on_open_files_is_raised_as_far_as_needed() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (300, hard))
        async with serving(echo, Limits(connections_max=500)):
            assert resource.getrlimit(resource.RLIMIT_NOFILE) == (500 + FILES_RESERVED, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_reset_in_the_middle_of_a_request_leaves_nothing() -> None:
    async with serving(echo) as served:
        async with served.client() as client:
            await client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nx")
            await until(lambda: served.statistics.held_bytes > 0)
            client.reset_on_close()
        await served.settle(connections=0)
        assert served.statistics.held_bytes == 0


@pytest.mark.parametrize(
    "wrong", [{"target_max": 100}, {"body_max": 0}, {"head_max": 5000}, {"idle_s": 0.0}, {"connections_max": 0}]
)
def test_limits_that_contradict_each_other_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        msgspec.structs.replace(Limits(), **wrong)


def test_dates_are_those_of_rfc_9110() -> None:
    assert http_date(784_111_777.9) == b"Sun, 06 Nov 1994 08:49:37 GMT"
    heads = Heads(784_111_777)
    assert heads[200].endswith(b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n")
    heads.set_date(784_111_778)
    assert heads[200] == b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:38 GMT\r\n"
