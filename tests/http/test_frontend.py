"""Requests and responses on a real connection."""

import contextlib
import shutil
import time
from pathlib import Path

import pytest
import trio
import trio.testing

from core.api.http import Frontend, Reply, Request, Response, open_tcp
from core.api.http.frontend import SLICE_S
from tests.http.support import GET, QUICK, Desk, echo, put, serving
from tests.http.test_judge import CHUNKED


async def test_a_connection_serves_request_after_request() -> None:
    async with serving(echo) as served, served.client() as client:
        for number in range(3):
            answer = await client.ask(put(b"/a?b=%d" % number, b"value"))
            assert answer.status == 200
            assert answer.text == f"PUT /a ? b={number}\nhost=a\ncontent-length=5\n\nvalue"
            assert set(answer.headers) == {b"date", b"content-length", b"content-type"}
        assert served.statistics.accepted == 1
        assert served.statistics.requests_recognised == 3


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with serving(echo) as served, served.client() as client:
        count = 1000
        requests = b"".join(put(b"/%d" % n, b"v" * (n % 50)) if n % 7 else CHUNKED for n in range(count))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send, requests)
            for number in range(count):
                answer = await client.answer()
                path = f"/{number}" if number % 7 else "/"
                assert answer.text.startswith(f"PUT {path} ")


async def test_the_next_request_waits_until_the_one_before_is_answered() -> None:
    desk = Desk()
    async with serving(desk) as served, served.client() as client:
        await client.send(put(b"/1", b"") + put(b"/2", b""))
        for number in (b"1", b"2"):
            request, reply = await desk.next()
            assert request.path == b"/" + number
            await trio.testing.wait_all_tasks_blocked()
            assert desk.waiting == []
            reply.send(Response(200, b"", number))
            assert (await client.answer()).body == number


async def test_a_reply_may_be_given_once() -> None:
    desk = Desk()
    async with serving(desk) as served, served.client() as client:
        await client.send(GET)
        _, reply = await desk.next()
        reply.send(Response(200, b"", b"one"))
        with pytest.raises(RuntimeError, match="twice"):
            reply.send(Response(200, b"", b"two"))


async def test_an_answer_to_a_client_that_has_gone_is_dropped() -> None:
    desk = Desk()
    async with serving(desk) as served:
        async with served.client() as client:
            await client.send(GET)
            _, reply = await desk.next()
            client.reset_on_close()
        await served.settle(connections=0)
        reply.send(Response(200, b"", b"late"))


async def test_a_client_that_ends_its_half_still_gets_its_answer() -> None:
    desk = Desk()
    async with serving(desk) as served, served.client() as client:
        await client.send(GET)
        await client.stream.send_eof()  # type: ignore[attr-defined]
        _, reply = await desk.next()
        reply.send(Response(200, b"", b"here"))
        assert (await client.end()).endswith(b"here")


@pytest.mark.parametrize("request_", [GET, CHUNKED, put(b"/echo", b"value"), put(b"/big", b"x" * 100_000)])
async def test_a_request_that_comes_byte_by_byte_is_the_same(request_: bytes) -> None:
    async with serving(echo) as served, served.client() as client:
        whole = await client.ask(request_)
        for byte in request_[:500]:
            await client.send(bytes([byte]))
        await client.send(request_[500:])
        slow = await client.answer()
        assert (slow.status, slow.body) == (whole.status, whole.body) == (200, whole.body)


