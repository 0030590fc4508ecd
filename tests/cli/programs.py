"""This program as a process: a node that says over sd_notify when it is ready, and verbs that find it."""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from core.runtime_dir import NodeFile

PROGRAM = (sys.executable, str(Path(__file__).parents[2] / "cli.py"))
PATIENCE = 30.0
"""Seconds after which a test gives up waiting for a process."""


class Host:
    """A directory that plays the host: its runtime directory, and the nodes that run there."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {
            "PATH": os.environ["PATH"],
            "XDG_RUNTIME_DIR": str(home),
            "TMPDIR": str(home),
            "CORENODE_EXECUTOR": "none",
            "CORENODE_DISABLE_ENGINE": "true",
        }

    def run(self, *words: str, stdin: bytes | None = None, **environment: str) -> subprocess.CompletedProcess[bytes]:
        """A verb, to its end."""
        return subprocess.run(
            [*PROGRAM, *words],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            cwd=self.home,
            env={**self.environment, **environment},
            timeout=PATIENCE,
            check=False,
        )

    def text(self, *words: str) -> str:
        """What a verb that must succeed prints."""
        done = self.run(*words)
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout.decode()

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """A verb that goes on; its output is to be read from pipes."""
        return subprocess.Popen(
            [*PROGRAM, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.home,
            env=self.environment,
        )

    @contextlib.contextmanager
    def node(self, *flags: str, name: str = "data", **environment: str) -> Iterator["Node"]:
        """A running node with a port of its own; killed at the end if it still runs."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
            address = self.home / f"notify-{name}"
            address.unlink(missing_ok=True)
            notified.bind(str(address))
            notified.settimeout(PATIENCE)
            if not any(flag.startswith("--listen-client-urls") for flag in flags):
                flags = ("--listen-client-urls", "http://127.0.0.1:0", *flags)
            errors = self.home / f"{name}.log"
            with errors.open("wb") as log:
                process = subprocess.Popen(
                    [*PROGRAM, "up", "--data-dir", name, *flags],
                    stdin=subprocess.DEVNULL,
                    stderr=log,
                    cwd=self.home,
                    env={**self.environment, "NOTIFY_SOCKET": str(address), **environment},
                )
            try:
                yield Node(self, process, notified, errors)
            finally:
                process.kill()
                process.wait()


class Node:
    """One running node."""

    def __init__(self, host: Host, process: subprocess.Popen[bytes], notified: socket.socket, errors: Path) -> None:
        self.host = host
        self.process = process
        self.errors = errors
        self._notified = notified
        self.wait_for("READY=1")
        self.file_path = host.home / "corenode" / f"{process.pid}.json"
        self.file = msgspec.json.decode(self.file_path.read_bytes(), type=NodeFile)

    @property
    def url(self) -> str:
        return self.file.endpoints[0]

    def is_silent(self, seconds: float) -> bool:
        """Whether, behind what it has said already, it tells systemd nothing for so long."""
        self._notified.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while self._notified.recv(4096):
                pass
        self._notified.settimeout(seconds)
        try:
            self._notified.recv(4096)
        except TimeoutError:
            return True
        finally:
            self._notified.settimeout(PATIENCE)
        return False

    def wait_for(self, word: str) -> list[str]:
        """Wait until it tells systemd so; everything it told until then, a message each."""
        heard = []
        while True:
            try:
                heard.append(self._notified.recv(4096).decode())
            except TimeoutError:
                raise AssertionError(f"no {word} but {heard}; it logged: {self.errors.read_text()}") from None
            if word in heard[-1].split("\n"):
                return heard
