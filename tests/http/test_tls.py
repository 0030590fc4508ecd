"""TLS in front of the same connections."""

import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from core.api.http import Limits, Outlet, Reply, Request, Response, open_tcp
from core.tls import TlsFilesError, server_context
from tests.http.authority import Authority
from tests.http.support import GET, QUICK, Client, Served, echo, put, serving


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def client_context(authority: Authority, certificate: str | None = None) -> ssl.SSLContext:
    """A client that trusts the authority and may show a certificate."""
    context = ssl.create_default_context(cafile=authority.file)
    if certificate is not None:
        context.load_cert_chain(*authority.issue(certificate)[:2])
    return context


def listen(authority: Authority, *, require_client: bool = False) -> ssl.SSLContext:
    """The server's context."""
    certificate, key, _ = authority.issue("server")
    return server_context(certificate, key, authority.file, require_client=require_client)


@asynccontextmanager
async def tls_client(served: Served, context: ssl.SSLContext) -> AsyncIterator[Client]:
    """A TLS connection to the first listener."""
    stream = await trio.open_ssl_over_tcp_stream("127.0.0.1", served.port, ssl_context=context)
    async with stream:
        yield Client(stream)


async def stream_much(outlet: Outlet) -> None:
    await outlet.start(200, b"")
    for _ in range(40):
        await outlet.send(b"z" * 50_000)


def handler(request: Request, reply: Reply) -> None:
    """Echo, stream, much at once, or who asks."""
    if request.path == b"/stream":
        reply.stream(stream_much)
    elif request.path == b"/much":
        reply.send(Response(200, b"", b"m" * 5_000_000))
    elif request.path == b"/who":
        reply.send(Response(200, b"", request.caller.certificate or b"nobody"))
    else:
        echo(request, reply)


