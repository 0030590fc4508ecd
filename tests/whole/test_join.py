"""Hosts that become a cluster: an authority, a first member, a token, and two hosts that have nothing but the token."""

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
import pytest

from core.tls.authority import Authority, create, load_chain
from core.tls.identity import Role, identity_of
from tests.whole.servers import DIES_WITH_PARENT, HOST, ROOT, free_port

PROGRAM = (sys.executable, str(ROOT / "cli.py"))
SECONDS = 30.0


class Machine:
    """A directory that plays a host."""

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir()
        self.port, self.peer_port = free_port(), free_port()
        self.url, self.peer_url = f"https://{HOST}:{self.port}", f"https://{HOST}:{self.peer_port}"
        self.data = home / "data"
        self._node: subprocess.Popen[bytes] | None = None
        self._environment = {"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(home), "TMPDIR": str(home)}

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*PROGRAM, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=self.home,
            env=self._environment,
            timeout=60,
            check=False,
        )

    def do(self, *words: str) -> str:
        """A verb that must succeed; what it printed."""
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def up(self, *words: str) -> None:
        """Start the node."""
        with (self.home / "log").open("ab") as log:
            self._node = subprocess.Popen(
                [*DIES_WITH_PARENT, *PROGRAM, "up", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.home,
                env=self._environment,
            )

    def kill(self) -> None:
        if self._node is not None:
            with contextlib.suppress(ProcessLookupError):
                self._node.send_signal(signal.SIGKILL)
            self._node.wait()
            self._node = None

    def roles(self) -> dict[str, str]:
        """Members by name as this host's node lists them; empty while it does not answer."""
        done = self.run("member", "list", "-o", "json")
        if done.returncode:
            return {}
        return {each["name"]: each["role"] for each in msgspec.json.decode(done.stdout)}

    def log(self) -> str:
        return (self.home / "log").read_text() if (self.home / "log").exists() else ""


class World:
    """Machines that know nothing of each other; the first has an authority and runs a node."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.machines: list[Machine] = []

    def __enter__(self) -> Self:
        first = self.machine("one")
        first.do("ca", "init", "--dir", "data/authority")
        for role in ("server", "peer"):
            first.do(
                *("ca", "issue", "--dir", "data/authority", "--role", role, "--name", "one"),
                *("--san", f"{HOST},localhost", "--out", role),
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for machine in self.machines:
            machine.kill()

    def machine(self, name: str) -> Machine:
        self.machines.append(Machine(self.home / name))
        return self.machines[-1]

    @property
    def first(self) -> Machine:
        return self.machines[0]

    def found(self, *more: str) -> None:
        """Start the first node."""
        first, ca = self.first, "data/authority/ca.crt"
        first.up(
            *("--name", "one", "--data-dir", "data", "--listen-client-urls", first.url),
            *("--cert-file", "server/one.crt", "--key-file", "server/one.key", "--trusted-ca-file", ca),
            *("--listen-peer-urls", first.peer_url, "--initial-advertise-peer-urls", first.peer_url),
            *("--peer-cert-file", "peer/one.crt", "--peer-key-file", "peer/one.key"),
            *("--peer-trusted-ca-file", ca, *more),
        )
        self.until(lambda: first.roles() == {"one": "leader"})

    def token(self, *words: str) -> str:
        return self.first.do("token", "create", *words).strip()

    def join(self, machine: Machine, token: str, *more: str) -> subprocess.CompletedProcess[str]:
        return machine.run(
            *("join", self.first.url, "--token", token, "--name", machine.home.name, "--data-dir", "data"),
            *("--listen-client-urls", machine.url, "--listen-peer-urls", machine.peer_url, *more),
        )

    def until(self, condition: Callable[[], bool], seconds: float = SECONDS) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "\n".join(machine.log()[-2000:] for machine in self.machines)
            time.sleep(0.05)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as made:
        yield made


def test_three_hosts_from_nothing(world: World) -> None:
    world.found("--client-cert-auth")
    token = world.token("--ttl", "5m", "--uses", "2")
    others = [world.machine("two"), world.machine("three")]
    for machine in others:
        joined = world.join(machine, token)
        assert joined.returncode == 0, joined.stderr
        assert joined.stdout.startswith("corenode up --config ")
    assert world.first.roles() == {"one": "leader", "two": "learner", "three": "learner"}
    others[0].up("--config", "data/corenode.toml")
    others[1].up("--data-dir", "data")
    voters = {"one": "leader", "two": "voter", "three": "voter"}
    world.until(lambda: all(machine.roles() == voters for machine in world.machines))
    world.first.do("kv", "put", "/a", "1")
    assert others[0].do("kv", "get", "/a") == "1\n"

    worker = world.machine("four")
    words = ("--role", "worker", "--name", "four", "--listen-client-urls", worker.url)
    token = world.token("--role", "worker")
    elsewhere = worker.run("join", others[0].url, "--token", token, *words)  # it has no issuing authority
    assert elsewhere.returncode == 0, elsewhere.stderr

    world.first.kill()
    world.until(lambda: others[0].run("kv", "put", "/b", "2").returncode == 0)
    assert others[1].do("kv", "get", "--quorum", "/b") == "2\n"
    tls = others[0].data / "tls"
    assert {file.name: file.stat().st_mode & 0o777 for file in tls.iterdir()} == {
        **dict.fromkeys(("ca.crt", "peer.crt", "server.crt"), 0o644),
        **dict.fromkeys(("peer.key", "server.key"), 0o600),
    }


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A first node that is there for many tests."""
    with World(tmp_path_factory.mktemp("world")) as made:
        made.found("--client-cert-auth")
        yield made


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_going_on_after_an_interruption_costs_no_use(running: World) -> None:
    token = running.token("--uses", "1")
    host, other = running.machine("interrupted"), running.machine("late")
    assert running.join(host, token).returncode == 0
    (host.data / "corenode.toml").unlink()
    for certificate in (host.data / "tls").glob("*.crt"):
        certificate.unlink()
    again = running.join(host, token)
    assert again.returncode == 0, again.stderr
    assert running.first.roles()["interrupted"] == "learner"
    assert "used up" in refusal(running.join(other, token))
    assert "joined already" in refusal(running.join(host, token))
    moved = [line.split() for line in running.first.do("token", "list").splitlines() if line.startswith(token[:8])]
    assert moved[0][:6] == [token[:8], "member", "1", "of", "1", "used"]


def test_it_must_keep_its_name(running: World) -> None:
    token = running.token()
    host = running.machine("named")
    assert running.join(host, token).returncode == 0
    (host.data / "corenode.toml").unlink()
    assert "under the name named" in refusal(running.join(host, token, "--name", "other"))


def test_names_and_addresses_of_others_are_not_given_away(running: World) -> None:
    token = running.token()
    twin = running.machine("twin")
    assert "name one already" in refusal(running.join(twin, token, "--name", "one"))
    everywhere = ("--advertise-client-urls", "https://*.example.org:2379")
    assert "obody can connect to" in refusal(running.join(twin, token, *everywhere))


def test_a_revoked_token(running: World) -> None:
    running.token()  # so that the door stays open
    token = running.token()
    running.first.do("token", "revoke", token)
    assert "revoked" in refusal(running.join(running.machine("revoked"), token))


def test_an_expired_token(running: World) -> None:
    running.token()
    token = running.token("--ttl", "1s")
    running.until(lambda: f"{token[:8]}  member  0 of 1  expired" in running.first.do("token", "list"))
    assert "expired" in refusal(running.join(running.machine("expired"), token))


def test_an_altered_token(running: World) -> None:
    name, secret, fingerprint = running.token().split(".")
    other = "b" if secret[0] == "a" else "a"
    machine = running.machine("altered")
    assert "no such token" in refusal(running.join(machine, f"{name}.{other}{secret[1:]}.{fingerprint}"))
    first = "b" if fingerprint[0] == "a" else "a"
    assert "another root" in refusal(running.join(machine, f"{name}.{secret}.{first}{fingerprint[1:]}"))
    cut = running.join(machine, f"{name}.{secret}.{fingerprint[1:]}")
    assert cut.returncode == 2
    assert "cut short" in cut.stderr


def test_a_token_for_another_role(running: World) -> None:
    token = running.token("--role", "worker")
    assert "another role" in refusal(running.join(running.machine("wrong"), token))


def test_a_worker_gets_certificates_and_is_no_member(running: World) -> None:
    token = running.token("--role", "worker")
    worker = running.machine("worker")
    joined = running.join(worker, token, "--role", "worker")
    assert joined.returncode == 0, joined.stderr
    assert "worker" not in running.first.roles()
    assert {file.name for file in (worker.data / "tls").iterdir()} == {
        *("ca.crt", "host.crt", "host.key", "server.crt", "server.key")
    }
    identity = identity_of(load_chain(worker.data / "tls" / "host.crt")[0])
    assert (identity.role, identity.name) == (Role.HOST, (worker.data / "machine-id").read_text().strip())
    worker.up("--data-dir", "data")
    running.until(lambda: worker.run("kv", "put", "/by", "it").returncode == 0)
    assert running.first.do("kv", "get", "/by") == "it\n"


def test_strangers_see_the_root_while_a_token_is_good_and_nothing_else(running: World) -> None:
    for line in running.first.do("token", "list").splitlines()[1:]:
        running.first.do("token", "revoke", line.split()[0])
    running.until(lambda: curl(running, "/corenode/root").returncode != 0)
    assert "certificate required" in curl(running, "/v2/keys/").stderr
    token = running.token()
    running.until(lambda: curl(running, "/corenode/root").stdout.startswith("200 -----BEGIN CERTIFICATE"))
    assert curl(running, "/v2/keys/").stdout.startswith("403 ")
    assert curl(running, "/corenode/tokens").stdout.startswith("403 ")
    assert curl(running, "/corenode/root/../members").stdout.startswith("403 ")
    assert curl(running, "/corenode/join", "-d", "{").stdout.startswith("400 ")
    running.first.do("token", "revoke", token)
    running.until(lambda: "certificate required" in curl(running, "/corenode/root").stderr)


def test_guessing_is_slowed_down_and_written_down(running: World) -> None:
    name, secret, fingerprint = running.token().split(".")
    running.until(lambda: curl(running, "/corenode/root").returncode == 0)
    asked = {
        "token": f"{name}.{secret[1:]}a.{fingerprint}",
        "role": "member",
        "name": "x",
        "identity": "",
        "server": "",
    }
    told = [curl(running, "/corenode/join", "-d", msgspec.json.encode(asked).decode()).stdout[:4] for _ in range(4)]
    assert told == ["403 ", "403 ", "403 ", "429 "]
    running.until(lambda: f'"token {name}, member x"' in running.first.log())


def curl(world: World, path: str, *more: str) -> subprocess.CompletedProcess[str]:
    """A stranger that knows the root: status, a space and the body."""
    command = ["curl", "-sS", "--max-time", "10", "--path-as-is", "--cacert", "ca.crt"]
    (world.home / "ca.crt").write_bytes((world.first.data / "authority" / "ca.crt").read_bytes())
    done = subprocess.run(
        [*command, "-o", "body", "-w", "%{http_code} ", *more, world.first.url + path],
        capture_output=True,
        text=True,
        cwd=world.home,
        timeout=30,
        check=False,
    )
    body = world.home / "body"
    done.stdout += body.read_text() if body.exists() else ""
    body.unlink(missing_ok=True)
    return done


class Impostor:
    """Somebody in between, with an authority of his own: he shows the root he is given, and keeps what he hears."""

    def __init__(self, home: Path, root: Path | None) -> None:
        create(home / "false", "corenode authority")
        pair = Authority.open(home / "false").issue(Role.SERVER, "one", [HOST], home)
        self._root = (root or home / "false" / "ca.crt").read_bytes()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(pair.certificate, pair.key)
        self._socket = socket.create_server((HOST, 0))
        self.url = f"https://{HOST}:{self._socket.getsockname()[1]}"
        self.heard: list[bytes] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                with contextlib.suppress(OSError), self._context.wrap_socket(connection, server_side=True) as secure:
                    self.heard.append(secure.recv(65536))
                    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
                    secure.sendall(head % len(self._root) + self._root)


@pytest.mark.parametrize("shows_the_true_root", [False, True])
def test_nothing_is_sent_to_somebody_in_between(running: World, tmp_path: Path, shows_the_true_root: bool) -> None:
    token = running.token()
    true = running.first.data / "authority" / "ca.crt"
    host = Machine(tmp_path / "host")
    with Impostor(tmp_path, true if shows_the_true_root else None) as impostor:
        told = refusal(host.run("join", impostor.url, "--token", token, "--name", "n", "--data-dir", "data"))
    assert "Nothing was sent" in told
    assert [heard.split(b"\r\n")[0] for heard in impostor.heard if heard] == [b"GET /corenode/root HTTP/1.1"]
    assert not any(secret.encode() in heard for heard in impostor.heard for secret in token.split("."))
