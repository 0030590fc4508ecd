"""Three real nodes with TLS for members and clients, as the scripts of a cluster meet them."""

import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from core.tls.identity import Role
from tests.cli.programs import PROGRAM
from tests.tls.certificates import Workshop
from tests.whole.servers import HOST, free_port

PATIENCE = 60.0


class TlsCluster:
    """Use it in a `with`: leaving it kills what still runs. Each node is started by a script of its own, `up-NAME`."""

    def __init__(self, home: Path, *names: str) -> None:
        self.workshop = Workshop(home)
        self.home = home
        self.peers = {name: f"https://{HOST}:{free_port()}" for name in names}
        self.clients = {name: f"https://{HOST}:{free_port()}" for name in names}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        for name in names:
            for role in (Role.PEER, Role.SERVER):
                self.workshop.authority.issue(role, name, [HOST], home / f"{role}-{name}")
        admin = self.workshop.issue(Role.ADMIN, "alice")
        program = home / "program"
        program.write_text(f'#!/bin/sh\nexec {shlex.join(PROGRAM)} "$@"\n')
        program.chmod(0o755)
        self.env = {
            **self.workshop.host.environment,
            "CORENODE": str(program),
            "CORENODE_ENDPOINTS": ",".join(self.clients.values()),
            "CORENODE_CACERT": str(home / "ca" / "ca.crt"),
            "CORENODE_CERT": str(admin.certificate),
            "CORENODE_KEY": str(admin.key),
        }

    def flags(self, name: str) -> list[str]:
        cluster = ",".join(f"{member}={url}" for member, url in self.peers.items())
        return ["--name", name, "--initial-cluster", cluster, *self.peer_files(name), *self.client_flags(name)]

    def peer_files(self, name: str) -> list[str]:
        files = self.home / f"peer-{name}"
        own = ["--peer-cert-file", str(files / f"{name}.crt"), "--peer-key-file", str(files / f"{name}.key")]
        return [*own, "--peer-trusted-ca-file", str(self.home / "trust.crt")]

    def client_flags(self, name: str) -> list[str]:
        files = self.home / f"server-{name}"
        own = ["--cert-file", str(files / f"{name}.crt"), "--key-file", str(files / f"{name}.key")]
        trust = ["--trusted-ca-file", str(self.home / "trust.crt"), "--client-cert-auth"]
        return ["--listen-client-urls", self.clients[name], "--data-dir", f"data-{name}", *own, *trust]

    def start(self, name: str, *command: str) -> None:
        """Start a node, by default as a founder."""
        with (self.home / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command or [*PROGRAM, "up", *self.flags(name)],
                stdin=subprocess.DEVNULL,
                stderr=log,
                cwd=self.home,
                env={**self.workshop.host.environment, "CORENODE": self.env["CORENODE"]},
            )

    def restart(self, name: str) -> None:
        self.kill(name, hard=False)
        self.start(name)

    def kill(self, name: str, *, hard: bool = True) -> None:
        process = self.processes[name]
        process.kill() if hard else process.terminate()
        process.wait(PATIENCE)

    def __enter__(self) -> Self:
        (self.home / "trust.crt").write_bytes((self.home / "ca" / "ca.crt").read_bytes())
        for name in self.peers:
            self.start(name)
        self.until(lambda: self.run("health").returncode == 0, "all are healthy")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, process in self.processes.items():
            process.kill()
            process.wait()
            if error is not None:
                print(f"--- {name}: {(self.home / f'{name}.log').read_text()[-3000:]}")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A verb, as the admin."""
        return subprocess.run(
            [*PROGRAM, *words], capture_output=True, text=True, env=self.env, cwd=self.home, timeout=PATIENCE
        )

    def until(self, condition: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, f"not in time: {what}"
            time.sleep(0.2)
