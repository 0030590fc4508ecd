"""Who does not belong is not served, and the log says once why: foreign clients against a running node."""

import contextlib
import resource
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from core.api.http import Limits
from core.tls.authority import Pair
from core.tls.identity import Role
from tests.cli.programs import Node
from tests.tls.certificates import HOUR, Workshop

PATIENCE = 15.0
CROWD = 2000
HANDSHAKES_MAX = Limits().handshakes_max


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def node(workshop: Workshop) -> Iterator[Node]:
    with workshop.node("--log-format", "text", urls="https://127.0.0.1:0,http://127.0.0.1:0") as node:
        yield node


@pytest.fixture(scope="module")
def alice(workshop: Workshop) -> Pair:
    return workshop.issue(Role.CLIENT, "alice")


def address(node: Node, which: int = 0) -> tuple[str, int]:
    host, _, port = node.file.endpoints[which].partition("://")[2].rpartition(":")
    return host, int(port)


class Log:
    """What a node logs from here on."""

    def __init__(self, node: Node) -> None:
        self._file = node.errors
        self._begin = self._file.stat().st_size

    def lines(self, count: int) -> list[str]:
        """Wait for so many lines; all that are there then."""
        deadline = time.monotonic() + PATIENCE
        while True:
            lines = self._file.read_bytes()[self._begin :].decode().splitlines()
            if len(lines) >= count or time.monotonic() > deadline:
                return lines
            time.sleep(0.02)

    def only(self) -> str:
        """The one line there is; it names the peer."""
        (line,) = self.lines(1)
        assert "connection turned away  peer=127.0.0.1:" in line
        return line.partition("cause=")[2]


def run(command: list[str], send: bytes = b"") -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=send.decode(), capture_output=True, text=True, timeout=30)


def stranger(workshop: Workshop, kind: str, home: Path) -> Pair | None:
    """A certificate that must not be let in."""
    day = timedelta(days=1)
    match kind:
        case "expired":
            return workshop.forge("expired", -2 * day, -HOUR)
        case "not yet valid":
            return workshop.forge("early", HOUR, day)
        case "self-signed":
            return workshop.forge("alone", -HOUR, day, self_signed=True)
        case "wrong usage":
            return workshop.server
        case "other authority":
            return Workshop(home).issue(Role.ADMIN, "alice")
    return None


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("no certificate", "it showed no certificate"),
        ("expired", "its certificate is not accepted: certificate has expired"),
        ("not yet valid", "its certificate is not accepted: certificate is not yet valid"),
        ("self-signed", "its certificate is not accepted: self-signed certificate"),
        ("wrong usage", "its certificate is not accepted: unsuitable certificate purpose"),
        ("other authority", "its certificate is not accepted: unable to get local issuer certificate"),
    ],
)
def test_a_stranger_is_not_served(
    workshop: Workshop, node: Node, alice: Pair, tmp_path: Path, kind: str, reason: str
) -> None:
    pair = stranger(workshop, kind, tmp_path)
    log = Log(node)
    put = workshop.curl(node, "/v2/keys/stranger", pair, "-X", "PUT", "-d", "value=1", "-w", "%{http_code}")
    done = run(put)
    assert done.stdout.endswith(("000", "403"))
    assert log.only().strip('"') == reason
    found = run(workshop.curl(node, "/v2/keys/stranger", alice))
    assert '"errorCode":100' in found.stdout


