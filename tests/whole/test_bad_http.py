"""Requests that no one should send: each costs only its sender, and is answered in words that a person understands."""

import socket
from collections.abc import Iterator

import pytest

from tests.whole.requests import Client
from tests.whole.servers import HOST, Server

pytestmark = pytest.mark.slow

GET = b"GET /v2/keys/ HTTP/1.1\r\n"
PUT = b"PUT /v2/keys/bad HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
MIB = 1 << 20

# What is sent, and the statuses that are right. 0: closed without an answer.
MALFORMED: dict[str, tuple[bytes, set[int]]] = {
    "a TLS greeting": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300), {400}),
    "noise": (bytes(range(256)) * 4 + b"\r\n\r\n", {400}),
    "one word": (b"GET\r\n\r\n", {400}),
    "HTTP/0.9": (b"GET /v2/keys/\r\n\r\n", {400}),
    "HTTP/9.9": (b"GET /v2/keys/ HTTP/9.9\r\nHost: localhost\r\n\r\n", {400, 505}),
    "no host": (GET + b"\r\n", {400}),
    "two hosts": (GET + b"Host: a\r\nHost: b\r\n\r\n", {400}),
    "a header without a colon": (GET + b"Host: localhost\r\nnonsense\r\n\r\n", {400}),
    "a space before the colon": (GET + b"Host : test\r\n\r\n", {400}),
    "a header name with a space": (GET + b"Host: localhost\r\nA B: c\r\n\r\n", {400}),
    "a NUL in a header": (GET + b"Host: te\x00st\r\n\r\n", {400}),
    "a negative length": (PUT + b"Content-Length: -1\r\n\r\n", {400}),
    "a length that is none": (PUT + b"Content-Length: many\r\n\r\n", {400}),
    "two lengths": (PUT + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", {400}),
    "an unknown transfer coding": (PUT + b"Transfer-Encoding: gzip\r\n\r\n", {400, 501}),
    "a chunk size that is none": (PUT + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n", {400}),
    "a chunk without its end": (PUT + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcde\r\n0\r\n\r\n", {400}),
    "an expectation nobody knows": (PUT + b"Expect: miracles\r\nContent-Length: 0\r\n\r\n", {200, 201, 417}),
    "a target of 64 KiB": (b"GET /v2/keys/" + b"k" * 65536 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", {414, 431}),
    "headers of 64 KiB": (GET + b"Host: localhost\r\n" + b"X-Long: " + b"h" * 65536 + b"\r\n\r\n", {431}),
    "a thousand headers": (GET + b"Host: localhost\r\n" + b"X-Many: h\r\n" * 2000 + b"\r\n", {431}),
    "a line that never ends": (b"G" * 200_000, {400, 414, 431}),
    "a body that is too large": (PUT + b"Content-Length: %d\r\n\r\n" % (3 * MIB) + b"v" * (3 * MIB), {413}),
    "a chunked body that is too large": (
        PUT + b"Transfer-Encoding: chunked\r\n\r\n" + (b"10000\r\n" + b"v" * 65536 + b"\r\n") * 48 + b"0\r\n\r\n",
        {413},
    ),
    "a body of a petabyte, announced": (PUT + b"Content-Length: 1125899906842624\r\n\r\n", {413}),
    "a proxy request": (b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n", {400, 404, 405, 501}),
    "an escape that is none": (b"GET /v2/keys/%zz HTTP/1.1\r\nHost: localhost\r\n\r\n", {400}),
    "raw bytes in the target": (b"GET /v2/keys/\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n", {400}),
}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server("corenode", tmp_path_factory.mktemp("bad-http")) as running:
        yield running


def answer(port: int, sent: bytes) -> bytes:
    """Send bytes on a new connection and read until the server has said what it has to say."""
    received = b""
    with socket.create_connection((HOST, port), timeout=10) as connection:
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65536):
                received += piece
        except (ConnectionResetError, BrokenPipeError):
            return received
    return received


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(node: Server, name: str) -> None:
    sent, right = MALFORMED[name]
    received = answer(node.port, sent)
    assert received.startswith(b"HTTP/1.1 "), f"no answer, only {received!r}"
    head, _, body = received.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    assert status in right, received[:500]
    assert status < 400 or body.strip(), "a refusal without a word of explanation"
    with Client(node.port) as client:
        assert client.put("/others", "are served").status in (200, 201)


def test_a_length_and_chunks_are_never_two_requests(node: Server) -> None:
    """What one reader takes for a body and another for a request lets strangers speak in the name of others."""
    hidden = b"0\r\n\r\nPUT /v2/keys/smuggled?value=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
    both = b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n" % len(hidden)
    received = answer(node.port, PUT + both + hidden)
    with Client(node.port) as client:
        assert client.get("/smuggled").status == 404, received


def test_the_largest_value_comes_back_whole(node: Server) -> None:
    value = "0123456789abcdef" * 98_000
    with Client(node.port, timeout=30) as client:
        assert client.put("/large", value).status == 201
        assert client.get("/large").json["node"]["value"] == value
        too_large = client.put("/large", value * 2)
        assert too_large.status == 413
        assert too_large.body.strip()


@pytest.mark.parametrize("length", [511, 512, 1000, 2000, 8000])
def test_long_keys(node: Server, length: int) -> None:
    """Longer than the database's own keys may be."""
    key = "/" + "k" * (length - 1)
    with Client(node.port) as client:
        assert client.put(key, "long").json["node"]["key"] == key
        assert client.put(f"{key[:-1]}x", "other").status == 201
        assert client.get(key).json["node"]["value"] == "long"
        assert client.delete(key).status == 200
        assert client.get(f"{key[:-1]}x").json["node"]["value"] == "other"
        client.delete(f"{key[:-1]}x")


def test_many_levels(node: Server) -> None:
    path = "/deep" + "/d" * 255
    with Client(node.port) as client:
        assert client.put(path, "down here").status == 201
        assert client.get(path).json["node"]["value"] == "down here"
        assert client.get("/deep", "?recursive=true").status == 200
        assert client.delete("/deep", "?recursive=true").status == 200
        assert client.get("/deep").status == 404
        too_deep = client.put(path + "/d", "1")
        assert too_deep.status == 400
        assert "256" in too_deep.json["cause"]


def test_keep_alive_serves_on_after_an_error(node: Server) -> None:
    with Client(node.port) as client:
        for _ in range(3):
            assert client.get("/nothing").status == 404
            assert client.ask("PATCH", "/v2/keys/x").status == 405
            assert client.put("/x", "1", ttl="bad").status == 400
            assert client.put("/x", "1").status in (200, 201)
