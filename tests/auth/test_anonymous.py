"""A program on loopback without credentials: it can write a key and no system record, whatever it tries.

The operations are taken from the routes of the node itself, so that one that is added later is tried as well.
"""

import http.client
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.api.access.gate import Gate
from core.api.access.hashing import Hashing
from core.api.ops import routes as operations
from core.api.router import Route
from core.api.store import Damage
from core.api.v2 import routes as tree
from core.api.v2.counters import Counters
from tests.auth.support import Records
from tests.v2.fakes import FakeStore
from tests.v2.test_elsewhere import FakeCluster
from tests.v2.test_ops import FakeHealth, FakeNode, FakeRoster
from tests.whole.servers import HOST, Server

pytestmark = pytest.mark.slow

OPEN = {
    "/v2/members": "the list; changes are refused below",
    "/v2/machines": "addresses",
    "/v2/stats/self": "figures",
    "/v2/stats/store": "figures",
    "/v2/stats/leader": "figures",
    "/v2/auth/enable": "whether access is restricted",
    "/version": "the version",
    "/health": "health",
    "/livez": "health",
    "/readyz": "health",
    "/metrics": "figures",
}
"""What anybody may GET. Nothing else that is routed may be, but the keys."""

METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS")
BODIES = {
    "/v2/auth/users/root": '{"user":"root","password":"mine"}',
    "/v2/auth/users/eve": '{"user":"eve","password":"mine","roles":["root"]}',
    "/v2/auth/users/alice": '{"user":"alice","grant":["root"]}',
    "/v2/auth/roles/r": '{"role":"r","grant":{"kv":{"read":["/*"],"write":["/*"]}}}',
    "/v2/auth/roles/new": '{"role":"new"}',
    "/v2/members": '{"peerURLs":["http://127.0.0.1:9"]}',
    "/v2/members/1": '{"peerURLs":["http://127.0.0.1:9"]}',
    "/corenode/compact?revision=2": "",
}
"""What to send to a path below a route, or with a query."""


def routed() -> list[Route]:
    """The routes of a node, whatever they are today."""
    gate = Gate(Records().keyspace.access, Hashing(), Damage())
    return [
        *tree.routes(FakeStore(), gate, FakeCluster(), Counters(), lambda: 0.0),
        *operations.routes(FakeStore(), gate, FakeHealth(), FakeNode(), FakeRoster(), [], "0"),
    ]


def targets() -> list[str]:
    """Every routed path, and those below and beside them."""
    return sorted({route.path.decode() for route in routed()} | set(BODIES))


def ask(port: int, method: str, target: str, body: str = "") -> tuple[int, str]:
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    connection.request(method, target, body.encode(), {"Content-Type": "application/json"})
    response = connection.getresponse()
    text = response.read().decode(errors="replace")
    connection.close()
    return response.status, text


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server("corenode", tmp_path_factory.mktemp("node")) as running:
        as_admin(running, "PUT", "/v2/auth/users/alice", {"user": "alice", "password": "wonderland"})
        as_admin(running, "PUT", "/v2/auth/roles/r", {"role": "r"})
        as_admin(running, "PUT", "/v2/auth/users/root", {"user": "root", "password": "secret"})
        yield running


def as_admin(server: Server, method: str, target: str, body: object = None) -> tuple[int, str]:
    """Over the unix socket."""
    connection = http.client.HTTPConnection(HOST, timeout=10)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(server.data / "corenode.sock"))
    connection.request(method, target, json.dumps(body).encode() if body else b"")
    response = connection.getresponse()
    found = response.status, response.read().decode()
    connection.close()
    return found


def system_records(server: Server) -> tuple[str, ...]:
    paths = ("/v2/auth/users", "/v2/auth/roles", "/v2/auth/enable", "/v2/members")
    return tuple(as_admin(server, "GET", path)[1] for path in paths)


def test_the_open_ones_are_routed() -> None:
    assert set(OPEN) <= set(targets())


@pytest.mark.parametrize("restricted", [False, True], ids=["free", "restricted"])
def test_keys_and_nothing_else(server: Server, restricted: bool) -> None:
    if restricted:
        assert as_admin(server, "PUT", "/v2/auth/enable")[0] == 200
    before = system_records(server)
    floor = json.loads(as_admin(server, "GET", "/corenode/status")[1])["compaction_floor"]
    assert ask(server.port, "PUT", f"/v2/keys/a?value={restricted}")[0] in (200, 201)
    tried, problems = 0, []
    for target in targets():
        for method in METHODS:
            status, text = ask(server.port, method, target, BODIES.get(target, "{}"))
            tried += 1
            reads = method in ("GET", "HEAD") and target in OPEN
            if status < 400 and not reads:
                problems.append(f"{method} {target}: {status} {text[:100]}")
            if status >= 500:
                problems.append(f"{method} {target}: {status} {text[:100]}")
    assert problems == []
    assert tried >= 100
    for key in ("%00corenode/auth/switch", "%00corenode/auth/user/root", "../../%00corenode/auth/switch"):
        ask(server.port, "PUT", f"/v2/keys/{key}?value=x")
        ask(server.port, "DELETE", f"/v2/keys/{key}?recursive=true")
    assert system_records(server) == before
    assert json.loads(as_admin(server, "GET", "/corenode/status")[1])["compaction_floor"] == floor


def test_what_is_refused_and_administered_is_audited(server: Server, tmp_path: Path) -> None:
    ask(server.port, "PUT", "/v2/auth/users/mallory", '{"user":"mallory","password":"hunter2"}')
    as_admin(server, "PUT", "/v2/auth/users/carol", {"user": "carol", "password": "hunter3"})
    end = time.monotonic() + 10
    while "carol" not in (log := server.output_file.read_text()):
        assert time.monotonic() < end  # the log has a thread of its own
        time.sleep(0.02)
    refused = [line for line in log.splitlines() if "mallory" in line]
    assert len(refused) == 1
    assert "refused" in refused[0]
    assert 'what="PUT /v2/auth/users/mallory"' in refused[0]
    assert "who=anonymous" in refused[0]
    assert f"address={HOST}:" in refused[0]
    done = [line for line in log.splitlines() if "carol" in line]
    assert len(done) == 1
    assert 'who="unix socket"' in done[0]
    assert "verdict=done" in done[0]
    assert "hunter" not in log
