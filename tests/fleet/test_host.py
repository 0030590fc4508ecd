"""What a host says about its own units, to whom, and how another node asks it."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import trio
from cryptography.hazmat.primitives.serialization import Encoding

from core.api.fleet import HostFace, HostHandler
from core.api.fleet import forwarding as forwarding_module
from core.api.fleet import host as host_module
from core.api.fleet.ways import ways
from core.api.http import Frontend, open_unix
from core.api.http.message import Caller, Reply, Request, Response
from core.api.plain import TEXT, message, plain
from core.sched import keys
from core.sched.records import Machine, Placement
from core.tls.authority import Authority, create, load_chain
from core.tls.identity import Role
from tests.auth.support import certificate
from tests.fleet.world import ONE, TWO, Awaited, World, world
from tests.v2.fakes import ANYONE, LOCAL, FakeOutlet

LOGS = "/corenode/fleet/units/a.service/logs"
STATUS = "/corenode/fleet/units/a.service/status"


class Fake:
    """Units that wrote something."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, bool]] = []
        self.closed = False
        self.more = trio.Event()

    async def logs(self, name: str, *, lines: int, follow: bool) -> AsyncGenerator[bytes]:
        self.asked.append((name, lines, follow))
        if name == "none.service":
            raise LookupError("there is no none.service here")
        try:
            yield b"one\n"
            if follow:
                await self.more.wait()
            yield b"two" * 50_000 + b"\n"
        finally:
            self.closed = True

    async def properties(self, name: str) -> dict[str, str]:
        if name == "none.service":
            raise LookupError("there is no none.service here")
        return {"MainPID": "7"}


class Host:
    """The door of a host."""

    def __init__(self, machine: str = ONE) -> None:
        self.units = Fake()
        self.ready = True
        self.members = {"n1"}
        self.face = HostFace(machine, lambda: self.units if self.ready else None, (LookupError,))
        self.handler = HostHandler(
            self.face, lambda _, reply: reply.send(plain(200, b"rest")), self._require, self._knows
        )

    def _knows(self, name: str) -> bool:
        return name in self.members

    def _require(self, request: Request, reply: Reply, serve: Callable[[Reply], None]) -> None:
        if request.caller.local:
            serve(reply)
        else:
            reply.send(message(403, "not you"))

    async def ask(self, path: str, query: str = "", caller: Caller = LOCAL, method: bytes = b"GET") -> Response:
        reply, outlet = Awaited(), FakeOutlet()
        self.handler(Request(method, path.encode(), query.encode(), (), b"", caller), reply)
        if reply.produce is None:
            return reply.sent
        await reply.produce(outlet)
        return Response(outlet.status, outlet.headers, outlet.body)


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Caller:
    home = tmp_path_factory.mktemp("peer")
    create(home / "ca", "authority")
    pair = Authority.open(home / "ca").issue(Role.PEER, "n1", ["10.0.0.1"], home)
    return Caller("10.0.0.1:1", certificate=load_chain(pair.certificate)[0].public_bytes(Encoding.DER))


async def test_logs_and_status(host: Host) -> None:
    answer = await host.ask("/corenode/host/units/a.service/logs", "lines=5")
    assert (answer.status, answer.body) == (200, b"one\n" + b"two" * 50_000 + b"\n")
    assert host.units.asked == [("a.service", 5, False)]
    assert host.units.closed
    answer = await host.ask("/corenode/host/units/a%2Eservice/status")
    assert json.loads(answer.body) == {"machine": ONE, "unit": "a.service", "properties": {"MainPID": "7"}}


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("a.service/logs", "lines=-1", 400),
        ("a.service/logs", "lines=9999999", 400),
        ("a.service/logs", "follow=maybe", 400),
        ("a.service/dance", "", 404),
        ("a.service", "", 404),
        ("..%2F..%2Fshadow/logs", "", 400),
        ("none.service/logs", "", 404),
        ("none.service/status", "", 404),
        ("a/b.service/logs", "", 404),
    ],
)
async def test_what_is_refused(host: Host, path: str, query: str, status: int) -> None:
    assert (await host.ask(f"/corenode/host/units/{path}", query)).status == status


async def test_a_host_without_units(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await host.ask("/corenode/host/units/a.service/logs", method=b"POST")).status == 405
    monkeypatch.setattr(host_module, "STREAMS", 0)
    assert (await host.ask("/corenode/host/units/a.service/logs")).status == 503
    monkeypatch.undo()
    host.ready = False
    assert (await host.ask("/corenode/host/units/a.service/logs")).status == 503


