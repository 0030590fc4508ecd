"""Three real nodes: formed, led, killed, stopped, grown, shrunk."""

import json
import shutil
import signal
import socket
import time
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from core.store_lmdb.creation import Beginning, Identity
from core.store_lmdb.directory import DataDirectory
from tests.whole.cluster import ClusterOf, member, self_stats
from tests.whole.requests import Client
from tests.whole.servers import HOST, Server, free_port

pytestmark = pytest.mark.slow


def put(server: Server, key: str, value: str) -> int:
    """Write; the status. Errors of the connection count as 0."""
    try:
        with Client(server.port) as client:
            return client.put(key, value).status
    except OSError:
        return 0


def get(server: Server, key: str) -> str:
    with Client(server.port) as client:
        answer = client.get(key, "?quorum=true")
        assert answer.status == 200, answer.body
        return str(answer.json["node"]["value"])


def test_a_killed_leader_costs_a_moment_and_no_write(tmp_path: Path) -> None:
    with ClusterOf(tmp_path, "n1", "n2", "n3") as cluster:
        for number, server in enumerate(cluster.servers.values()):
            assert put(server, f"/from{number}", "1") == 201
        leader, follower = cluster.leader(), cluster.follower()
        leader.kill()
        killed = time.monotonic()
        cluster.until(lambda: put(follower, "/after", "2") in (200, 201), "a write succeeds again")
        assert time.monotonic() - killed < 10
        for number in range(3):
            assert get(follower, f"/from{number}") == "1"
        leader.start()
        cluster.leader()
        assert get(leader, "/after") == "2"


def test_a_stopped_leader_hands_over(tmp_path: Path) -> None:
    with ClusterOf(tmp_path, "n1", "n2", "n3") as cluster:
        leader, follower = cluster.leader(), cluster.follower()
        time.sleep(0.5)
        assert leader.stop() == 0
        stopped = time.monotonic()
        assert put(follower, "/a", "1") == 201
        assert time.monotonic() - stopped < 3
        assert self_stats(cluster.leader())["name"] != leader.home.name


def test_a_frozen_leader_does_not_serve_what_is_no_longer_true(tmp_path: Path) -> None:
    with ClusterOf(tmp_path, "n1", "n2", "n3") as cluster:
        leader, follower = cluster.leader(), cluster.follower()
        assert put(leader, "/a", "old") == 201
        leader.signal(signal.SIGSTOP)
        cluster.until(lambda: put(follower, "/a", "new") == 200, "the others go on")
        leader.signal(signal.SIGCONT)
        with Client(leader.port) as client:
            answer = client.get("/a", "?quorum=true")
        assert answer.status != 200 or answer.json["node"]["value"] == "new"


def test_a_host_is_added_and_a_dead_one_replaced(tmp_path: Path) -> None:
    with ClusterOf(tmp_path, "n1") as cluster:
        first = cluster.servers["n1"]
        # A member that was alone opens its peer port for the others.
        first.kill()
        first = cluster.alone("n1")
        first.start()
        assert put(first, "/a", "1") == 201
        for name in ("n2", "n3"):
            added = member(first, "add", name, "--peer-urls", _free_url(), "--learner")
            assert added.returncode == 0, added.stderr
            peers = dict(part.split("=") for part in added.stdout.split("--initial-cluster ")[1].strip().split(","))
            joined = cluster.join(name, peers[name])
            joined.start(ready=False)
            cluster.until(lambda name=name: member(first, "promote", name).returncode == 0, f"{name} votes")  # type: ignore[misc]
            cluster.until(lambda joined=joined: put(joined, "/by", "it") in (200, 201), f"{name} serves")  # type: ignore[misc]
        listed = json.loads(member(first, "list", "-o", "json").stdout)
        assert sorted((each["name"], each["role"] in ("leader", "voter")) for each in listed) == [
            ("n1", True),
            ("n2", True),
            ("n3", True),
        ]
        dead = cluster.servers["n3"]
        dead.kill()
        shutil.rmtree(dead.data)
        dead.start(ready=False)
        assert dead.wait() == 1
        assert "n3 has run in this cluster before" in dead.output()
        cluster.until(lambda: member(first, "remove", "n3").returncode == 0, "n3 is removed")
        cluster.until(lambda: put(first, "/a", "2") == 200, "the others go on")


