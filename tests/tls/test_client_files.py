"""A client takes up what its files hold now, without a restart and without a request lost."""

import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from core.client.credentials import ClientCredentials
from core.client.endpoints import Endpoint, parse
from core.client.errors import UnreachableError
from core.client.transport import Transport
from core.tls.authority import Authority, Pair, create
from core.tls.contexts import TlsFilesError, server_context
from core.tls.identity import Role, identify


class Server:
    """Answers each request with the name in the client's certificate; `/slow` when it is told to. `authority` may be
    exchanged between connections."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.released = trio.Event()
        self.slow = trio.Event()
        self.ended = 0
        self.both_ended = trio.Event()
        self.use("one")

    def use(self, authority: str) -> None:
        """Be another server for those who connect from now on."""
        pair = issue(self.home, authority, Role.SERVER, f"server-{authority}")
        self._context = server_context(
            pair.certificate, pair.key, self.home / authority / "ca.crt", require_client=True
        )

    async def serve(self, stream: trio.SocketStream) -> None:
        secure = trio.SSLStream(stream, self._context, server_side=True, https_compatible=True)
        try:
            while request := await secure.receive_some():
                name = identify(secure.getpeercert(binary_form=True)).name
                if b"/slow" in request:
                    self.slow.set()
                    await self.released.wait()
                await secure.send_all(f"HTTP/1.1 200 OK\r\nContent-Length: {len(name)}\r\n\r\n{name}".encode())
        except (trio.BrokenResourceError, ssl.SSLError):
            pass
        finally:
            self.ended += 1
            if self.ended == 2:
                self.both_ended.set()
            await trio.aclose_forcefully(secure)


def issue(home: Path, authority: str, role: Role, name: str) -> Pair:
    """A certificate of one of the authorities, made if it is not there."""
    if not (home / authority).exists():
        create(home / authority, f"authority {authority}")
    names = ["127.0.0.1"] if role.serves else []
    return Authority.open(home / authority).issue(role, name, names, home / "certs")


@asynccontextmanager
async def running(home: Path) -> AsyncIterator[tuple[Server, Endpoint]]:
    server = Server(home)
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, server.serve, 0, host="127.0.0.1"))
        yield server, parse(f"https://127.0.0.1:{listeners[0].socket.getsockname()[1]}")
        nursery.cancel_scope.cancel()


class Files:
    """Those of a client: they become those of another one, a rename each."""

    def __init__(self, home: Path, authority: str) -> None:
        self.home = home
        self.trust, self.certificate, self.key = home / "trust.crt", home / "client.crt", home / "client.key"
        self.become(authority)

    def become(self, authority: str) -> None:
        self.trust_only(authority)
        self.show(authority)

    def trust_only(self, authority: str) -> None:
        self._replace(self.trust, (self.home / authority / "ca.crt").read_bytes())

    def show(self, authority: str, *, key: bool = True) -> None:
        pair = issue(self.home, authority, Role.CLIENT, f"client-{authority}")
        self._replace(self.certificate, pair.certificate.read_bytes())
        if key:
            self._replace(self.key, pair.key.read_bytes())

    def _replace(self, file: Path, data: bytes) -> None:
        part = file.with_suffix(".part")
        part.write_bytes(data)
        part.chmod(0o600)
        os.replace(part, file)

    def credentials(self) -> ClientCredentials:
        return ClientCredentials(self.trust, self.certificate, self.key)


async def ask(transport: Transport, target: str = "/") -> str:
    return (await transport.call("GET", target)).body.decode()


async def test_trust_and_certificate_are_taken_up_by_the_next_request(tmp_path: Path) -> None:
    async with running(tmp_path) as (server, endpoint):
        files = Files(tmp_path, "one")
        async with Transport([endpoint], files.credentials()) as transport:
            assert [await ask(transport) for _ in range(2)] == ["client-one"] * 2
            server.use("two")
            files.become("two")
            assert [await ask(transport) for _ in range(2)] == ["client-two"] * 2
            assert server.ended == 1  # the old connection, which was idle
            files.trust_only("one")
            with pytest.raises(UnreachableError, match="TLS: "):  # and trust that is gone is gone
                await ask(transport)


async def test_a_request_under_way_ends_in_peace(tmp_path: Path) -> None:
    async with running(tmp_path) as (server, endpoint):
        files = Files(tmp_path, "one")
        answers: list[str] = []

        async def slow() -> None:
            answers.append(await ask(transport, "/slow"))

        async with Transport([endpoint], files.credentials()) as transport, trio.open_nursery() as nursery:
            nursery.start_soon(slow)
            await server.slow.wait()
            server.use("two")
            files.become("two")
            assert await ask(transport) == "client-two"
            assert server.ended == 0
            server.released.set()
        assert answers == ["client-one"]


async def test_a_cancelled_request_leaves_no_connection_behind(tmp_path: Path) -> None:
    async with running(tmp_path) as (server, endpoint):
        files = Files(tmp_path, "one")
        async with Transport([endpoint], files.credentials()) as transport, trio.open_nursery() as nursery:
            nursery.start_soon(ask, transport, "/slow")
            await server.slow.wait()
            server.use("two")
            files.become("two")
            assert await ask(transport) == "client-two"
            nursery.cancel_scope.cancel()
        server.released.set()
        with trio.fail_after(10):
            await server.both_ended.wait()


async def test_what_does_not_fit_together_yet_is_not_taken(tmp_path: Path) -> None:
    async with running(tmp_path) as (_, endpoint):
        files = Files(tmp_path, "one")
        async with Transport([endpoint], files.credentials()) as transport:
            assert await ask(transport) == "client-one"
            create(tmp_path / "two", "authority two")
            files.show("two", key=False)
            assert await ask(transport) == "client-one"
            files.trust.unlink()
            assert await ask(transport) == "client-one"


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    pair = issue(tmp_path, "one", Role.CLIENT, "client")
    other = issue(tmp_path, "one", Role.CLIENT, "other")
    trust = tmp_path / "one" / "ca.crt"
    with pytest.raises(TlsFilesError, match=r"absent: cannot read the CA file"):
        ClientCredentials(tmp_path / "absent")
    with pytest.raises(TlsFilesError, match=r"client\.key: no usable CA certificate"):
        ClientCredentials(pair.key)
    with pytest.raises(TlsFilesError, match=r"other\.key: this private key does not belong"):
        ClientCredentials(trust, pair.certificate, other.key)
    with pytest.raises(TlsFilesError, match=r"absent: cannot read the private key"):
        ClientCredentials(trust, pair.certificate, tmp_path / "absent")
