"""The orderly end on SIGTERM, the reload on SIGHUP."""

import http.client
import json
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.whole.requests import Client
from tests.whole.servers import HOST, Server

pytestmark = pytest.mark.slow
BODY = b"value=in+flight"
HEAD = (
    b"PUT /v2/keys/a HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    b"Content-Length: %d\r\n\r\n" % len(BODY)
)


def until_refused(port: int) -> None:
    """Wait until no new connection is taken."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            return
        time.sleep(0.01)
    raise AssertionError("still takes connections")


def rest(reply: http.client.HTTPResponse) -> bytes:
    """What still comes of a body, whether it is ended or torn off; etcd tears off, too, and feigns no event."""
    try:
        return reply.read()
    except http.client.IncompleteRead as torn:
        return torn.partial


def test_sigterm_answers_what_is_in_flight_and_ends_with_0(tmp_path: Path) -> None:
    with Server("corenode", tmp_path) as server:
        with socket.create_connection((HOST, server.port), timeout=10) as half:
            half.sendall(HEAD + BODY[:5])
            with Client(server.port) as client:
                assert client.get("/").status == 200  # so the half request has arrived, too
            server.signal(signal.SIGTERM)
            until_refused(server.port)
            assert server.running()
            half.sendall(BODY[5:])
            reply = http.client.HTTPResponse(half)
            reply.begin()
            assert reply.status == 201
            index = json.loads(reply.read())["node"]["modifiedIndex"]
            reply.close()
        assert server.wait(10) == 0
        server.start()
        with Client(server.port) as client:
            node = client.get("/a").json["node"]
            assert (node["value"], node["modifiedIndex"]) == ("in flight", index)


def test_sigterm_does_not_wait_for_idle_connections_and_watches(tmp_path: Path) -> None:
    with Server("corenode", tmp_path) as server:
        poll = http.client.HTTPConnection(HOST, server.port, timeout=10)
        stream = http.client.HTTPConnection(HOST, server.port, timeout=10)
        with socket.create_connection((HOST, server.port)):
            poll.request("GET", "/v2/keys/a?wait=true")
            stream.request("GET", "/v2/keys/a?wait=true&stream=true")
            replies = [poll.getresponse(), stream.getresponse()]
            begun = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - begun < 5
            for reply in replies:
                assert rest(reply) == b""
                reply.close()
        poll.close()
        stream.close()


def test_sigint_is_an_orderly_end_too(tmp_path: Path) -> None:
    with Server("corenode", tmp_path) as server:
        server.signal(signal.SIGINT)
        assert server.wait(10) == 0
        assert "Traceback" not in server.output()


def test_sighup_reloads_and_serves_on(tmp_path: Path) -> None:
    with Server("corenode", tmp_path) as server, Client(server.port) as client:
        for number in range(3):
            server.signal(signal.SIGHUP)
            assert client.put("/a", str(number)).status in (200, 201)
        deadline = time.monotonic() + 5
        while "configuration reloaded" not in server.output():
            assert time.monotonic() < deadline, server.output()
            time.sleep(0.01)
        assert client.get("/a").json["node"]["value"] == "2"
        assert server.stop() == 0
