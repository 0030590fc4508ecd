"""Real nodes, each on a host of its own: started, killed, paused, filled up, replaced."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import trio

from core.tls.authority import Authority, create
from core.tls.identity import Role
from tests.chaos.network import Network, address
from tests.chaos.requests import Answer, Connection, LostError, NotSentError
from tests.whole.servers import DIES_WITH_PARENT, NO_UNITS, ROOT

CLIENT_PORT, PEER_PORT = 2379, 2380
DISK = 512 << 20
"""Size of a host's file system, in memory: a node takes 96 MiB of it as reserve and low-water mark."""
START_SECONDS = 40.0
ASK_SECONDS = 2.0


class ClusterError(Exception):
    """A node did not do what it has to: the text holds the end of its output."""


class Node:
    """One host: its disk, its place on the network and, while it runs, its process."""

    def __init__(self, number: int, home: Path, enter: Sequence[str], program: Path) -> None:
        self.number = number
        self.name = f"n{number}"
        self.host = address(number)
        self.home = home
        self.disk = home / "disk"
        self.data = self.disk / "data"
        self.output_file = home / "output"
        self.paused = False
        self.member = ""
        """Its id in the cluster, hexadecimal."""
        self._enter = enter
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host}:{CLIENT_PORT}"

    @property
    def peer_url(self) -> str:
        return f"https://{self.host}:{PEER_PORT}"

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def died(self) -> int | None:
        """The exit code of a process that nobody killed."""
        return None if self._process is None else self._process.poll()

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ClusterError(f"{self.name} does not run")
        return self._process.pid

    def start(self, cluster: str, state: str) -> None:
        """Start the process, and wait for nothing."""
        tls = [f"--peer-cert-file={self.home}/{self.name}.crt", f"--peer-key-file={self.home}/{self.name}.key"]
        command = [
            *DIES_WITH_PARENT, *self._enter, sys.executable, str(self._program), "up", "--name", self.name,
            "--data-dir", str(self.data), "--socket", str(self.home / "sock"), "--listen-client-urls", self.url,
            "--allow-plain-http", "--initial-cluster", cluster, "--initial-cluster-state", state, *tls,
            f"--peer-trusted-ca-file={self.home.parent}/ca/ca.crt", "--log-format", "json",
        ]  # fmt: skip
        environment = {**os.environ, **NO_UNITS, "XDG_RUNTIME_DIR": str(self.home), "PYTHONPATH": str(ROOT)}
        with self.output_file.open("ab") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment,
                start_new_session=True,
            )  # fmt: skip
        self.paused = False

    def kill(self) -> None:
        """SIGKILL; whatever was in the page cache is still there, as it is for the tests of power cuts to take away."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait()
            self._process = None
            self.paused = False

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)
        self.paused = True

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)
        self.paused = False

    def fill(self) -> None:
        """Leave no byte free on its disk."""
        with (self.disk / "ballast").open("ab") as ballast:
            left = os.statvfs(self.disk)
            with contextlib.suppress(OSError):  # the node was faster, and it is full as it is
                os.posix_fallocate(ballast.fileno(), ballast.tell(), max(1, left.f_bavail * left.f_frsize))

    def make_room(self) -> None:
        (self.disk / "ballast").unlink()

    def wipe(self) -> None:
        """A new disk."""
        shutil.rmtree(self.data)

    def output(self, last: int = 3000) -> str:
        text = self.output_file.read_text(errors="replace") if self.output_file.exists() else ""
        return f"The end of the output of {self.name}:\n{text[-last:]}"

    async def ask(self, method: str, target: str, form: dict[str, str] | None = None) -> Answer:
        """One request on a connection of its own. NotSentError, LostError."""
        async with Connection(self.host, CLIENT_PORT) as connection:
            return await connection.ask(method, target, form, seconds=ASK_SECONDS)

    async def operate(self, method: str, target: str, body: bytes = b"") -> Answer:
        """One request of an operator, over the node's socket."""
        async with Connection(str(self.home / "sock"), 0) as connection:
            return await connection.send(method, target, body, "application/json", ASK_SECONDS * 5)

    async def leads(self) -> bool:
        """Whether it takes itself for the leader, which an old one may do for a while."""
        if not self.alive or self.paused:
            return False
        try:
            return bool((await self.ask("GET", "/v2/stats/self")).json["state"] == "StateLeader")
        except (NotSentError, LostError):
            return False


