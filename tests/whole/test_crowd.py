"""Many and slow clients: 10,000 that are silent, some that speak a byte at a time, some that never read."""

import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.whole.requests import Client
from tests.whole.servers import HOST, Server

pytestmark = pytest.mark.slow
IDLE = 10_000
BOUND_S = 2.0
"""No request of an honest client may take longer meanwhile, on a busy machine with two cores."""
MIB = 1 << 20


@contextmanager
def open_files(count: int) -> Iterator[None]:
    """Allow this process and its servers `count` open files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[0] < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, max(count, before[1])))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def slowest(client: Client, count: int) -> float:
    """Write and read `count` times; gives the longest a request took, in seconds."""
    longest = 0.0
    for number in range(count):
        begun = time.monotonic()
        assert client.put("/honest", str(number)).status in (200, 201)
        assert client.get("/honest").json["node"]["value"] == str(number)
        longest = max(longest, (time.monotonic() - begun) / 2)
    return longest


def memory(pid: int) -> int:
    """Resident memory of a process, bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def test_ten_thousand_idle_connections(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    with open_files(IDLE + 1000), Server("corenode", tmp_path) as server, Client(server.port) as client:
        slowest(client, 20)
        before = memory(server.pid)
        with ExitStack() as crowd:
            connections = [
                crowd.enter_context(socket.create_connection((HOST, server.port), timeout=10)) for _ in range(IDLE)
            ]
            longest = slowest(client, 200)
            grown = memory(server.pid) - before
            assert longest < BOUND_S
            assert grown < IDLE * 16 * 1024, f"{grown / IDLE:.0f} bytes for an idle connection"
            for connection in connections[:: IDLE // 100]:
                connection.sendall(b"GET /v2/keys/honest HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        assert slowest(client, 20) < BOUND_S
    record_property(
        "checked",
        f"{IDLE} idle connections, {grown / IDLE:.0f} bytes each, slowest other request {longest * 1e3:.0f} ms",
    )


def drip(port: int, stop: threading.Event, answers: list[bytes]) -> None:
    """Send a request one byte a second, as long as the server and the test let it."""
    sent = b"PUT /v2/keys/slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n" + b"v" * 100
    with socket.create_connection((HOST, port), timeout=1) as connection:
        for position in range(len(sent)):
            connection.sendall(sent[position : position + 1])
            if stop.wait(1.0):
                return


def test_a_byte_a_second_bothers_nobody(tmp_path: Path) -> None:
    stop = threading.Event()
    with Server("corenode", tmp_path) as server, Client(server.port) as client:
        clients = [threading.Thread(target=drip, args=(server.port, stop, [])) for _ in range(50)]
        for slow in clients:
            slow.start()
        try:
            until = time.monotonic() + 4
            while time.monotonic() < until:
                assert slowest(client, 20) < BOUND_S
        finally:
            stop.set()
            for slow in clients:
                slow.join()
        assert client.get("/slow").status == 404


def test_clients_that_never_read_cost_bounded_memory(tmp_path: Path) -> None:
    """Each asks for 8 MiB twenty times and reads nothing: 160 MiB each that must not be kept for it."""
    with Server("corenode", tmp_path) as server, Client(server.port, timeout=30) as client:
        for number in range(8):
            assert client.put(f"/big/{number}", "v" * MIB).status == 201
        before = memory(server.pid)
        with ExitStack() as crowd:
            for _ in range(20):
                connection = crowd.enter_context(socket.create_connection((HOST, server.port), timeout=10))
                connection.sendall(b"GET /v2/keys/big?recursive=true HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
            assert slowest(client, 50) < BOUND_S
            grown = memory(server.pid) - before
        assert grown < 600 * MIB, f"{grown / MIB:.0f} MiB"
        assert slowest(client, 20) < BOUND_S
