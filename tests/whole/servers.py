"""Real servers as subprocesses: this node and, as the foreign judge, Debian's etcd.

A server listens on a free port of its own, keeps its data in a directory the test gives, and writes its output to a
file that failure messages quote. It lives in a process group of its own, so a kill reaches it and nothing else.
"""

import contextlib
import http.client
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

Kind = Literal["corenode", "etcd"]
KINDS: tuple[Kind, ...] = ("corenode", "etcd")

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 20.0
STOP_SECONDS = 20.0
HOST = "127.0.0.1"
DIES_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")
"""So that a test run that is killed itself leaves no server behind."""


NO_UNITS = {"CORENODE_EXECUTOR": "none", "CORENODE_DISABLE_ENGINE": "true"}
"""Nodes of tests run no units unless a test says so: what agents and the engine write counts in revisions."""


class ServerFailedError(Exception):
    """A server did not do what the test needs; the text holds the end of its output."""


def free_port() -> int:
    """A TCP port nobody listens on, from below the range the kernel gives to outgoing connections."""
    for _ in range(100):
        port = random.randrange(15000, 32000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise ServerFailedError("found no free port in 100 tries")


def command_line(kind: Kind, data: Path, port: int, extra: Sequence[str] = ()) -> list[str]:
    """The command that starts a server of one member in the foreground."""
    client = f"http://{HOST}:{port}"
    if kind == "corenode":
        start = [sys.executable, str(ROOT / "cli.py"), "up"]
        return [*start, "--data-dir", str(data), "--name", "judged", "--listen-client-urls", client, *extra]
    peer = f"http://{HOST}:{free_port()}"
    urls = ["--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer]
    cluster = ["--initial-advertise-peer-urls", peer, "--initial-cluster", f"judged={peer}"]
    return ["etcd", "--enable-v2", "--data-dir", str(data), "--name", "judged", *urls, *cluster, *extra]


class Server:
    """One running server. Use it in a `with`: leaving it kills what still runs."""

    def __init__(
        self,
        kind: Kind,
        home: Path,
        *,
        data: Path | None = None,
        extra: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`home` takes the output, the runtime files and, unless `data` says otherwise, the data directory."""
        self.kind: Kind = kind
        self.home = home
        self.data = data if data is not None else home / "data"
        self.output_file = home / "output"
        self.port = 0
        self._extra = tuple(extra)
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            print(self.output())
        self.kill()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        return self._running().pid

    def start(self, *, ready: bool = True) -> None:
        """Start it, on the port it had before if it had one; with `ready`, wait until /health says so."""
        for _ in range(3):
            self.port = self.port or free_port()
            self._spawn()
            if not ready or self._became_ready():
                return
            taken = "address already in use" in self.output().lower()
            self.kill()
            if not taken:
                break
            self.port = 0
        raise ServerFailedError(f"{self.kind} did not become ready. {self.output()}")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server itself, not to its group."""
        os.kill(self._running().pid, number)

    def stop(self) -> int:
        """Ask it to end with SIGTERM and give its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Wait for it to end by itself and give its exit code."""
        try:
            return self._running().wait(seconds)
        except subprocess.TimeoutExpired:
            raise ServerFailedError(f"{self.kind} did not end within {seconds} s. {self.output()}") from None

    def kill(self) -> None:
        """SIGKILL to its whole process group; does nothing if it has ended."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def output(self, last: int = 4000) -> str:
        """The end of what it printed since the first start, for failure messages."""
        text = self.output_file.read_text(errors="replace") if self.output_file.exists() else ""
        return f"The end of its output:\n{text[-last:]}"

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ServerFailedError(f"{self.kind} was not started")
        return self._process

    def _spawn(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            **NO_UNITS,
            "XDG_RUNTIME_DIR": str(self.home),
            "PYTHONUNBUFFERED": "1",
            **self._environment,
        }
        with self.output_file.open("ab") as output:
            self._process = subprocess.Popen(
                [*DIES_WITH_PARENT, *command_line(self.kind, self.data, self.port, self._extra)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=ROOT,
                start_new_session=True,
            )

    def _became_ready(self) -> bool:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if not self.running():
                return False
            if is_healthy(self.port):
                return True
            time.sleep(0.02)
        return False


def is_healthy(port: int) -> bool:
    """Whether GET /health on that port answers 200."""
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def missing(kind: Kind) -> str:
    """Why this kind of server cannot run here, or an empty string."""
    if kind == "etcd" and shutil.which("etcd") is None:
        return "needs Debian's package etcd-server"
    return ""