async def test_100_continue_is_sent_when_the_body_is_waited_for() -> None:
    async with serving(echo) as served, served.client() as client:
        await client.send(b"PUT /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert await client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert (await client.ask(b"value")).text.endswith("\n\nvalue")
        assert served.statistics.requests_judged == 1


async def test_no_100_continue_for_a_body_that_will_be_refused() -> None:
    async with serving(echo) as served, served.client() as client:
        await client.send(b"PUT /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9999999\r\n\r\n")
        assert (await client.end()).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("status", [200, 204, 304, 404, 799])
async def test_head_and_bodiless_statuses_leave_the_connection_in_step(status: int) -> None:
    def handler(request: Request, reply: Reply) -> None:
        reply.send(Response(status, b"X: y\r\n", b"" if status in (204, 304) else b"body"))

    async with serving(handler) as served, served.client() as client:
        for method in (b"HEAD", b"GET", b"HEAD", b"GET"):
            answer = await client.ask(b"%b / HTTP/1.1\r\nHost: a\r\n\r\n" % method, method)
            assert (answer.status, answer.headers[b"x"]) == (status, b"y")
            assert answer.headers.get(b"content-length") == (None if status in (204, 304) else b"4")
            assert answer.body == (b"" if status in (204, 304) or method == b"HEAD" else b"body")


@pytest.mark.parametrize("end", [b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b" HTTP/1.0\r\n\r\n"])
async def test_the_connection_closes_when_the_client_does_not_keep_it(end: bytes) -> None:
    async with serving(echo) as served, served.client() as client:
        await client.send(b"GET /" + end)
        data = await client.end()
        assert data.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"\r\nConnection: close\r\n" in data


async def test_a_large_response_arrives_whole() -> None:
    body = bytes(range(256)) * 40_000

    def handler(request: Request, reply: Reply) -> None:
        reply.send(Response(200, b"", body))

    async with serving(handler) as served, served.client() as client:
        for _ in range(2):
            assert (await client.ask(GET)).body == body
        assert served.statistics.held_bytes == 0


async def test_a_malformed_request_is_answered_and_the_connection_closed() -> None:
    async with serving(echo, QUICK) as served, served.client() as client:
        await client.send(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n" + GET)
        data = await client.end()
        assert data.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert data.endswith(b"\r\n\r\nmalformed request: illegal header line\n")
        assert served.statistics.refused == {"400": 1}
        await served.settle(connections=0)


async def test_what_the_handler_raises_ends_the_server() -> None:
    def handler(request: Request, reply: Reply) -> None:
        raise ZeroDivisionError

    listeners = open_tcp("127.0.0.1", 0)
    with pytest.RaisesGroup(pytest.RaisesExc(ZeroDivisionError), flatten_subgroups=True):
        async with serving(handler, listeners=listeners) as served, served.client() as client:
            await client.send(GET)
            await trio.sleep_forever()


async def test_one_busy_pipelining_client_does_not_starve_another() -> None:
    seen: list[bytes] = []

    def handler(request: Request, reply: Reply) -> None:
        seen.append(request.path)
        reply.send(Response(200, b"", b""))

    async with serving(handler) as served, served.client() as greedy, served.client() as modest:
        await greedy.ask(GET)
        await modest.ask(GET)
        seen.clear()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(greedy.send, put(b"/greedy", b"") * 20_000)
            nursery.start_soon(greedy.answer)
            for _ in range(10):
                await modest.ask(put(b"/modest", b""))
            nursery.cancel_scope.cancel()
        assert seen.count(b"/modest") == 10
        assert seen.count(b"/greedy") < 20_000


async def test_slow_handlers_do_not_keep_other_tasks_waiting_for_a_whole_batch() -> None:
    served_now = 0

    def handler(request: Request, reply: Reply) -> None:
        nonlocal served_now
        time.sleep(0.001)
        served_now += 1
        reply.send(Response(200, b"", b""))

    async with serving(handler) as served, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(served.client()) for _ in range(50)]
        for client in clients:
            await client.ask(GET)
        for client in clients:  # all at once: the server has no turn in between
            client.send_nowait(put(b"/", b"") * 2)
        most, before = 0, served_now
        while served_now < 150:
            await trio.lowlevel.checkpoint()
            most, before = max(most, served_now - before), served_now
        assert most <= 2 * (SLICE_S / 0.001 + 1)


async def test_a_frontend_without_clients_has_nothing_to_count() -> None:
    statistics = Frontend(echo).statistics()
    assert statistics.connections == statistics.accepted == statistics.held_bytes == 0


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs the Debian package curl")
async def test_curl_speaks_with_it(tmp_path: Path) -> None:
    upload = tmp_path / "upload"
    upload.write_bytes(b"z" * 1_500_000)
    huge = tmp_path / "huge"
    huge.write_bytes(b"z" * 30_000_000)
    async with serving(echo) as served:
        url = f"http://127.0.0.1:{served.port}/a"
        words = ["-s", "--write-out", "%{response_code}", "--output", str(tmp_path / "out")]

        async def curl(*arguments: str) -> int:
            done = await trio.run_process(["curl", *words, *arguments], capture_stdout=True)
            return int(done.stdout)

        assert await curl(url) == 200
        assert await curl("-T", str(upload), url) == 200  # Expect: 100-continue
        assert (tmp_path / "out").read_bytes().endswith(b"\n\n" + upload.read_bytes())
        assert await curl("-T", str(upload), "-H", "Transfer-Encoding: chunked", url) == 200
        assert (tmp_path / "out").read_bytes().endswith(b"\n\n" + upload.read_bytes())
        assert await curl("-T", str(huge), "-H", "Expect:", url) == 413
        assert await curl("--http1.0", url) == 200
        assert await curl("--http2", url) == 200
        assert await curl("-I", url) == 200


async def test_http_1_0_keeps_the_connection_if_it_asks() -> None:
    async with serving(echo) as served, served.client() as client:
        for _ in range(3):
            await client.send(b"GET /a HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
            answer = await client.answer()
            assert (answer.status, answer.headers[b"connection"]) == (200, b"keep-alive")
        await client.send(b"GET /a HTTP/1.0\r\n\r\n")
        assert (await client.answer()).headers[b"connection"] == b"close"
        assert await client.end() == b""