async def test_a_member_is_let_in_here_and_nowhere_else(host: Host, peer: Caller) -> None:
    assert (await host.ask("/corenode/host/units/a.service/status", caller=peer)).status == 200
    for path in ("/v2/keys/a", "/corenode/host", "/corenode/host/unitsX", "/corenode/fleet/units", "/metrics"):
        answer = await host.ask(path, caller=peer)
        assert (answer.status, b"that of a peer" in answer.body) == (403, True)
    for caller in (ANYONE, Caller("a:1", certificate=certificate("n1", "corenode:peer"))):  # no server's usage
        assert (await host.ask("/corenode/host/units/a.service/logs", caller=caller)).status == 403
        assert (await host.ask("/v2/keys/a", caller=caller)).body == b"rest\n"


async def test_the_certificate_of_a_member_that_was_removed_opens_nothing(host: Host, peer: Caller) -> None:
    host.members.clear()
    for path in ("/corenode/host/units/a.service/status", "/corenode/images/keys", "/v2/keys/a"):
        answer = await host.ask(path, caller=peer)
        assert (answer.status, b"there is no member 'n1'" in answer.body) == (403, True)


# From another node


@pytest.fixture
async def fleet() -> AsyncIterator[World]:
    async with world() as found:
        found.units = Fake()
        await found.write(keys.machine(ONE), Machine(ONE, boot_id="boot"))
        yield found


async def test_a_node_answers_for_its_own_host(fleet: World) -> None:
    await fleet.write(keys.placement(ONE, "a.service"), Placement("x"))
    assert (await fleet.ask("GET", f"{LOGS}?lines=3")).body.startswith(b"one\n")
    assert (await fleet.good("GET", STATUS))["properties"] == {"MainPID": "7"}
    assert isinstance(fleet.units, Fake)
    assert fleet.units.asked == [("a.service", 3, False)]


async def test_another_host_is_asked_by_its_socket(fleet: World, tmp_path: Path) -> None:
    await fleet.write(keys.placement(TWO, "a.service"), Placement("x"))
    there = Host(TWO)
    socket = tmp_path / "two.sock"
    ways = ("http://10.0.0.2:1", f"unix:{socket}")
    await fleet.write(keys.machine(TWO), Machine(TWO, "two", endpoints=ways, boot_id="boot"))
    fleet.vouching.running = (str(socket),)
    async with trio.open_nursery() as nursery:
        await nursery.start(Frontend(there.handler).serve, [open_unix(socket)])
        answer = await fleet.ask("GET", f"{LOGS}?lines=7")
        assert answer.body == b"one\n" + b"two" * 50_000 + b"\n"
        assert there.units.asked == [("a.service", 7, False)]
        assert (await fleet.good("GET", STATUS))["machine"] == TWO
        await fleet.write(keys.placement(TWO, "none.service"), Placement("x"))
        status, why = await fleet.refused("GET", "/corenode/fleet/units/none.service/logs")
        assert (status, "there is no none.service here" in why) == (404, True)
        # What is followed ends with whoever follows it, on that host too.
        reply, outlet = Awaited(), FakeOutlet()
        asked = Request(b"GET", LOGS.encode(), b"follow=true", (), b"", LOCAL)
        there.units.closed = False
        with trio.move_on_after(5) as scope:
            outlet._on_send = scope.cancel
            fleet.handler(asked, reply)
            assert reply.produce is not None
            await reply.produce(outlet)
        assert outlet.body == b"one\n"
        with trio.fail_after(5):
            while not there.units.closed:
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()


async def test_a_unit_that_is_nowhere_or_on_several_machines(fleet: World) -> None:
    assert (await fleet.refused("GET", LOGS))[0] == 404
    await fleet.write(keys.placement(ONE, "a.service"), Placement("x"))
    await fleet.write(keys.placement(TWO, "a.service"), Placement("x"))
    status, why = await fleet.refused("GET", LOGS)
    assert (status, ONE in why, TWO in why) == (409, True, True)
    assert (await fleet.ask("GET", f"{LOGS}?machine={ONE[:8]}")).status == 200
    status, why = await fleet.refused("GET", f"{LOGS}?machine={TWO}")
    assert (status, "does not answer" in why) == (503, True)
    await fleet.write(keys.machine(TWO), Machine(TWO, endpoints=("http://10.0.0.2:1", "unix:/x"), boot_id="another"))
    assert (await fleet.refused("GET", f"{LOGS}?machine={TWO}"))[0] == 502
    await fleet.write(keys.machine(TWO), Machine(TWO, endpoints=("unix:/nothing/there",), boot_id="boot"))
    assert (await fleet.refused("GET", f"{LOGS}?machine={TWO}"))[0] == 502


# From a host that lies