def test_a_peer_is_no_client(workshop: Workshop, node: Node, alice: Pair) -> None:
    """Members ask each other for the logs of units here, and for nothing else; who is no member gets nothing."""
    peer = workshop.issue(Role.PEER, "peer1")
    put = workshop.curl(node, "/v2/keys/peer", peer, "-X", "PUT", "-d", "value=1", "-w", "%{http_code}")
    told = run(put).stdout
    assert (told.endswith("403"), "that of a peer" in told) == (True, True)
    assert '"errorCode":100' in run(workshop.curl(node, "/v2/keys/peer", alice)).stdout
    logs = "/corenode/host/units/a.service/logs"
    told = run(workshop.curl(node, logs, peer, "-w", "%{http_code}")).stdout
    assert (told.endswith("403"), "there is no member 'peer1'" in told) == (True, True)
    member = workshop.issue(Role.PEER, "default")
    told = run(workshop.curl(node, logs, member, "-w", "%{http_code}")).stdout
    assert (told.endswith("503"), "nothing runs units on this host" in told) == (True, True)


def test_who_belongs_is_served_by_openssl_and_curl_alike(workshop: Workshop, node: Node, alice: Pair) -> None:
    log = Log(node)
    put = workshop.curl(node, "/v2/keys/friend", alice, "-X", "PUT", "-d", "value=1", "-w", "%{http_code}")
    assert run(put).stdout.endswith("201")
    done = run(s_client(workshop, node, alice), b"GET /v2/keys/friend HTTP/1.0\r\n\r\n")
    assert '"value":"1"' in done.stdout
    assert "TLSv1.3" in done.stdout
    assert log.lines(0) == []


def test_a_clock_an_hour_fast_made_the_certificate(workshop: Workshop, node: Node) -> None:
    ahead = workshop.forge("ahead", HOUR - 2 * HOUR, 2 * HOUR)
    assert run(workshop.curl(node, "/version", ahead, "-w", "%{http_code}")).stdout.endswith("200")


def s_client(workshop: Workshop, node: Node, pair: Pair, *options: str) -> list[str]:
    host, port = address(node)
    shown = ["-cert", str(pair.certificate), "-cert_chain", str(pair.certificate), "-key", str(pair.key)]
    trust = ["-CAfile", str(workshop.home / "ca" / "ca.crt"), "-verify_return_error"]
    return ["openssl", "s_client", "-ign_eof", "-connect", f"{host}:{port}", *shown, *trust, *options]


def test_a_client_that_finds_another_name_says_so(workshop: Workshop, node: Node, alice: Pair) -> None:
    log = Log(node)
    done = run(s_client(workshop, node, alice, "-verify_hostname", "elsewhere.example"), b"GET / HTTP/1.0\r\n\r\n")
    assert "hostname mismatch" in done.stdout + done.stderr
    assert log.only().strip('"').startswith("it does not accept this node: ")
    host, port = address(node)
    renamed = ["--connect-to", f"elsewhere.example:443:{host}:{port}", "https://elsewhere.example/version"]
    elsewhere = [*workshop.curl(node, "/version", alice)[:-1], *renamed]
    assert run(elsewhere).returncode == 60  # curl: the server's certificate is not accepted


def test_tls_1_2_is_not_spoken_unless_asked(workshop: Workshop, node: Node, alice: Pair, tmp_path: Path) -> None:
    log = Log(node)
    assert run(workshop.curl(node, "/version", alice, "--tls-max", "1.2")).returncode == 35
    assert log.only().strip('"') == "it speaks no version of TLS that is accepted here"
    asked = Workshop(tmp_path)
    with asked.node("--tls-min-version", "1.2") as lenient:
        bob = asked.issue(Role.CLIENT, "bob")
        for options in (("--tls-max", "1.2"), ()):
            assert run(asked.curl(lenient, "/version", bob, *options)).returncode == 0


def test_there_are_no_session_tickets(workshop: Workshop, node: Node, alice: Pair, tmp_path: Path) -> None:
    request = b"GET /version HTTP/1.0\r\n\r\n"
    done = run(s_client(workshop, node, alice, "-sess_out", str(tmp_path / "session")), request)
    assert "New Session Ticket arrived" not in done.stdout
    assert "corenode" in done.stdout


