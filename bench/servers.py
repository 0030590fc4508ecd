"""The servers under load: one member or three, plain or with mutual TLS, each with its program's defaults."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.programs import Program
from bench.wrk import Certificate, Target
from core.tls.authority import Authority, create
from core.tls.identity import Role
from tests.whole.servers import DIES_WITH_PARENT, HOST, ROOT, free_port

START_SECONDS = 60.0
OUTPUT_SHOWN = 2000


class ServerError(Exception):
    """A server did not do what is measured; the text holds the end of what it printed."""


class Keys:
    """An authority, with certificates for members and one for the load."""

    def __init__(self, home: Path) -> None:
        create(home, "authority of a benchmark")
        self._home, self._authority = home, Authority.open(home)
        pair = self._authority.issue(Role.CLIENT, "load", [], home / "certs")
        self.client = Certificate(pair.certificate, pair.key)

    def flags(self, name: str, program: Program) -> list[str]:
        """Options of a member that asks everybody for a certificate, clients and members alike."""
        # A peer's certificate may be used both ways: etcd also calls itself with it.
        pair = self._authority.issue(Role.PEER, name, [HOST], self._home / program.name)
        flags = ["--client-cert-auth"]
        for whose in ("", "peer-"):
            flags += [f"--{whose}cert-file", str(pair.certificate), f"--{whose}key-file", str(pair.key)]
            flags += [f"--{whose}trusted-ca-file", str(self._home / "ca.crt")]
        return flags + (["--peer-client-cert-auth"] if program.is_etcd else [])


class Member:
    """One process. Its data stay where they are between starts."""

    def __init__(self, program: Program, home: Path, name: str, keys: Keys | None = None) -> None:
        self.program, self.home, self.name = program, home, name
        self.scheme = "http" if keys is None else "https"
        self.port, self.peer_port, self._plain_port = free_port(), free_port(), free_port()
        self._keys = [] if keys is None else keys.flags(name, program)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where the load goes."""
        return f"{self.scheme}://{HOST}:{self.port}"

    @property
    def plain_port(self) -> int:
        """Where questions go that are not measured."""
        return self._plain_port if self._keys else self.port

    @property
    def peer_url(self) -> str:
        return f"{self.scheme}://{HOST}:{self.peer_port}"

    @property
    def socket(self) -> Path:
        """Where this node takes an operator's requests; short, for the kernel allows a path of 107 bytes."""
        return self.home / "s"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ServerError(f"{self.program.name} {self.name} does not run")
        return self._process.pid

    def start(self, cluster: str, state: str = "new") -> None:
        """Start the process and return at once."""
        self.home.mkdir(parents=True, exist_ok=True)
        urls = self.url if not self._keys else f"{self.url},http://{HOST}:{self._plain_port}"
        command = [*self.program.command, "--name", self.name, "--data-dir", str(self.home / "data")]
        command += ["--listen-client-urls", urls, "--advertise-client-urls", urls]
        command += ["--listen-peer-urls", self.peer_url, "--initial-advertise-peer-urls", self.peer_url]
        command += ["--initial-cluster", cluster, "--initial-cluster-state", state, *self._keys]
        if not self.program.is_etcd:
            command += ["--socket", str(self.socket)]
        environment = {**os.environ, "XDG_RUNTIME_DIR": str(self.home), **self.program.environment}
        with (self.home / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [*DIES_WITH_PARENT, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=ROOT,
                start_new_session=True,
            )

    def kill(self) -> None:
        """SIGKILL to it and all that it started."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def ask(self, method: str, target: str, body: str = "", headers: Mapping[str, str] | None = None) -> bytes | None:
        """The body of a success; None if there was no answer, or another one."""
        connection = http.client.HTTPConnection(HOST, self.plain_port, timeout=5)
        try:
            connection.request(method, target, body or None, dict(headers or {}))
            answer = connection.getresponse()
            found = answer.read()
            return found if answer.status < 300 else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def require_running(self) -> None:
        """ServerError if it has ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            raise ServerError(f"{self.program.name} {self.name} ended with {self._process.returncode}. {self.output()}")

    def output(self) -> str:
        """The end of what it printed."""
        text = (self.home / "output").read_text(errors="replace")
        return f"The end of its output:\n{text[-OUTPUT_SHOWN:]}"


class Cluster:
    """Members of one program. Use it in a `with`: leaving it kills what still runs."""

    def __init__(self, program: Program, home: Path, size: int, keys: Keys | None = None) -> None:
        self.program = program
        self.certificate = None if keys is None else keys.client
        self.members = [Member(program, home / f"n{number}", f"n{number}", keys) for number in range(1, size + 1)]
        self.names = ",".join(f"{member.name}={member.peer_url}" for member in self.members)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start all members and wait until each knows a leader. ServerError."""
        for member in self.members:
            member.start(self.names)
        self.until_healthy()

    def kill(self) -> None:
        for member in self.members:
            member.kill()

    @property
    def pids(self) -> list[int]:
        return [member.pid for member in self.members]

    def until_healthy(self) -> None:
        """Wait until each member has a leader. ServerError."""
        deadline = time.monotonic() + START_SECONDS
        for member in self.members:
            while member.ask("GET", "/health") is None:
                member.require_running()
                if time.monotonic() > deadline:
                    raise ServerError(f"{self.program.name} {member.name} is not healthy. {member.output()}")
                time.sleep(0.05)

    def leader(self) -> Member:
        """The member that leads; it comes first in `members` from now on. ServerError."""
        self.until_healthy()
        for member in self.members:
            state = member.ask("GET", "/v2/stats/self")
            if state is not None and json.loads(state)["state"] == "StateLeader":
                self.members.sort(key=lambda each: each is not member)
                return member
        raise ServerError(f"{self.program.name} has no leader")

    def targets(self, through: str, connections: int) -> Sequence[Target]:
        """Where load goes: to the `leader`, to one `follower`, or spread over `all`. ServerError."""
        self.leader()
        if through == "leader":
            return [Target(self.members[0].url, connections)]
        if through == "follower":
            return [Target(self.members[1].url, connections)]
        each, more = divmod(connections, len(self.members))
        shares = [(member, each + (place < more)) for place, member in enumerate(self.members)]
        return [Target(member.url, share) for member, share in shares if share]
