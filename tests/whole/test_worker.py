"""Workers: processes without data that pass requests on to real members, some of which die."""

import base64
import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.whole.cluster import ClusterOf, member
from tests.whole.requests import Client
from tests.whole.servers import HOST, ROOT, Server, free_port

pytestmark = pytest.mark.slow


@contextmanager
def worker_of(home: Path, *members: Server, extra: tuple[str, ...] = ()) -> Iterator[Server]:
    urls = ",".join(server.url for server in members)
    with Server("corenode", home / "worker", extra=["--role", "worker", "--members", urls, *extra]) as worker:
        yield worker


def test_a_killed_leader_doubles_no_write_and_loses_no_event(tmp_path: Path) -> None:
    """Each write appends under a number of its own and is never repeated by the client, so whatever stands there twice
    was doubled on the way; a watch through the worker, resumed where it broke, sees each of them once."""
    with ClusterOf(tmp_path, "n1", "n2", "n3") as cluster:
        leader = cluster.leader()
        with worker_of(tmp_path, leader) as worker:  # the others it learns from this one
            with Client(worker.port) as client:
                begin = client.ask("PUT", "/v2/keys/log", {"dir": "true"}).json["node"]["createdIndex"]
            stop = threading.Event()
            outcomes: dict[str, int] = {}
            writers = [threading.Thread(target=_append, args=(worker, n, stop, outcomes)) for n in range(12)]
            seen: list[str] = []
            watcher = threading.Thread(target=_watch, args=(worker, begin + 1, seen), daemon=True)
            for thread in (*writers, watcher):
                thread.start()
            cluster.until(lambda: len(outcomes) > 30, "writes go through the worker")
            leader.kill()
            killed = len(outcomes)
            cluster.until(lambda: list(outcomes.values())[killed:].count(201) > 30, "writes go through again")
            stop.set()
            for thread in writers:
                thread.join(20)
            with Client(worker.port) as client:
                nodes = client.get("/log", "?quorum=true&sorted=true").json["node"]["nodes"]
                written = [node["value"] for node in nodes]
                client.ask("POST", "/v2/keys/log", {"value": "end"})
            watcher.join(20)
    assert len(set(written)) == len(written)
    done = {value for value, status in outcomes.items() if status == 201}
    assert done <= set(written)
    unknown = {value for value, status in outcomes.items() if status == 504}
    assert set(written) - done <= unknown
    assert set(outcomes.values()) <= {201, 503, 504}
    assert seen == [*written, "end"]


def _append(worker: Server, writer: int, stop: threading.Event, outcomes: dict[str, int]) -> None:
    number = 0
    with Client(worker.port, timeout=40) as client:
        while not stop.is_set():
            number += 1
            value = f"{writer}.{number}"
            outcomes[value] = client.ask("POST", "/v2/keys/log", {"value": value}).status


def _watch(worker: Server, index: int, seen: list[str]) -> None:
    """A stream, opened anew behind the last event whenever it breaks off, until the last value."""
    while not seen or seen[-1] != "end":
        connection = http.client.HTTPConnection(HOST, worker.port, timeout=30)
        try:
            connection.request("GET", f"/v2/keys/log?wait=true&recursive=true&stream=true&waitIndex={index}")
            answer = connection.getresponse()
            while answer.status == 200 and (line := answer.readline()).endswith(b"\n"):
                event = json.loads(line)
                index = event["node"]["modifiedIndex"] + 1
                seen.append(event["node"]["value"])
                if seen[-1] == "end":
                    return
        except (OSError, http.client.HTTPException):
            time.sleep(0.05)
        finally:
            connection.close()


def test_a_silent_member_holds_up_reads_for_a_moment_and_is_not_asked_twice(tmp_path: Path) -> None:
    with ClusterOf(tmp_path, "n1", "n2", "n3") as cluster:
        silent = cluster.follower()
        with worker_of(tmp_path, silent) as worker, Client(worker.port, timeout=30) as client:
            assert client.put("/a", "1").status == 201
            silent.signal(signal.SIGSTOP)
            begin = time.monotonic()
            assert client.get("/a", "?quorum=true").json["node"]["value"] == "1"
            assert time.monotonic() - begin < 15
            begin = time.monotonic()
            assert client.put("/a", "2").status == 200
            assert time.monotonic() - begin < 5
            silent.signal(signal.SIGCONT)


def test_without_members_it_says_so_and_comes_back(tmp_path: Path) -> None:
    with ClusterOf(tmp_path, "n1") as cluster:
        only = cluster.servers["n1"]
        with worker_of(tmp_path, only) as worker, Client(worker.port) as client:
            only.kill()
            answer = client.put("/a", "1")
            assert (answer.status, answer.json["errorCode"]) == (503, 301)
            assert "no member of the cluster answers this worker" in answer.json["cause"]
            assert client.ask("GET", "/livez").status == 200
            assert client.ask("GET", "/health").status == 503
            only.start()
            assert client.put("/a", "1").status == 201


def test_what_is_passed_on_arrives_as_it_was_meant(tmp_path: Path) -> None:
    with ClusterOf(tmp_path, "n1") as cluster, worker_of(tmp_path, cluster.servers["n1"]) as worker:
        only = cluster.servers["n1"]
        with Client(worker.port) as client, Client(only.port) as direct:
            for key in ("/a;b", "/a#b", "/%C3%A9", "/c%2Fd", "/e%20f", "/x%3Fy"):
                assert client.put(key, "1").status == 201
                assert direct.get(key).json["node"] == client.get(key).json["node"]
            assert client.get("/a").status == 404
            big = "x" * 1_000_000
            assert client.put("/big", big).status == 201
            assert client.get("/big").json["node"]["value"] == big
            assert client.get("/big").headers["x-etcd-index"] == direct.get("/big").headers["x-etcd-index"]
            assert client.ask("HEAD", "/v2/keys/big").body == b""
            assert client.get("/a;b").status == 200
            assert client.ask("TRACE", "/v2/keys/a").status == 405


