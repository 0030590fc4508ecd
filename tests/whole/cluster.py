"""Several real nodes that are one cluster, on loopback."""

import http.client
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.whole.requests import Client
from tests.whole.servers import HOST, ROOT, Server, ServerFailedError, free_port, is_healthy

SETTLE_SECONDS = 20.0


class ClusterOf:
    """Members by name. Use it in a `with`: leaving it kills what still runs."""

    def __init__(self, home: Path, *names: str, extra: Sequence[str] = ()) -> None:
        self.home = home
        self.extra = tuple(extra)
        self.peers = {name: f"http://{HOST}:{free_port()}" for name in names}
        self.servers = {name: self._server(name, "new", self.peers) for name in names}

    def _server(self, name: str, state: str, peers: dict[str, str]) -> Server:
        home = self.home / name
        home.mkdir(parents=True, exist_ok=True)
        cluster = ",".join(f"{member}={url}" for member, url in peers.items())
        flags = ["--name", name, "--initial-cluster", cluster, "--initial-cluster-state", state, *self.extra]
        return Server("corenode", home, extra=flags)

    def join(self, name: str, peer: str) -> Server:
        """A member that was added at that peer URL, to be started with an empty directory."""
        self.peers[name] = peer
        self.servers[name] = self._server(name, "existing", self.peers)
        return self.servers[name]

    def alone(self, name: str, *flags: str) -> Server:
        """The member with the flags of one whose cluster is formed already, and others."""
        url = self.peers[name]
        own = ["--name", name, "--listen-peer-urls", url, "--initial-advertise-peer-urls", url]
        self.servers[name] = Server("corenode", self.home / name, extra=[*own, *flags])
        return self.servers[name]

    def __enter__(self) -> Self:
        for server in self.servers.values():
            server.start(ready=False)
        for server in self.servers.values():
            self.until(partial(is_healthy, server.port), f"{server.home.name} is healthy")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, server in self.servers.items():
            if error is not None:
                print(f"--- {name}: {server.output()}")
            server.kill()

    def running(self) -> list[Server]:
        return [server for server in self.servers.values() if server.running()]

    def leader(self) -> Server:
        """The server that a majority of those that run take for their leader."""
        found: list[Server] = []

        def known() -> bool:
            told = [self_stats(server) for server in self.running()]
            leaders = [stats for stats in told if stats.get("state") == "StateLeader"]
            if len(leaders) != 1:
                return False
            agreeing = [stats for stats in told if stats["leaderInfo"]["leader"] == leaders[0]["id"]]
            found[:] = [self.servers[leaders[0]["name"]]]
            return len(agreeing) == len(told)

        self.until(known, "one leader is known to all")
        return found[0]

    def follower(self) -> Server:
        leader = self.leader()
        return next(server for server in self.running() if server is not leader)

    def until(self, condition: Callable[[], bool], what: str, seconds: float = SETTLE_SECONDS) -> None:
        """Wait for something that no client is told of."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise ServerFailedError(f"not within {seconds:g} s: {what}")
            time.sleep(0.02)


def self_stats(server: Server) -> dict[str, Any]:
    """`/v2/stats/self`; empty while it does not answer."""
    try:
        with Client(server.port, timeout=2) as client:
            found: dict[str, Any] = client.ask("GET", "/v2/stats/self").json
    except (OSError, http.client.HTTPException):
        return {}
    return found


def member(server: Server, *words: str) -> subprocess.CompletedProcess[str]:
    """`corenode member WORDS`, at a server's unix socket."""
    command = [sys.executable, str(ROOT / "cli.py"), "member", *words]
    endpoints = f"unix://{server.data / 'corenode.sock'}"
    return subprocess.run(
        [*command, "--endpoints", endpoints], capture_output=True, text=True, timeout=30, check=False, cwd=ROOT
    )
