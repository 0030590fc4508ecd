"""Hosts that become a cluster: an authority, a first member, a token, and two hosts that have nothing but the token."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
import pytest

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
                *("ca", "issue", "--dir", "data/authority", "--role", role, "--name", role),
                *("--san", f"{HOST},localhost", "--out", "certs"),
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for machine in self.machines:
            machine.kill()
            if error is not None:
                print(f"--- {machine.home.name}\n{machine.log()[-3000:]}")

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
            *("--cert-file", "certs/server.crt", "--key-file", "certs/server.key", "--trusted-ca-file", ca),
            *("--listen-peer-urls", first.peer_url, "--initial-advertise-peer-urls", first.peer_url),
            *("--peer-cert-file", "certs/peer.crt", "--peer-key-file", "certs/peer.key"),
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

    def until(self, condition: "object", seconds: float = SECONDS) -> None:
        end = time.monotonic() + seconds
        while not condition():  # type: ignore[operator]
            assert time.monotonic() < end, "it did not come to that"
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
    for machine in others:
        machine.up("--config", "data/corenode.toml")
    voters = {"one": "leader", "two": "voter", "three": "voter"}
    world.until(lambda: all(machine.roles() == voters for machine in world.machines))
    world.first.do("kv", "put", "/a", "1")
    assert others[0].do("kv", "get", "/a") == "1\n"

    world.first.kill()
    world.until(lambda: others[0].run("kv", "put", "/b", "2").returncode == 0)
    assert others[1].do("kv", "get", "--quorum", "/b") == "2\n"
    tls = others[0].data / "tls"
    assert {file.name: file.stat().st_mode & 0o777 for file in tls.iterdir()} == {
        **dict.fromkeys(("ca.crt", "peer.crt", "server.crt"), 0o644),
        **dict.fromkeys(("peer.key", "server.key"), 0o600),
    }
