"""Health checks against real sockets and programs, and the journal on a real disk."""

import random
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path

import pytest
import trio

from core.agent.executor import ExecutorError
from core.agent.journal import Journal, JournalFile, Mark
from core.agent.probes import probe
from core.sched.health import Health, parse
from core.sched.records import Generation
from tests.units.executor import FakeExecutor, FakeHost


class Commands(FakeExecutor):
    """Units whose commands are known."""

    def __init__(self) -> None:
        super().__init__(FakeHost("1" * 32, [], random.Random(1)))

    async def check(self, name: str, command: Sequence[str], seconds: float) -> str:
        if command == ("/bin/true",):
            return ""
        raise ExecutorError(f"check {name}", "it is not loaded")


@pytest.fixture
async def server() -> AsyncIterator[int]:
    """Answers `GET /ok` with 200, `/bad` with 503, `/silent` not at all, anything else with noise."""

    async def serve(stream: trio.SocketStream) -> None:
        head = await stream.receive_some()
        if head.startswith(b"GET /silent"):
            await trio.sleep_forever()
        status = b"200 OK" if head.startswith(b"GET /ok") else b"503 Busy"
        noise = not head.startswith((b"GET /ok", b"GET /bad"))
        await stream.send_all(b"noise\r\n\r\n" if noise else b"HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n" % status)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("check", "why"),
    [
        ("http://127.0.0.1:PORT/ok", ""),
        ("http://127.0.0.1:PORT/bad", "503"),
        ("http://127.0.0.1:PORT/noise", "no HTTP"),
        ("http://127.0.0.1:PORT/silent timeout=200ms", "no answer within 0.2 s"),
        ("http://127.0.0.1:1/", "127.0.0.1:1"),
        ("tcp://127.0.0.1:PORT", ""),
        ("tcp://127.0.0.1:1", "127.0.0.1:1"),
        ("exec:/bin/true", ""),
        ("exec:/bin/false", "could not check web.service: it is not loaded"),
        ("tcp://a..b:1", "label"),
        (f"http://{'a' * 300}/", "label"),
    ],
)
async def test_a_check_passes_or_says_why_not(server: int, check: str, why: str) -> None:
    found = await probe(Commands(), "web.service", parse(check.replace("PORT", str(server))))
    assert (why in found) if why else (found == "")


@pytest.mark.parametrize("target", ["http://127.0.0.1:1/\u00e9", "http://127.0.0.1:1/a b"])
async def test_what_no_parser_should_have_let_through_fails_the_check_alone(target: str) -> None:
    assert target in await probe(Commands(), "web.service", Health("http", target))


async def test_a_journal_comes_back(tmp_path: Path) -> None:
    file = JournalFile(tmp_path / "agent.json")
    assert await file.read() == Journal()
    written = Journal(("a",), "boot", Generation("c", 3), 17, {"web.service": Mark("t", 1)})
    await file.write(written)
    assert await file.read() == written
    place = trio.Path(tmp_path)
    assert [path.name for path in await place.iterdir()] == ["agent.json"]
    await (place / "agent.json").write_bytes(b"\0\0\0")
    assert await file.read() == Journal()
