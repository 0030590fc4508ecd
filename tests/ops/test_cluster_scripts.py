"""`ops/add-host`, `ops/replace-member`, `ops/rolling-restart`, and a rotation of the peers' certificates, against real
clusters with TLS."""

import json
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from core.tls.authority import load_chain
from tests.ops.clusters import TlsCluster
from tests.ops.test_scripts import OPS, run
from tests.whole.servers import HOST, free_port

pytestmark = pytest.mark.slow


def roles(cluster: TlsCluster) -> dict[str, str]:
    found = json.loads(cluster.run("member", "list", "-o", "json").stdout)
    return {member["name"]: "voter" if member["role"] == "leader" else member["role"] for member in found}


def test_a_dead_member_is_replaced_by_a_new_host(tmp_path: Path) -> None:
    with TlsCluster(tmp_path, "n1", "n2", "n3") as cluster:
        assert cluster.run("kv", "put", "/a", "1").returncode == 0
        url = f"https://{HOST}:{free_port()}"
        words = ["n3", "n4", url, "new", "--authority", "ca", "--san", HOST]
        refused = run("replace-member", *words, env=cluster.env, cwd=tmp_path)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "n3 answers" in refused.stderr
        cluster.kill("n3")
        cluster.until(lambda: "self" not in _link(cluster, "n3"), "the admin asks another")
        cluster.until(lambda: _link(cluster, "n3") != "up", "its death is known")
        early = run("replace-member", *words, env={**cluster.env, "WAIT": "1"}, cwd=tmp_path)
        assert early.returncode == 1
        assert "n4 does not vote yet" in early.stderr
        assert roles(cluster) == {"n1": "voter", "n2": "voter", "n4": "learner"}

        cluster.clients["n4"] = f"https://{HOST}:{free_port()}"
        server = ["--cert-file", "server.crt", "--key-file", "server.key", "--trusted-ca-file", "ca.crt"]
        cluster.start("n4", str(tmp_path / "new" / "up"), "--listen-client-urls", cluster.clients["n4"], *server)
        done = run("replace-member", *words, env=cluster.env, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "replace-member: n4 votes"
        assert roles(cluster) == {"n1": "voter", "n2": "voter", "n4": "voter"}
        cluster.kill("n1")  # what is left is a majority only with the new one
        cluster.until(lambda: cluster.run("kv", "put", "/a", "2").returncode == 0, "the new one counts")
        assert cluster.run("kv", "get", "/a", "--endpoints", cluster.clients["n4"]).stdout == "2\n"


def _link(cluster: TlsCluster, name: str) -> str:
    found = json.loads(cluster.run("member", "list", "-o", "json").stdout)
    return next(str(member["link"]) for member in found if member["name"] == name)


def test_all_are_restarted_and_none_while_one_is_missing(tmp_path: Path) -> None:
    with TlsCluster(tmp_path, "n1", "n2", "n3") as cluster:
        pairs = [f"{name}={url}" for name, url in cluster.clients.items()]
        asked = tmp_path / "asked"
        command = 'echo "$1" >>asked; while [ -e asked ]; do sleep 0.1; done'
        env = {**cluster.env, "WAIT": "40"}

        cluster.kill("n2")
        refused = run("rolling-restart", command, *pairs, env=env, cwd=tmp_path)
        assert (refused.returncode, asked.exists()) == (1, False)
        assert "is not healthy" in refused.stderr
        cluster.start("n2")
        cluster.until(lambda: cluster.run("health").returncode == 0, "all are healthy")
        partly = run("rolling-restart", command, *pairs[:2], env=env, cwd=tmp_path)
        assert (partly.returncode, asked.exists()) == (1, False)
        assert "the cluster has 3 members" in partly.stderr

        leader = next(name for name, url in cluster.clients.items() if _role(cluster, url) == "leader")
        before = {name: process.pid for name, process in cluster.processes.items()}
        order: list[str] = []

        def restart(name: str) -> None:
            order.append(name)
            cluster.restart(name)

        with Restarter(asked, restart):
            done = run("rolling-restart", command, *pairs, env=env, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert sorted(order) == ["n1", "n2", "n3"]
        assert order[-1] == leader
        assert all(cluster.processes[name].pid != pid for name, pid in before.items())


def _role(cluster: TlsCluster, url: str) -> str:
    return str(json.loads(cluster.run("status", "-o", "json", "--endpoints", url).stdout)[0]["status"]["role"])


class Restarter:
    """Does what the script asks for in a file, and removes the file when it is done."""

    def __init__(self, asked: Path, act: Callable[[str], None]) -> None:
        self._asked, self._act, self._end = asked, act, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(0.05):
            if self._asked.exists() and (name := self._asked.read_text().strip()):
                self._act(name)
                self._asked.unlink()


def test_the_peers_go_over_to_a_new_root_without_a_restart(tmp_path: Path) -> None:
    with TlsCluster(tmp_path, "n1", "n2", "n3") as cluster:
        trust = tmp_path / "trust.crt"
        servers = [tmp_path / f"server-{name}" / f"{name}.crt" for name in cluster.peers]
        peers = [tmp_path / f"peer-{name}" / f"{name}.crt" for name in cluster.peers]
        alice = tmp_path / "certs" / "alice.crt"
        words: list[str | Path] = ["ca", "--trust", trust, *servers, alice]
        begun = run("rotate-authority", *words, tmp_path / "certs" / "node1.crt", env=cluster.env, cwd=tmp_path)
        assert begun.returncode == 0, begun.stderr
        early = run("rotate-authority", "ca", "--finish", env={**cluster.env, "WAIT": "4"}, cwd=tmp_path)
        assert early.returncode == 1
        assert "among members, which chains only to the old root" in early.stderr
        assert run("rotate-authority", "ca", *peers, env=cluster.env, cwd=tmp_path).returncode == 0
        done = run("rotate-authority", "ca", "--finish", "--trust", trust, env=cluster.env, cwd=tmp_path)
        assert done.returncode == 0, done.stderr + done.stdout
        assert len(load_chain(trust)) == 1
        # A member that comes back is linked by the new root alone, with those that were never restarted.
        cluster.restart("n1")
        cluster.until(lambda: cluster.run("health").returncode == 0, "all are healthy")
        cluster.until(lambda: {_link(cluster, name) for name in cluster.peers} <= {"up", "self"}, "all are linked")


@pytest.mark.parametrize("script", ["add-host", "replace-member", "rolling-restart"])
def test_help_and_wrong_usage(script: str, tmp_path: Path) -> None:
    for words, code in ((["--help"], 0), ([], 2), (["--nonsense"], 2), (["one"], 2)):
        done = subprocess.run([OPS / script, *words], capture_output=True, text=True, cwd=tmp_path, timeout=30)
        assert (done.returncode, bool(done.stdout), bool(done.stderr)) == (code, code == 0, code != 0)