def test_a_removed_member_says_so_and_stops(tmp_path: Path) -> None:
    with ClusterOf(tmp_path, "n1", "n2", "n3") as cluster:
        time.sleep(0.5)
        follower = cluster.follower()
        name = follower.home.name
        removed = member(cluster.leader(), "remove", name)
        assert removed.returncode == 0, removed.stderr
        assert follower.wait() == 1
        assert "was removed from the cluster" in follower.output()
        assert "Traceback" not in follower.output()
        follower.start(ready=False)
        assert follower.wait() == 1
        assert "was removed from the cluster" in follower.output()


def test_the_lead_is_moved(tmp_path: Path) -> None:
    with ClusterOf(tmp_path, "n1", "n2", "n3") as cluster:
        follower = cluster.follower()
        moved = member(follower, "move-leader", follower.home.name)
        assert moved.returncode == 0, moved.stderr
        assert cluster.leader() is follower


def test_when_most_are_lost_one_goes_on_alone(tmp_path: Path) -> None:
    with ClusterOf(tmp_path, "n1", "n2", "n3") as cluster:
        for number in range(20):
            assert put(cluster.leader(), f"/key{number}", "1") == 201
        last = cluster.servers["n1"]
        assert get(last, "/key19") == "1"  # so it has all that the others have
        last.stop()
        alone = cluster.alone("n1", "--force-new-cluster=true")
        alone.start(ready=False)
        assert alone.wait() == 1
        assert "but n2, n3 can be reached" in alone.output()
        for name in ("n2", "n3"):
            cluster.servers[name].kill()
        alone.start()
        assert get(alone, "/key19") == "1"
        assert put(alone, "/after", "1") == 201
        alone.stop()
        again = cluster.alone("n1")
        again.start()
        assert get(again, "/after") == "1"
        lost = cluster.servers["n2"]
        lost.start(ready=False)
        assert lost.wait() == 1
        assert "was removed from the cluster" in lost.output()


def test_members_change_through_v3(tmp_path: Path) -> None:
    def ask(server: Server, path: str, **body: object) -> tuple[int, dict[str, Any]]:
        connection = HTTPConnection(HOST, timeout=20)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(server.data / "corenode.sock"))
        with closing(connection):
            connection.request("POST", f"/v3/{path}", json.dumps(body))
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    with ClusterOf(tmp_path, "n1", "n2", "n3") as cluster:
        first = cluster.leader()
        url = _free_url()
        status, added = ask(first, "cluster/member/add", peerURLs=[url], isLearner=True)
        assert (status, added["member"]["isLearner"]) == (200, True)
        new = added["member"]["ID"]
        status, refusal = ask(first, "cluster/member/add", peerURLs=[url], isLearner=True)
        assert (status, refusal["error"]) == (412, "etcdserver: Peer URLs already exists")
        status, refusal = ask(first, "cluster/member/promote", ID="12345")
        assert (status, refusal["error"]) == (404, "etcdserver: member not found")
        joined = cluster.join("n4", url)
        joined.start(ready=False)
        cluster.until(lambda: ask(first, "cluster/member/promote", ID=new)[0] == 200, "n4 votes")
        cluster.until(lambda: put(joined, "/by", "n4") == 201, "n4 serves")
        status, listed = ask(joined, "cluster/member/list")
        assert sorted(member["name"] for member in listed["members"]) == ["n1", "n2", "n3", "n4"]
        leader = cluster.leader()
        heir = next(member for member in listed["members"] if member["name"] != leader.home.name)
        status, refusal = ask(cluster.servers[heir["name"]], "maintenance/transfer-leadership", targetID=heir["ID"])
        assert (status, refusal["error"]) == (412, "etcdserver: not leader")
        assert ask(leader, "maintenance/transfer-leadership", targetID=heir["ID"])[0] == 200
        cluster.until(lambda: cluster.leader().home.name == heir["name"], "the heir leads")
        assert ask(cluster.leader(), "cluster/member/remove", ID=new)[0] == 200
        assert joined.wait() == 1


def test_a_directory_older_than_members_gets_one(tmp_path: Path) -> None:
    DataDirectory.open(tmp_path / "data", Beginning(Identity(5, 6))).close()
    with Server("corenode", tmp_path) as server, Client(server.port) as client:
        end = time.monotonic() + 10
        while not (found := client.ask("GET", "/v2/members").json["members"]):
            assert time.monotonic() < end
            time.sleep(0.05)
        assert [(each["id"], each["name"]) for each in found] == [("6", "judged")]
        assert client.put("/a", "1").status == 201


def _free_url() -> str:
    return f"http://{HOST}:{free_port()}"
