"""Rows damaged on the disk, where the structure of the file is whole: not served, said, and nothing rests on them."""

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.whole.requests import Client
from tests.whole.servers import ROOT, Server
from tests.whole.test_access_under_load import administer

pytestmark = pytest.mark.slow

DAMAGED = "to be damaged 7cf1b6d0"


def damage(file: Path) -> None:
    """Change the value wherever it stands in the file."""
    data = file.read_bytes()
    assert DAMAGED.encode() in data
    file.write_bytes(data.replace(DAMAGED.encode(), DAMAGED.upper().encode()))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A running node with one damaged key."""
    with Server("corenode", tmp_path) as running:
        with Client(running.port) as client:
            for number in range(200):
                assert client.put(f"/d/{number}", f"value {number}").status == 201
            assert client.put("/d/bad", DAMAGED).status == 201
        assert running.stop() == 0
        damage(running.data / "state-1" / "data.mdb")
        running.start()
        yield running


def check(data: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "cli.py"), "check", "--data-dir", str(data), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_reads_of_it_are_refused_and_all_else_is_served(server: Server) -> None:
    with Client(server.port) as client:
        assert client.get("/d/1").json["node"]["value"] == "value 1"
        assert client.ask("GET", "/health").status == 200, "nobody has met it yet"
        for query in ("", "?quorum=true"):
            refused = client.get("/d/bad", query)
            assert (refused.status, refused.json["errorCode"]) == (500, 300)
            assert "damaged" in refused.json["cause"]
            assert str(server.data) not in refused.json["cause"], "that is for the operator"
        assert client.get("/d", "?recursive=true").status == 500
        assert client.get("/d/1").status == 200
        assert client.put("/d/1", "new").status == 200
        health = client.ask("GET", "/health")
        assert (health.status, health.json["reason"]) == (503, "ALARM CORRUPT")
        assert client.ask("GET", "/livez").status == 200, "to start again would mend nothing"
        assert client.ask("GET", "/readyz").status == 503
        assert b"corenode_damaged 1" in client.ask("GET", "/metrics").body
    said = [line for line in server.output(10**6).splitlines() if "damaged data was not served" in line]
    assert len(said) == 1
    assert "state-1/data.mdb" in said[0]
    assert server.stop() == 0


def test_a_watch_through_it_breaks_off(server: Server) -> None:
    with Client(server.port) as client:
        index = client.get("/d/198").json["node"]["modifiedIndex"]
        assert client.get("/d", f"?wait=true&recursive=true&waitIndex={index}").json["node"]["key"] == "/d/198"
        with pytest.raises(http.client.IncompleteRead):
            client.get("/d", f"?wait=true&recursive=true&waitIndex={index + 2}")
    assert server.running()


def test_a_write_that_rests_on_it_ends_the_node_in_words(server: Server) -> None:
    with Client(server.port) as client, pytest.raises((OSError, http.client.HTTPException)):
        client.put("/d/bad", "new")
    for _ in range(2):  # in the log it is by now, so a new start meets it too
        assert server.wait() == 1
        last = server.output().rstrip().splitlines()[-1]
        assert "state-1/data.mdb" in last
        assert "restore a snapshot" in last
        assert "Traceback" not in server.output(10**6)
        server.start(ready=False)


def test_a_snapshot_of_it_is_none(server: Server) -> None:
    with pytest.raises(AssertionError, match="no snapshot can be read now"):
        administer(server, "GET", "/corenode/snapshot")
    with Client(server.port) as client:
        assert client.ask("GET", "/health").json["reason"] == "ALARM CORRUPT"


def test_check(server: Server) -> None:
    assert "in use" in check(server.data).stderr
    server.stop()
    found = check(server.data)
    assert found.returncode == 1
    assert "state-1/data.mdb" in found.stderr
    assert "wrong checksum" in found.stderr
    told: dict[str, Any] = json.loads(check(server.data, "-o", "json").stdout)
    assert told["whole"] is False
    assert "wrong checksum" in told["problem"]


def test_check_of_what_is_whole(tmp_path: Path) -> None:
    with Server("corenode", tmp_path) as server:
        with Client(server.port) as client:
            client.put("/a", "1")
        server.stop()
        found = check(server.data)
        assert (found.returncode, found.stderr) == (0, "")
        assert "key" in found.stdout
        told = json.loads(check(server.data, "-o", "json").stdout)
        assert told["whole"] is True
        assert told["rows"]["key"] >= 1
        assert told["log"]["last"] >= told["log"]["first"] >= 1
        server.start()
    assert check(tmp_path / "nowhere").returncode == 1