def test_plain_http_to_the_tls_port_and_the_reverse(workshop: Workshop, node: Node, alice: Pair) -> None:
    log = Log(node)
    host, port = address(node)
    done = run(["curl", "-s", "-w", "%{http_code}", f"http://{host}:{port}/version"])
    assert done.stdout == "this port speaks TLS; use https://\n400"
    assert log.only().strip('"') == "it does not speak TLS, and this port does"
    log = Log(node)
    host, port = address(node, 1)
    assert run(["curl", "-s", f"https://{host}:{port}/version"]).returncode == 35
    assert log.only().strip('"') == "it speaks TLS, and this port does not"


def hello() -> bytes:
    """The first flight of a client."""
    outgoing = ssl.MemoryBIO()
    context = ssl.create_default_context()
    started = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        started.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("part", [1, 100, -1, None])
def test_a_handshake_cut_off_at_any_place(workshop: Workshop, node: Node, alice: Pair, part: int | None) -> None:
    log = Log(node)
    with socket.create_connection(address(node)) as raw:
        raw.sendall(hello()[:part])
    assert log.only().strip('"') == "it left in the middle of the TLS handshake"


def test_garbage_in_a_handshake(node: Node) -> None:
    log = Log(node)
    with socket.create_connection(address(node)) as raw:
        raw.sendall(b"\x16\x03\x01\x00\x20" + b"\xff" * 32)
        assert raw.recv(100)[:1] in (b"\x15", b"")  # an alert
    assert log.only()


def test_who_connects_and_says_nothing_is_no_news(node: Node) -> None:
    log = Log(node)
    for _ in range(20):
        socket.create_connection(address(node)).close()
    with socket.create_connection(address(node)) as raw:
        raw.sendall(hello()[:50])
    assert "in the middle" in log.only()


def test_a_key_that_others_can_read_is_refused_by_name(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    workshop.server.key.chmod(0o644)
    done = workshop.host.run("up", "--listen-client-urls", "https://127.0.0.1:0", *workshop.flags())
    assert done.returncode == 1
    assert done.stderr.decode().count("\n") == 1
    assert f"{workshop.server.key}: other users of this host can use this private key" in done.stderr.decode()


def memory(node: Node) -> int:
    """Resident bytes of a node."""
    text = Path(f"/proc/{node.process.pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) * 1024


def test_a_crowd_that_never_finishes_keeps_nobody_out(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, CROWD + 500)), hard))
    workshop = Workshop(tmp_path)
    alice = workshop.issue(Role.CLIENT, "alice")
    first = hello()
    with workshop.node() as node, contextlib.ExitStack() as stack:
        assert run(workshop.curl(node, "/version", alice)).returncode == 0
        before, begin, log = memory(node), time.monotonic(), Log(node)
        crowd = []
        for number in range(CROWD):
            raw = stack.enter_context(socket.create_connection(address(node)))
            if number % 2:
                raw.sendall(first)
            crowd.append(raw)
        slowest = 0.0
        for number in range(20):
            asked = time.monotonic()
            put = workshop.curl(node, f"/v2/keys/{number}", alice, "-X", "PUT", "-d", "value=1", "-w", "%{http_code}")
            assert run(put).stdout.endswith("201")
            slowest = max(slowest, time.monotonic() - asked)
        grown = memory(node) - before
        for raw in crowd:
            raw.settimeout(30)
            while raw.recv(65536):
                pass
        ended = time.monotonic() - begin
        assert slowest < 5
        assert grown < 64_000 * HANDSHAKES_MAX, "the oldest made room"
        assert ended < 30
        lines = log.lines(1)
        assert len(lines) <= 20, "the log is not flooded"
        assert all("did not finish the TLS handshake" in line for line in lines)
        node.process.terminate()
        assert node.process.wait(20) == 0
    told = f"{CROWD:,} unfinished handshakes: {grown / 1024 / 1024:.1f} MiB, slowest PUT {slowest:.2f} s"
    record_property("checked", f"{told}, all closed after {ended:.0f} s, {len(lines)} lines in the log")