async def test_requests_streams_and_large_bodies(authority: Authority) -> None:
    context = listen(authority)
    async with serving(handler, listeners=open_tcp("127.0.0.1", 0, context)) as served:
        async with tls_client(served, client_context(authority)) as client:
            for _ in range(2):
                assert (await client.ask(put(b"/a", b"value"))).text.endswith("\n\nvalue")
                assert (await client.ask(put(b"/a", b"v" * 1_500_000))).body.endswith(b"v" * 1_500_000)
                assert (await client.ask(b"GET /much HTTP/1.1\r\nHost: a\r\n\r\n")).body == b"m" * 5_000_000
                assert (await client.ask(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")).body == b"z" * 2_000_000
            pipelined = put(b"/1", b"x") * 50
            await client.send(pipelined)
            for _ in range(50):
                assert (await client.answer()).status == 200
        await served.settle(connections=0)
        assert served.statistics.accepted == 1
        assert served.statistics.held_bytes == 0


async def test_the_client_certificate_reaches_the_handler(authority: Authority) -> None:
    context = listen(authority)
    operator = client_context(authority)
    certificate, key, der = authority.issue("operator")
    operator.load_cert_chain(certificate, key)
    async with serving(handler, listeners=open_tcp("127.0.0.1", 0, context)) as served:
        for client, expected in ((operator, der), (client_context(authority), b"nobody")):
            async with tls_client(served, client) as asking:
                assert (await asking.ask(b"GET /who HTTP/1.1\r\nHost: a\r\n\r\n")).body == expected


async def test_a_required_certificate_is_required_and_verified(authority: Authority, tmp_path: Path) -> None:
    context = listen(authority, require_client=True)
    (tmp_path / "other").mkdir()
    stranger = client_context(authority)
    stranger.load_cert_chain(*Authority(tmp_path / "other").issue("stranger")[:2])
    async with serving(handler, listeners=open_tcp("127.0.0.1", 0, context)) as served:
        for bad in (client_context(authority), stranger):
            with pytest.raises((trio.BrokenResourceError, AssertionError)):  # TLS 1.3: told after the handshake
                async with tls_client(served, bad) as client:
                    await client.ask(GET)
        async with tls_client(served, client_context(authority, "friend")) as client:
            assert (await client.ask(GET)).status == 200
        assert served.statistics.refused == {"handshake": 2}


async def test_tls_1_2_is_refused(authority: Authority) -> None:
    context = client_context(authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with serving(handler, listeners=open_tcp("127.0.0.1", 0, listen(authority))) as served:
        with pytest.raises(trio.BrokenResourceError):
            async with tls_client(served, context) as client:
                await client.ask(GET)


@pytest.mark.parametrize("data", [GET, b"DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x00\x01\x02"])
async def test_plain_http_on_a_tls_port_is_told_so(authority: Authority, data: bytes) -> None:
    listeners = open_tcp("127.0.0.1", 0, listen(authority))
    async with serving(handler, listeners=listeners) as served, served.client() as client:
        await client.send(data)
        answer = await client.answer()
        assert (answer.status, answer.text) == (400, "this port speaks TLS; use https://\n")


async def test_tls_on_a_plain_port_is_told_so(authority: Authority) -> None:
    async with serving(handler) as served, served.client() as client:
        outgoing = ssl.MemoryBIO()
        hello = client_context(authority).wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="127.0.0.1")
        with pytest.raises(ssl.SSLWantReadError):
            hello.do_handshake()
        await client.send(outgoing.read())
        answer = await client.answer()
        assert (answer.status, answer.text[:33]) == (400, "this port speaks plain HTTP, not ")


async def test_a_handshake_that_does_not_end_is_ended(authority: Authority) -> None:
    async with serving(handler, QUICK, open_tcp("127.0.0.1", 0, listen(authority))) as served:
        async with served.client() as silent, served.client() as partial:
            await partial.send(b"\x16\x03\x01")
            assert await silent.end() == b""
            assert await partial.end() == b""
        assert served.statistics.refused == {"handshake": 2}


async def test_the_oldest_of_too_many_unfinished_handshakes_makes_room(authority: Authority) -> None:
    context = client_context(authority)
    listeners = open_tcp("127.0.0.1", 0, listen(authority))
    async with serving(handler, Limits(handshakes_max=3), listeners) as served, contextlib.AsyncExitStack() as stack:
        done = await stack.enter_async_context(tls_client(served, context))
        assert (await done.ask(GET)).status == 200
        crowd = []
        for number in range(5):
            crowd.append(await stack.enter_async_context(served.client()))
            if number % 2:
                await crowd[-1].send(b"\x16\x03\x01")
            while served.statistics.accepted < number + 2:  # noqa: ASYNC110
                await trio.sleep(0.001)
        assert await crowd[0].end() == await crowd[1].end() == b""
        assert served.statistics.refused == {"handshake": 2}
        async with tls_client(served, context) as good:
            assert (await good.ask(GET)).status == 200
        assert (await done.ask(GET)).status == 200
        await served.settle(connections=3)  # the last two of the crowd, and the first, who was done


async def test_a_broken_record_closes_only_its_connection(authority: Authority) -> None:
    context = client_context(authority)
    listeners = open_tcp("127.0.0.1", 0, listen(authority))
    async with serving(handler, listeners=listeners) as served, tls_client(served, context) as good:
        await good.ask(GET)
        async with await trio.open_tcp_stream("127.0.0.1", served.port) as raw:
            bad = trio.SSLStream(raw, context, server_hostname="127.0.0.1")
            await Client(bad).ask(GET)
            await raw.send_all(b"\x17\x03\x03\x00\x20" + b"x" * 32)
            await served.settle(connections=1)
        assert (await good.ask(GET)).status == 200
        assert served.statistics.refused == {"tls": 1}


async def test_a_handshake_byte_by_byte(authority: Authority) -> None:
    (listener,) = open_tcp("127.0.0.1", 0, listen(authority))
    drip = Drip(await trio.open_tcp_stream("127.0.0.1", listener.port))
    async with serving(handler, listeners=[listener]), drip:
        stream = trio.SSLStream(drip, client_context(authority), server_hostname="127.0.0.1")
        assert (await Client(stream).ask(GET)).status == 200


class Drip(trio.abc.Stream):
    """Sends one byte at a time."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        for byte in bytes(data):
            await self._stream.send_all(bytes([byte]))

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._stream.aclose()


def test_files_that_cannot_be_used_are_named(authority: Authority, tmp_path: Path) -> None:
    certificate, key, _ = authority.issue("server")
    _, other_key, _ = authority.issue("other")
    empty = tmp_path / "empty"
    empty.touch(mode=0o600)
    missing = tmp_path / "missing"
    encrypted = tmp_path / "encrypted"
    encrypted.touch(mode=0o600)
    encrypted.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    wrong = {
        (certificate, missing, None): f"{missing}: cannot read the private key: No such file",
        (missing, key, None): f"{missing}: cannot read the certificate: No such file",
        (certificate, other_key, None): f"{other_key}: this private key does not belong to",
        (certificate, encrypted, None): f"{encrypted}: the private key is encrypted",
        (empty, key, None): f"{empty} and {key}: no usable PEM",
        (certificate, key, empty): f"{empty}: no usable CA certificate",
        (certificate, key, missing): f"{missing}: cannot read the CA file",
    }
    for (certificate_file, key_file, authorities), text in wrong.items():
        with pytest.raises(TlsFilesError) as caught:
            server_context(certificate_file, key_file, authorities)
        assert str(caught.value).startswith(text)
    with pytest.raises(TlsFilesError, match="no authority is named"):
        server_context(certificate, key, require_client=True)


@pytest.mark.parametrize(
    ("mode", "refused"), [(0o600, False), (0o400, False), (0o640, False), (0o644, True), (0o660, True)]
)
def test_a_key_others_can_use_is_refused_by_name(authority: Authority, mode: int, refused: bool) -> None:
    certificate, key, _ = authority.issue("server")
    key.chmod(mode)
    if refused:
        with pytest.raises(TlsFilesError, match=f"{key}: other users"):
            server_context(certificate, key)
    else:
        server_context(certificate, key)


async def test_the_first_request_is_not_held_up(authority: Authority) -> None:
    """By the delayed acknowledgement of the kernel, for a client that leaves Nagle's algorithm on."""
    context = client_context(authority, "client")

    def handshake_and_request(port: int) -> float:
        begun = time.monotonic()
        raw = socket.create_connection(("127.0.0.1", port))
        with context.wrap_socket(raw, server_hostname="127.0.0.1") as client:
            client.sendall(GET)
            client.recv(100)
        return time.monotonic() - begun

    listeners = open_tcp("127.0.0.1", 0, listen(authority, require_client=True))
    async with serving(handler, listeners=listeners) as served:
        took = [await trio.to_thread.run_sync(handshake_and_request, served.port) for _ in range(20)]
    assert min(took) < 0.035
