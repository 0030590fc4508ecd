"""How far back a wait reaches: etcd keeps a ring of 1,000 events, this node history down to its compaction floor."""

import http.client
import json
from pathlib import Path

import pytest

from tests.whole.servers import HOST, Server, missing

pytestmark = pytest.mark.slow
WRITES = 1200


def write_many(server: Server) -> int:
    """Write one key 1,200 times and give the index of the first write."""
    connection = http.client.HTTPConnection(HOST, server.port, timeout=10)
    first = 0
    for number in range(WRITES):
        connection.request("PUT", f"/v2/keys/counter?value={number}", headers={"Content-Length": "0"})
        node = json.loads(connection.getresponse().read())["node"]
        first = first or node["modifiedIndex"]
    connection.close()
    return first


def wait_from(server: Server, index: int) -> tuple[int, dict[str, object]]:
    connection = http.client.HTTPConnection(HOST, server.port, timeout=10)
    connection.request("GET", f"/v2/keys/counter?wait=true&waitIndex={index}")
    reply = connection.getresponse()
    body = json.loads(reply.read())
    connection.close()
    return reply.status, body


def test_etcd_has_cleared_what_is_older_than_a_thousand_events(tmp_path: Path) -> None:
    if missing("etcd"):
        pytest.skip(missing("etcd"))
    with Server("etcd", tmp_path) as server:
        first = write_many(server)
        last = first + WRITES - 1
        status, body = wait_from(server, first)
        assert (status, body["errorCode"], body["index"]) == (400, 401, last)
        assert body["message"] == "The event in requested index is outdated and cleared"
        assert body["cause"] == f"the requested history has been cleared [{last - 999}/{first}]"


def test_this_node_serves_them(tmp_path: Path) -> None:
    with Server("corenode", tmp_path) as server:
        first = write_many(server)
        status, body = wait_from(server, first)
        assert status == 200
        assert body["node"] == {"key": "/counter", "value": "0", "modifiedIndex": first, "createdIndex": first}