class Cluster:
    """Nodes `n1` to `nN`. Use it in a `with`: leaving it kills what still runs."""

    def __init__(self, home: Path, size: int, network: Network, program: Path = ROOT / "cli.py") -> None:
        self.home = home
        self.network = network
        self.nodes = [Node(n, home / f"n{n}", network.add(n), program) for n in range(1, size + 1)]

    def __enter__(self) -> Self:
        create(self.home / "ca", "authority of a test")
        authority = Authority.open(self.home / "ca")
        for node in self.nodes:
            node.disk.mkdir(parents=True)
            authority.issue(Role.PEER, node.name, [node.host], node.home, timedelta(days=2))
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "disk", str(node.disk)], check=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for node in self.nodes:
            node.kill()
            subprocess.run(["umount", "--lazy", str(node.disk)], check=True)

    @property
    def names(self) -> str:
        """What `--initial-cluster` says."""
        return ",".join(f"{node.name}={node.peer_url}" for node in self.nodes)

    async def found(self) -> None:
        """Start all, and wait until each serves."""
        for node in self.nodes:
            node.start(self.names, "new")
        for node in self.nodes:
            await self.until_healthy(node)
            node.member = (await node.ask("GET", "/v2/stats/self")).json["id"]

    async def until_healthy(self, node: Node, seconds: float = START_SECONDS) -> None:
        """Wait until a node has a leader that confirms its reads."""
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(NotSentError, LostError):
                if (await node.ask("GET", "/health")).status == 200:
                    return
            if not node.alive:
                raise ClusterError(f"{node.name} ended by itself with {node.died}. {node.output()}")
            if time.monotonic() > deadline:
                raise ClusterError(f"{node.name} was not healthy within {seconds:.0f} s. {node.output()}")
            await trio.sleep(0.05)

    async def until_alive(self, node: Node) -> None:
        """Wait until a node answers at all."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(NotSentError, LostError):
                await node.ask("GET", "/version")
                return
            if not node.alive:
                raise ClusterError(f"{node.name} ended by itself with {node.died}. {node.output()}")
            if time.monotonic() > deadline:
                raise ClusterError(f"{node.name} did not answer within {START_SECONDS:.0f} s. {node.output()}")
            await trio.sleep(0.05)

    async def leader(self) -> Node | None:
        """The node that leads now, as far as one can tell."""
        found: list[Node] = []

        async def look(node: Node) -> None:
            if await node.leads():
                found.append(node)

        async with trio.open_nursery() as nursery:
            for node in self.nodes:
                nursery.start_soon(look, node)
        return found[0] if len(found) == 1 else None

    async def replace(self, victim: Node, *, learner: bool) -> None:
        """Take a dead node out of the cluster and let its host join again with an empty disk, as a new member: with a
        vote at once, or first as a learner."""
        ends = time.monotonic() + START_SECONDS
        await self._change(victim, ends, "DELETE", f"/v2/members/{victim.member}", None, (204, 404, 410))
        victim.wipe()
        while (added := await self._known(victim)) == "":
            new = {"peer_urls": [victim.peer_url], "name": victim.name, "learner": learner}
            await self._change(victim, ends, "POST", "/corenode/members", new, (200, 201, 409))
        victim.member = added
        victim.start(self.names, "existing")
        if learner:
            promote = f"/corenode/members/{added}/promote"
            await self._change(victim, ends, "POST", promote, None, (200, 204, 409))

    async def _change(
        self, victim: Node, ends: float, method: str, target: str, content: Any, good: Sequence[int]
    ) -> None:
        """Ask one node after the other until one has made the change, or finds it made."""
        refusal = ""
        body = b"" if content is None else json.dumps(content).encode()
        while time.monotonic() < ends:
            for node in self.others(victim):
                with contextlib.suppress(NotSentError, LostError):
                    answer = await node.operate(method, target, body)
                    if answer.status in good:
                        return
                    refusal = f"{answer.status} {answer.body.decode()}"
            await trio.sleep(0.1)
        raise ClusterError(f"{method} {target} for {victim.name} was not carried out: {refusal or 'no answer'}")

    async def _known(self, victim: Node) -> str:
        """The id of the member at the peer URL of that node; empty if there is none."""
        for node in self.others(victim):
            with contextlib.suppress(NotSentError, LostError):
                await node.ask("GET", "/health")  # a linearizable read: what was answered is known there
                for member in (await node.ask("GET", "/v2/members")).json["members"]:
                    if member["peerURLs"] == [victim.peer_url] and member["id"] != victim.member:
                        return str(member["id"])
        await trio.sleep(0.1)
        return ""

    def others(self, node: Node) -> Iterator[Node]:
        return (other for other in self.nodes if other is not node)