@asynccontextmanager
async def liar(fleet: World, socket: Path, answer: bytes) -> AsyncIterator[list[bytes]]:
    """What runs `a.service` answers so to everything; gives what it was asked."""
    asked: list[bytes] = []

    async def serve(stream: trio.SocketStream) -> None:
        asked.append(await stream.receive_some())
        with suppress(trio.BrokenResourceError):  # who has heard enough of it closes
            await stream.send_all(answer)
        await trio.sleep_forever()

    await fleet.write(keys.placement(TWO, "a.service"), Placement("x"))
    await fleet.write(keys.machine(TWO), Machine(TWO, endpoints=(f"unix:{socket}",), boot_id="boot"))
    listening = trio.socket.socket(trio.socket.AF_UNIX)
    await listening.bind(str(socket))
    listening.listen()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(trio.serve_listeners, serve, [trio.SocketListener(listening)]))
        yield asked
        nursery.cancel_scope.cancel()
    listening.close()


async def test_no_socket_is_asked_that_is_not_a_nodes(fleet: World, tmp_path: Path) -> None:
    async with liar(fleet, tmp_path / "docker.sock", b"") as asked:
        status, why = await fleet.refused("GET", LOGS)
        assert (status, asked) == (502, [])
        assert "vouch" in why
        link = tmp_path / "two.sock"
        link.symlink_to(tmp_path / "docker.sock")
        await fleet.write(keys.machine(TWO), Machine(TWO, endpoints=(f"unix:{link}",), boot_id="boot"))
        fleet.vouching.running = (str(link),)
        assert (await fleet.refused("GET", STATUS))[0] == 502
        assert asked == []


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/\r\nContent-Length: 0\r\n\r\n", 502, ""),
        (b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nhi", 502, "hi"),
        (b"HTTP/1.1 404 Gone\r\nContent-Length: 9\r\n\r\n\x1b[2Jgone\n", 404, " [2Jgone"),
        (b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n", 502, ""),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 8\r\n\r\n<script>", 502, "no status"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 2**19, 502, "bytes"),
        (b"noise\r\n\r\n", 503, ""),
    ],
)
async def test_what_a_host_answers_is_not_believed(
    fleet: World, tmp_path: Path, answer: bytes, status: int, said: str
) -> None:
    fleet.vouching.running = (str(tmp_path / "two.sock"),)
    async with liar(fleet, tmp_path / "two.sock", answer):
        found, why = await fleet.refused("GET", STATUS)
        assert (found, said in why) == (status, True)
        assert "\x1b" not in why


async def test_a_host_that_is_silent_is_given_up(fleet: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarding_module, "HEAD_SECONDS", 0.2)
    fleet.vouching.running = (str(tmp_path / "two.sock"),)
    for begun in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nsome", b"HTTP/1.1 500 x\r\n\r\nsome"):
        async with liar(fleet, tmp_path / "two.sock", begun):
            assert (await fleet.refused("GET", STATUS))[0] == 504
        (tmp_path / "two.sock").unlink()


async def test_logs_are_text_whatever_a_host_calls_them(fleet: World, tmp_path: Path) -> None:
    fleet.vouching.running = (str(tmp_path / "two.sock"),)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 8\r\n\r\n<script>"
    async with liar(fleet, tmp_path / "two.sock", head):
        answer = await fleet.ask("GET", LOGS)
        assert (answer.status, answer.headers, answer.body) == (200, TEXT, b"<script>")


@pytest.mark.parametrize(
    ("endpoint", "reached"),
    [
        ("https://10.0.0.2:2379", True),
        ("https://10.0.0.2:9999", True),
        ("https://TWO.example.org:2379", True),
        ("https://[fd00:0::2]:2379", True),
        ("https://10.0.0.3:2379", False),
        ("http://10.0.0.2:2379", False),
        ("https://two.example.org.evil:2379", False),
        ("https://10.0.0.2@10.0.0.3:2379", False),
        ("https://127.0.0.1:2379", False),
        ("unix:/run/corenode/node.sock", False),
        ("https://10.0.0.1:2379", False),
    ],
)
def test_a_host_is_asked_where_others_know_it_to_be(endpoint: str, reached: bool) -> None:
    names = ("10.0.0.2", "two.example.org", "fd00::2", "127.0.0.1")
    machine = Machine(TWO, endpoints=(endpoint,), boot_id="another")
    assert bool(ways(machine, "boot", (), names, ("/run/corenode/node.sock",))) is reached


def test_a_member_is_asked_at_its_own_urls() -> None:
    machine = Machine(TWO, endpoints=("https://10.0.0.1:2379", "https://10.0.0.1:1"), boot_id="another")
    found = ways(machine, "boot", ("https://10.0.0.1:2379",), (), ())
    assert [way.text for way in found] == ["https://10.0.0.1:2379"]
    nobody = Machine(TWO, endpoints=("https://127.0.0.1:1",), boot_id="")
    assert ways(nobody, "", (), ("127.0.0.1",), ()) == []
    assert ways(Machine(TWO, endpoints=("https://127.0.0.1:1",), boot_id="b"), "b", (), ("127.0.0.1",), ()) != []
