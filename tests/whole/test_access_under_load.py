"""Rights that are taken away while many write: from the moment of the answer nobody without them writes."""

import http.client
import json
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.whole.servers import HOST, Server

pytestmark = pytest.mark.slow
WRITERS = 8
ROUNDS = 5


def administer(server: Server, method: str, target: str, body: object = None) -> None:
    """Over the unix socket."""
    connection = http.client.HTTPConnection(HOST, timeout=10)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(server.data / "corenode.sock"))
    connection.request(method, target, b"" if body is None else json.dumps(body).encode())
    response = connection.getresponse()
    text = response.read()
    connection.close()
    assert response.status in (200, 201), text


class Writer(threading.Thread):
    """Writes without credentials, and notes when each write was begun and how it was answered."""

    def __init__(self, server: Server, name: str) -> None:
        super().__init__(daemon=True)
        self.answers: list[tuple[float, int]] = []
        self.over = threading.Event()
        self._server = server
        self._key = name

    def run(self) -> None:
        connection = http.client.HTTPConnection(HOST, self._server.port, timeout=10)
        while not self.over.is_set():
            begun = time.monotonic()
            connection.request("PUT", f"/v2/keys/{self._key}?value=1")
            response = connection.getresponse()
            response.read()
            self.answers.append((begun, response.status))
        connection.close()


def test_no_write_succeeds_after_the_right_to_it_is_gone(tmp_path: Path) -> None:
    rights = {"kv": {"write": ["/*"]}}
    with Server("corenode", tmp_path) as server:
        administer(server, "PUT", "/v2/auth/users/root", {"user": "root", "password": "secret"})
        writers = [Writer(server, f"w{number}") for number in range(WRITERS)]
        for writer in writers:
            writer.start()
        forbidden: list[tuple[float, float]] = []
        """From an answer that took the right away to the request that gave it back."""
        for number in range(ROUNDS):
            time.sleep(0.1)
            if number == 0:
                administer(server, "PUT", "/v2/auth/enable")
            administer(server, "PUT", "/v2/auth/roles/guest", {"role": "guest", "revoke": rights})
            gone = time.monotonic()
            time.sleep(0.1)
            forbidden.append((gone, time.monotonic()))
            administer(server, "PUT", "/v2/auth/roles/guest", {"role": "guest", "grant": rights})
        for writer in writers:
            writer.over.set()
        for writer in writers:
            writer.join(10)
    answers = [answer for writer in writers for answer in writer.answers]
    within = [status for begun, status in answers if any(gone < begun < back for gone, back in forbidden)]
    assert len(within) > ROUNDS * WRITERS
    assert set(within) <= {401, 200}
    # A request begun just before the right came back may be answered after it.
    early = [status for begun, status in answers if any(gone < begun < back - 0.05 for gone, back in forbidden)]
    assert set(early) == {401}
    assert {status for _, status in answers} == {200, 201, 401}
