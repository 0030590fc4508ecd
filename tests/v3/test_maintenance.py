"""Snapshots, hashes, the quota: what maintenance does besides its answers."""

import hashlib
import http.client
import json
import time
from pathlib import Path

import pytest

from core.api.v3.figures import figures
from core.kv.commands import Compact, DeleteRange, Put, Set
from core.node.latency import Latency
from core.store_lmdb.snapshot import verify
from tests.v3.client import V3, b64, plain
from tests.v3.compare import UnixConnection
from tests.v3.world import World
from tests.whole.servers import HOST, Server

MIB = 1 << 20


def written(world: World) -> World:
    for number in range(300):
        world.apply(Put(b"k%d" % (number % 40), b"%d" % number))
    world.apply(Set(b"/tree/x", b"1"))
    world.apply(DeleteRange(b"k1", b"k2"))
    world.apply(Compact(200))
    world.apply(Put(b"last"))
    return world


def hash_of(world: World, revision: int = 0) -> tuple[object, ...]:
    answer = world.answer("maintenance/hashkv", {"revision": revision})[1]
    return answer["hash"], answer["compact_revision"], answer["hash_revision"]


def test_the_hash_is_of_what_is_there_and_not_of_what_is_swept() -> None:
    one, other = written(World()), written(World())
    while other.keyspace.sweep():
        pass
    assert other.swept
    assert not one.swept
    assert hash_of(one) == hash_of(other)
    now = one.revision
    before = hash_of(one)
    one.apply(Put(b"more"))
    assert hash_of(one) != before
    assert hash_of(one, now) == before
    assert one.answer("maintenance/hash", {})[1]["hash"] == hash_of(one)[0]
    assert one.answer("maintenance/hashkv", {"revision": 5})[1]["code"] == 11
    assert one.answer("maintenance/hashkv", {"revision": 5_000})[1]["code"] == 11


def test_a_hash_tells_a_value_that_differs() -> None:
    one, other = World(), World()
    one.apply(Put(b"k", b"1"))
    other.apply(Put(b"k", b"2"))
    assert hash_of(one) != hash_of(other)


def test_calls_are_measured_by_name_and_failures_by_code() -> None:
    world = World()
    source = figures(world.handlers.items())
    assert list(source()) == []
    world.answer("kv/put", {"key": b64("a")})
    world.answer("kv/put", {"key": b64("a")})
    world.answer("kv/put", {})
    world.answer("kv/lease/revoke", {"ID": 7})
    world.ask("kv/range", b"{")
    shown = {(each.name, *each.labels.values()): each.value for each in source()}
    latency = shown.pop(("corenode_v3_request_duration_seconds", "kv/put"))
    assert isinstance(latency, Latency)
    assert sum(latency.counts) == 2
    assert shown == {
        ("corenode_v3_failures", "kv/put", "invalid_argument"): 1,
        ("corenode_v3_failures", "kv/range", "invalid_argument"): 1,
        ("corenode_v3_failures", "lease/revoke", "not_found"): 1,
    }


@pytest.mark.slow
def test_a_snapshot_is_a_file_of_this_node(tmp_path: Path) -> None:
    with Server("corenode", tmp_path / "node") as server:
        client = V3(server)
        for number in range(40):
            client.put(f"/k/{number}", b"v" * 50_000)
        connection = UnixConnection(server.data / "corenode.sock")
        connection.request("POST", "/v3/maintenance/snapshot")
        response = connection.getresponse()
        lines = [json.loads(line)["result"] for line in response.read().splitlines()]
        connection.close()
        blobs = [plain(line["blob"]) for line in lines]
        left = [int(line.get("remaining_bytes", 0)) for line in lines]
        assert max(map(len, blobs)) <= 32 * 1024
        assert blobs[-1] == hashlib.sha256(b"".join(blobs[:-1])).digest()
        assert left == sorted(left, reverse=True)
        assert left[-1] == 0 < left[-2]
        file = tmp_path / "snapshot"
        file.write_bytes(b"".join(blobs))
        assert verify(file).rows["key"] == 40


@pytest.mark.slow
def test_a_long_range_is_streamed_and_the_connection_goes_on(tmp_path: Path) -> None:
    with Server("corenode", tmp_path) as server:
        client = V3(server)
        for first in range(0, 2048, 128):
            puts = [{"request_put": {"key": b"/k/%05d" % n, "value": b"v" * 100}} for n in range(first, first + 128)]
            client.good("kv/txn", {"success": puts})
        connection = http.client.HTTPConnection(HOST, server.port, timeout=20)
        for path in ("kv/range", "kv/range"):
            connection.request("POST", f"/v3/{path}", json.dumps({"key": "AA==", "range_end": "AA=="}))
            response = connection.getresponse()
            assert response.getheader("Transfer-Encoding") == "chunked"
            found = json.loads(response.read())
            assert (len(found["kvs"]), found["count"]) == (2048, "2048")
        connection.close()


@pytest.mark.slow
def test_a_physical_compaction_is_answered_when_it_is_done(tmp_path: Path) -> None:
    with Server("corenode", tmp_path) as server:
        client = V3(server)
        for number in range(200):
            revision = client.put("k", str(number))
        client.good("kv/compaction", {"revision": revision, "physical": True})
        status = client.ask("kv/range", {"key": b"k", "revision": revision - 1})
        assert (status.status, status.body["code"]) == (400, 11)


@pytest.mark.slow
def test_the_alarm_of_the_quota_goes_when_there_is_space_again(tmp_path: Path) -> None:
    with Server("corenode", tmp_path, extra=["--quota-backend-bytes", str(4 * MIB)]) as server:
        client = V3(server)
        refused = None
        for number in range(200):
            answer = client.ask("kv/put", {"key": b"/k/%d" % number, "value": b"v" * 100_000})
            if answer.status != 200:
                refused = answer
                break
        assert refused is not None
        assert (refused.status, refused.body["message"]) == (429, "etcdserver: mvcc: database space exceeded")
        alarms = client.good("maintenance/alarm")["alarms"]
        assert [alarm["alarm"] for alarm in alarms] == ["NOSPACE"]
        assert client.ask("kv/txn", {"success": [{"request_put": {"key": b64("x")}}]}).status == 429
        assert client.ask("kv/txn", {"success": [{"request_range": {"key": b64("x")}}]}).status == 200
        deleted = client.good("kv/deleterange", {"key": b"/k/", "range_end": b"/k0"})
        client.ask("kv/compaction", {"revision": deleted["header"]["revision"], "physical": True})
        deadline = time.monotonic() + 20
        while client.good("maintenance/alarm").get("alarms"):
            assert time.monotonic() < deadline, "the alarm stays"
            time.sleep(0.05)
        client.put("/again", "x")
