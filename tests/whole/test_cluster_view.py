"""What a cluster shows of itself: status and health of all members, figures of links and elections."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.whole.cluster import ClusterOf, member
from tests.whole.requests import Client
from tests.whole.servers import HOST, ROOT, Server, free_port

pytestmark = pytest.mark.slow


def verb(cluster: ClusterOf, server: Server, *words: str) -> subprocess.CompletedProcess[str]:
    """With the runtime directory of all: where each node's socket is found by its URL."""
    command = [sys.executable, str(ROOT / "cli.py"), *words, "--endpoints", f"unix://{server.data / 'corenode.sock'}"]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(cluster.home)}
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, cwd=ROOT, env=environment)


def figures(server: Server) -> dict[str, float]:
    with Client(server.port) as client:
        lines = client.ask("GET", "/metrics").body.decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[:1] != "#")}


def test_status_and_health_of_all_members(tmp_path: Path) -> None:
    with ClusterOf(tmp_path, "n1", "n2", "n3") as cluster:
        leader, follower = cluster.leader(), cluster.follower()
        shared = tmp_path / "corenode"
        shared.mkdir()
        for server in cluster.running():
            for file in (server.home / "corenode").iterdir():
                (shared / file.name).write_bytes(file.read_bytes())
        shown = verb(cluster, follower, "status", "--cluster", "-o", "json")
        assert shown.returncode == 0, shown.stderr
        found = [each["status"] for each in json.loads(shown.stdout)]
        assert [each["name"] for each in found] == ["n1", "n2", "n3"]
        assert [each["name"] for each in found if each["role"] == "leader"] == [leader.home.name]
        assert {each["pid"] for each in found} == {server.pid for server in cluster.running()}
        leader.kill()
        health = verb(cluster, follower, "health", "--cluster", "-o", "json")
        assert health.returncode == 1
        assert {each["endpoint"] for each in json.loads(health.stdout)} == {s.url for s in cluster.servers.values()}


def test_figures_of_links_and_elections(tmp_path: Path) -> None:
    with ClusterOf(tmp_path, "n1", "n2", "n3") as cluster:
        leader, follower = cluster.leader(), cluster.follower()
        with Client(follower.port) as client:
            assert client.put("/a", "1").status == 201
        found = figures(follower)
        assert found["corenode_proposals_forwarded_total"] >= 1
        assert (found['corenode_raft_role{role="follower"}'], found['corenode_raft_role{role="leader"}']) == (1, 0)
        assert figures(leader)['corenode_raft_role{role="leader"}'] == 1
        name = leader.home.name
        cluster.until(lambda: figures(follower)[f'corenode_link_up{{member="{name}"}}'] == 1, "they are linked")
        assert figures(follower)[f'corenode_link_sent_frames_total{{member="{name}"}}'] > 0
        before = figures(follower)["corenode_leader_changes_total"]
        leader.kill()
        cluster.until(lambda: figures(follower)["corenode_leader_changes_total"] > before, "another leads")
        cluster.until(lambda: figures(follower)[f'corenode_link_up{{member="{name}"}}'] == 0, "the link is gone")


def test_a_learner_that_never_ran_gets_no_vote(tmp_path: Path) -> None:
    """With it the cluster would need both, and stand still."""
    with ClusterOf(tmp_path, "n1", "n2", "n3") as cluster:
        leader = cluster.leader()
        added = member(leader, "add", "n4", "--peer-urls", f"http://{HOST}:{free_port()}", "--learner")
        assert added.returncode == 0, added.stderr
        refused = member(leader, "promote", "n4")
        assert refused.returncode == 1
        assert "is not heard of" in refused.stderr
        with Client(leader.port) as client:
            assert client.put("/a", "1").status == 201
