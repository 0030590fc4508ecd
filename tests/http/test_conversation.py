"""Responses that are sent while the body of their request comes."""

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from core.api.http import Line, Reply, Request, Response, open_tcp
from core.tls import server_context
from tests.http.authority import Authority
from tests.http.support import GET, QUICK, Client, Served, echo, serving, until

PATH = b"/talk"
OPEN = b"POST /talk HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


class Echo:
    """Sends back every piece it gets, and the end of the body as `last`; a piece `end` ends the response."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.turns = 0
        self.over = 0
        self.hungry = True
        self.line: Line | None = None

    def begin(self, line: Line) -> None:
        self.line = line
        line.start(200, b"X: y\r\n")

    def received(self, data: bytes, *, last: bool) -> None:
        self.heard.append(data)
        assert self.line is not None
        self.line.send(b"<%b>" % data + (b"last" if last else b""))
        if data == b"end":
            self.line.end()

    def ready(self) -> None:
        self.turns += 1

    def gone(self) -> None:
        self.over += 1


def talking(*talks: Echo) -> Callable[[Request, Reply], None]:
    """A handler that converses about PATH, each time with the next of `talks`."""
    waiting = list(talks)

    def handler(request: Request, reply: Reply) -> None:
        if request.path == PATH:
            reply.converse(waiting.pop(0))
        else:
            echo(request, reply)

    return handler


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def whole(body: bytes) -> bytes:
    return b"POST /talk HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


async def test_pieces_are_answered_as_they_come() -> None:
    talk = Echo()
    async with serving(talking(talk), paths=(PATH,)) as served, served.client() as client:
        await client.send(OPEN)
        assert b"X: y" in await client.until(b"\r\n\r\n")
        for number in range(20):
            await client.send(chunk(b"piece %d" % number))
            assert (await client.until(b">\r\n")).endswith(b"<piece %d>\r\n" % number)
        await client.send(chunk(b"two")[:4])
        await trio.testing.wait_all_tasks_blocked()
        await client.send(chunk(b"two")[4:] + b"0\r\n\r\n")
        assert b"last" in await client.until(b"last\r\n")
        assert (talk.over, served.statistics.streams) == (0, 1)
    assert talk.over == 1


async def test_a_body_that_is_all_there_comes_with_its_end_and_the_connection_goes_on() -> None:
    talks = [Echo(), Echo()]
    async with serving(talking(*talks), paths=(PATH,)) as served, served.client() as client:
        for talk in talks:
            await client.send(whole(b"end") + GET)
            assert (await client.answer()).body == b"<end>last"
            assert (await client.answer()).text.startswith("GET /echo")
            assert (talk.heard, talk.over) == ([b"end"], 1)
        assert served.statistics.accepted == 1
        assert served.statistics.streams == 0


async def test_a_body_of_known_length_may_come_late() -> None:
    talk = Echo()
    async with serving(talking(talk), paths=(PATH,)) as served, served.client() as client:
        request = whole(b"x" * 100_000 + b"!")
        await client.send(request[:200])
        await client.until(b"\r\n\r\n")
        await client.send(request[200:])
        await client.until(b"last")
        assert b"".join(talk.heard) == b"x" * 100_000 + b"!"


async def test_a_large_body_waits_until_the_client_reads() -> None:
    """Whoever only sends is not read from while what was answered waits."""
    talk = Echo()
    async with serving(talking(talk), paths=(PATH,)) as served, served.client() as client:
        await client.send(OPEN)
        sent = 0
        with trio.move_on_after(0.5):
            while True:
                await client.send(chunk(b"x" * 10_000))
                sent += 10_000
        assert served.statistics.held_bytes < 100_000
        heard = len(b"".join(talk.heard))
        assert heard < sent + 10_000
        read = b""
        while read.count(b"x") < sent:
            read += await client.stream.receive_some(65536)
        assert len(b"".join(talk.heard)) >= sent


async def test_whoever_is_not_hungry_is_not_fed() -> None:
    talk = Echo()
    async with serving(talking(talk), paths=(PATH,)) as served, served.client() as client:
        await client.send(OPEN)
        await client.until(b"\r\n\r\n")
        talk.hungry = False
        await client.send(chunk(b"food"))
        await trio.sleep(0.02)
        assert talk.heard == []
        talk.hungry = True
        assert talk.line is not None
        talk.line.wake()
        await client.until(b"<food>")


async def test_other_answers_to_an_open_request_close_the_connection() -> None:
    def refuse(request: Request, reply: Reply) -> None:
        reply.send(Response(405, b"", b"no"))

    async def is_refused(client: Client) -> None:
        await client.send(OPEN + chunk(b"unread"))
        answer = await client.answer()
        assert (answer.status, answer.headers[b"connection"]) == (405, b"close")
        assert await client.end() == b""

    async with serving(refuse, paths=(PATH,)) as served, served.client() as client:
        await is_refused(client)


async def test_an_answer_may_come_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks may have to be found out first; the body waits unread."""
    talk = Echo()
    replies: list[Reply] = []

    def later(request: Request, reply: Reply) -> None:
        replies.append(reply)

    async with serving(later, paths=(PATH,)) as served, served.client() as client:
        await client.send(OPEN + chunk(b"early"))
        await until(lambda: bool(replies))
        await client.send(chunk(b"later"))
        await trio.sleep(0.05)
        replies[0].converse(talk)
        await client.until(b"later")
        assert b"".join(talk.heard) == b"earlylater"