def test_operations_are_not_passed_on(tmp_path: Path) -> None:
    with ClusterOf(tmp_path, "n1") as cluster, worker_of(tmp_path, cluster.servers["n1"]) as worker:
        with Client(worker.port) as client:
            assert len(client.ask("GET", "/v2/members").json["members"]) == 1
            for method, target in (
                ("POST", "/v2/members"),
                ("DELETE", "/v2/members/1"),
                ("GET", "/corenode/status"),
                ("POST", "/corenode/members"),
                ("GET", "/corenode/images/metadata/timestamp.json"),
                ("POST", "/v1/update/"),
                ("GET", "/v1/packages/x/y"),
                ("GET", "/corenode/snapshot"),
                ("POST", "/v3/maintenance/snapshot"),
                ("POST", "/v3/cluster/member/add"),
            ):
                answer = client.ask(method, target)
                assert answer.status == 403, target
            assert b"corenode_relayed_total" in client.ask("GET", "/metrics").body
        told = member(worker, "list")
        assert told.returncode == 1
        assert "is a worker, which passes on no operations" in told.stderr


def test_the_other_dialect_passes_too(tmp_path: Path) -> None:
    """A lock that is given up at the worker is given up at the member, and does not stand in anybody's way."""
    with ClusterOf(tmp_path, "n1") as cluster, worker_of(tmp_path, cluster.servers["n1"]) as worker:
        assert _v3(worker, "kv/put", {"key": "Zm9v", "value": "YmFy"})["header"]["revision"] == "2"
        assert _v3(cluster.servers["n1"], "kv/range", {"key": "Zm9v"})["kvs"][0]["value"] == "YmFy"
        assert "operations" in _v3(worker, "maintenance/status", {})["message"]
        leases = [_v3(worker, "lease/grant", {"TTL": 60})["ID"] for _ in range(3)]
        held = _v3(worker, "lock/lock", {"name": "bG9jaw==", "lease": leases[0]})["key"]
        with pytest.raises(TimeoutError):
            _v3(worker, "lock/lock", {"name": "bG9jaw==", "lease": leases[1]}, timeout=1)
        _v3(worker, "lock/unlock", {"key": held})
        assert _v3(worker, "lock/lock", {"name": "bG9jaw==", "lease": leases[2]})["key"]


def _v3(server: Server, method: str, body: dict[str, object], timeout: float = 10) -> Any:
    connection = http.client.HTTPConnection(HOST, server.port, timeout=timeout)
    try:
        connection.request("POST", f"/v3/{method}", json.dumps(body))
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def test_restricted_access_is_judged_by_the_members(tmp_path: Path) -> None:
    with ClusterOf(tmp_path, "n1") as cluster, worker_of(tmp_path, cluster.servers["n1"]) as worker:
        _restrict(cluster.servers["n1"])
        with Client(worker.port) as client:
            assert client.put("/a", "1").status == 401
        for password, status in (("secret", 201), ("wrong", 401)):
            shown = {"Authorization": "Basic " + base64.b64encode(f"root:{password}".encode()).decode()}
            connection = http.client.HTTPConnection(HOST, worker.port, timeout=30)
            connection.request("PUT", "/v2/keys/a?value=1", headers=shown)
            assert connection.getresponse().status == status
            connection.close()


def _restrict(server: Server) -> None:
    socket = f"unix://{server.data / 'corenode.sock'}"
    for words, typed in (
        (("user", "add", "root"), "secret\nsecret\n"),
        (("auth", "enable"), ""),
        (("role", "revoke", "guest", "--write", "/*"), ""),
    ):
        command = [sys.executable, str(ROOT / "cli.py"), *words, "--endpoints", socket]
        done = subprocess.run(command, input=typed, capture_output=True, text=True, timeout=30, check=False, cwd=ROOT)
        assert done.returncode == 0, done.stderr


def test_a_member_of_another_cluster_is_not_asked(tmp_path: Path) -> None:
    with ClusterOf(tmp_path / "a", "n1") as ours, ClusterOf(tmp_path / "b", "n1") as other:
        with worker_of(tmp_path, ours.servers["n1"]) as worker, Client(worker.port) as client:
            assert client.put("/a", "1").status == 201
        mixed = (ours.servers["n1"], other.servers["n1"])
        with worker_of(tmp_path, *mixed) as worker, Client(worker.port) as client:
            assert "a member of another cluster is not asked" in worker.output()
            first = client.get("/a").status
            for server in (ours.servers["n1"], other.servers["n1"]):
                server.signal(signal.SIGTERM)
                server.wait()
                # Whichever cluster it took for its own: it never turns to the other.
                assert client.get("/a").status in (first, 503)
                server.start()


def test_wrong_configurations_are_refused(tmp_path: Path) -> None:
    with ClusterOf(tmp_path, "n1") as cluster:
        pass
    data = cluster.servers["n1"].data
    url = f"http://{HOST}:{free_port()}"
    for flags, code, words in (
        (["--role", "worker"], 2, "A worker needs --members"),
        (["--members", url], 2, "--members is for workers"),
        (["--role", "worker", "--members", "http://10.0.0.1:2379"], 2, "is another host, and without TLS"),
        (["--role", "worker", "--members", url, "--data-dir", str(data)], 1, "holds the data of a member"),
    ):
        command = [sys.executable, str(ROOT / "cli.py"), "up", "--listen-client-urls", f"http://{HOST}:0", *flags]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, cwd=tmp_path)
        assert done.returncode == code, done.stderr
        assert words in " ".join(done.stderr.split())
