"""Ten thousand idle connections while others are served."""

import contextlib
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from tests.http.support import Client, put

IDLE = 10_000
BYTES_EACH_MAX = 2048
"""Resident memory of the server for each idle connection. Measured: some 500 bytes."""

SERVER = """
import os, resource, sys, trio
from core.api.http import *

def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()

def answer(request, reply):
    statistics = frontend.statistics()
    reply.send(Response(200, b"", b"%d %d\\n" % (statistics.connections, resident())))

frontend = Frontend(answer)
(listener,) = open_tcp("127.0.0.1", 0)
print(listener.port, flush=True)
trio.run(frontend.serve, [listener])
"""


async def ask(client: Client) -> tuple[int, int]:
    """Open connections and resident bytes of the server."""
    found = re.fullmatch(rb"(\d+) (\d+)\n", (await client.ask(put(b"/", b"x" * 64))).body)
    assert found is not None
    return int(found[1]), int(found[2])


@pytest.fixture
def port() -> Iterator[int]:
    """The port of a server in a process of its own."""
    process = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def files() -> Iterator[None]:
    """As many open files as the crowd needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < IDLE + 500:
        pytest.skip(f"needs {IDLE + 500} open files, the limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
@pytest.mark.usefixtures("files")
async def test_ten_thousand_idle_connections(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    async with contextlib.AsyncExitStack() as crowd:
        with trio.fail_after(60):
            client = Client(await crowd.enter_async_context(await trio.open_tcp_stream("127.0.0.1", port)))
            _, before = await ask(client)
            for _ in range(IDLE):
                sock = crowd.enter_context(trio.socket.socket())
                await sock.connect(("127.0.0.1", port))
            while (await ask(client))[0] < IDLE + 1:
                pass
            each = ((await ask(client))[1] - before) / IDLE
            start = trio.current_time()
            for _ in range(1000):
                await ask(client)
            rate = 1000 / (trio.current_time() - start)
    assert each < BYTES_EACH_MAX
    with capsys.disabled():
        print(f"\n{IDLE} idle connections: {each:.0f} bytes each; another client meanwhile: {rate:.0f} requests/s")
