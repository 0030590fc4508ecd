"""A cluster of hosts: each with `corenode` and its unit file, brought together by a token as the manual says."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.hosts.host import Host
from tests.hosts.lab import Lab
from tests.whole.servers import ROOT

DATA = "/var/lib/corenode"
KEYS = "/etc/corenode"
SECONDS = 60.0


def build(directory: Path) -> Path:
    """The program as one file, from this source."""
    built = directory / "corenode"
    command = [sys.executable, "tools/onefile/build.py", str(built)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    return built


class Cluster:
    """Hosts 1 to `size`, all voting members. Use it in a `with`."""

    def __init__(self, lab: Lab, program: Path, size: int = 3, settings: str = "") -> None:
        """`settings`: lines for /etc/default/corenode on each host."""
        self.lab = lab
        self.hosts = [Host(lab, number) for number in range(1, size + 1)]
        self._settings = settings
        unit = (ROOT / "ops" / "corenode.service").read_bytes()
        for host in self.hosts:
            host.write("/usr/local/bin/corenode", program.read_bytes(), 0o755)
            host.write("/etc/systemd/system/corenode.service", unit)

    def __enter__(self) -> Self:
        try:
            self._found()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for host in self.hosts:
            host.__exit__(kind, error, trace)

    def _found(self) -> None:
        first, *others = self.hosts
        first.boot()
        ca = (f"--dir={DATA}/authority",)
        first.do("corenode", "ca", "init", *ca)
        names = f"{first.address},127.0.0.1,localhost"
        for role in ("server", "peer"):
            issue = ("--role", role, "--name", first.name, "--san", names, "--out", f"{KEYS}/{role}")
            first.do("corenode", "ca", "issue", *ca, *issue)
        self.configure(first)
        first.do("systemctl", "enable", "--now", "corenode")
        token = first.do("corenode", "token", "create", "--ttl=1h", f"--uses={len(self.hosts)}").strip()
        for host in others:
            host.boot()
            urls = (
                f"--listen-client-urls=https://{host.address}:2379",
                f"--listen-peer-urls=https://{host.address}:2380",
            )
            join = ("--token", token, "--name", host.name, "--data-dir", DATA)
            host.do("corenode", "join", f"https://{first.address}:2379", *join, *urls)
            self.configure(host)
            host.do("systemctl", "enable", "--now", "corenode")
        self.until(lambda: self.roles(first).count("voter") == len(others), "all members vote")

    def configure(self, host: Host, **settings: str) -> None:
        """Write what its node is told: `AGENT_TTL="60s"` beside what all are told, counting from its next start."""
        own = _first(host) if host is self.hosts[0] else ""
        more = "".join(f"CORENODE_{name}={value}\n" for name, value in settings.items())
        host.write("/etc/default/corenode", self._settings + own + more)

    def roles(self, host: Host) -> list[str]:
        """Of the members, as a host lists them; empty while it cannot."""
        done = host.run("corenode", "member", "list", "-o", "json")
        return [member["role"] for member in json.loads(done.stdout)] if done.returncode == 0 else []

    def leader(self) -> Host:
        """The host whose member leads, once there is one."""
        found: list[Host] = []

        def led() -> bool:
            for host in self.up():
                done = host.run("corenode", "member", "list", "-o", "json")
                members = json.loads(done.stdout) if done.returncode == 0 else []
                found[:] = [h for h in self.up() for m in members if m["role"] == "leader" and m["name"] == h.name]
                if found:
                    return True
            return False

        self.until(led, "somebody leads")
        return found[0]

    def up(self) -> list[Host]:
        """The hosts that are on."""
        return [host for host in self.hosts if host.leader]

    def until(self, holds: Callable[[], bool], what: str, seconds: float = SECONDS) -> float:
        """Wait until something holds; after how many seconds it did. AssertionError."""
        began = time.monotonic()
        while not holds():
            if time.monotonic() - began > seconds:
                raise AssertionError(f"not within {seconds:g} s: {what}")
            time.sleep(0.05)
        return time.monotonic() - began


def _first(host: Host) -> str:
    """What the founder is told; the others are told by `corenode join`."""
    ca = f"{DATA}/authority/ca.crt"
    settings = {
        "NAME": host.name,
        "LISTEN_CLIENT_URLS": f"https://{host.address}:2379",
        "CERT_FILE": f"{KEYS}/server/{host.name}.crt",
        "KEY_FILE": f"{KEYS}/server/{host.name}.key",
        "TRUSTED_CA_FILE": ca,
        "CLIENT_CERT_AUTH": "true",
        "LISTEN_PEER_URLS": f"https://{host.address}:2380",
        "INITIAL_ADVERTISE_PEER_URLS": f"https://{host.address}:2380",
        "PEER_CERT_FILE": f"{KEYS}/peer/{host.name}.crt",
        "PEER_KEY_FILE": f"{KEYS}/peer/{host.name}.key",
        "PEER_TRUSTED_CA_FILE": ca,
    }
    return "".join(f"CORENODE_{name}={value}\n" for name, value in settings.items())


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(host: Host, path: str, method: str = "GET", body: object = None) -> Any:
    """JSON from a host's node, over its unix socket; None if it does not answer with success. A body that is text goes
    as it is, any other as JSON."""
    answer = ask_text(host, path, method, body)
    return None if answer is None else json.loads(answer or b"{}")


def ask_text(host: Host, path: str, method: str = "GET", body: object = None) -> bytes | None:
    """What a host's node answers, as it is."""
    # The path through /proc would be too long for a socket's address without a descriptor in its middle.
    try:
        directory = os.open(f"/proc/{host.leader}/root{DATA}", os.O_PATH)
    except OSError:
        return None  # it goes down in this very moment
    connection = _UnixConnection(f"/proc/self/fd/{directory}/corenode.sock")
    data = body if body is None or isinstance(body, str) else json.dumps(body)
    kind = "application/octet-stream" if isinstance(body, str) else "application/json"
    try:
        connection.request(method, path, data, {"Content-Type": kind} if data else {})
        with connection.getresponse() as response:
            text = response.read()
            return text if response.status < 300 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
        os.close(directory)