@pytest.mark.parametrize("tail", [b"zz\r\n", b"5\r\nabc"])
async def test_a_body_that_breaks_ends_it(tail: bytes) -> None:
    talk = Echo()
    async with serving(talking(talk), paths=(PATH,)) as served:
        async with served.client() as client:
            await client.send(OPEN)
            await client.until(b"\r\n\r\n")
            await client.send(tail)
            if tail.startswith(b"5"):
                await client.stream.aclose()
            await until(lambda: talk.over == 1)
        assert served.statistics.streams == 0


async def test_a_turn_is_given_for_each_call_for_it_and_not_to_whoever_is_not_free() -> None:
    talk = Echo()
    async with serving(talking(talk), paths=(PATH,)) as served, served.client() as client:
        await client.send(OPEN)
        await client.until(b"\r\n\r\n")
        line = talk.line
        assert line is not None
        line.wake()
        line.wake()
        await until(lambda: talk.turns == 1)
        while line.free:
            line.send(b"x" * 100_000)
        line.wake()
        await trio.sleep(0.02)
        assert talk.turns == 1
        while not line.free:
            await client.stream.receive_some(65536)
        await until(lambda: talk.turns == 2)


async def test_a_client_that_does_not_read_is_cut_off() -> None:
    talk = Echo()
    async with serving(talking(talk), QUICK, paths=(PATH,)) as served, served.client() as client:
        await client.send(OPEN)
        await client.until(b"\r\n\r\n")
        assert talk.line is not None
        while talk.line.free:
            talk.line.send(b"x" * 100_000)
        await until(lambda: talk.over == 1)
        assert served.statistics.refused["slow-reader"] == 1
        talk.line.send(b"more")
        talk.line.wake()


async def test_a_quiet_conversation_has_no_time_limit() -> None:
    talk = Echo()
    async with serving(talking(talk), QUICK, paths=(PATH,)) as served, served.client() as client:
        await client.send(OPEN)
        await client.until(b"\r\n\r\n")
        await trio.sleep(0.5)
        await client.send(chunk(b"still"))
        await client.until(b"<still>")


async def test_a_turn_may_be_asked_for_later() -> None:
    talk = Echo()
    async with serving(talking(talk), QUICK, paths=(PATH,)) as served, served.client() as client:
        await client.send(OPEN)
        await client.until(b"\r\n\r\n")
        assert talk.line is not None
        for turn in (1, 2):
            began = trio.current_time()
            talk.line.wake_in(0.1)
            await until(lambda turn=turn: talk.turns == turn)  # type: ignore[misc]
            assert trio.current_time() - began >= 0.1
            talk.line.send(b"two", b"pieces")
            assert b"3\r\ntwo\r\n6\r\npieces\r\n" in await client.until(b"pieces\r\n")


async def test_it_works_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key, _ = authority.issue("server")
    context = server_context(certificate, key, authority.file)
    trusting = ssl.create_default_context(cafile=authority.file)
    talk = Echo()
    async with serving(talking(talk), listeners=open_tcp("127.0.0.1", 0, context), paths=(PATH,)) as served:
        stream = await trio.open_ssl_over_tcp_stream("127.0.0.1", served.port, ssl_context=trusting)
        async with stream:
            client = Client(stream)
            await client.send(OPEN)
            await client.until(b"\r\n\r\n")
            for size in (1, 100, 60_000):
                await client.send(chunk(b"x" * size) + chunk(b"!"))
                await client.until(b"!>\r\n")
            await client.send(b"0\r\n\r\n")
            await client.until(b"last")
        assert b"".join(talk.heard) == b"x!" + b"x" * 100 + b"!" + b"x" * 60_000 + b"!"
        await until(lambda: talk.over == 1)


async def test_draining_cuts_it_off() -> None:
    talk = Echo()
    async with serving(talking(talk), paths=(PATH,)) as served, served.client() as client:
        await client.send(OPEN)
        await client.until(b"\r\n\r\n")
        drain(served)
        assert await client.end() == b""
        assert talk.over == 1


def drain(served: Served) -> None:
    served.frontend.drain(5)
