"""What one dialect does as the other sees it."""

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.v3.client import V2, V3, Answer, b64, plain
from tests.v3.compare import UnixConnection
from tests.whole.servers import HOST, Server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server("corenode", tmp_path_factory.mktemp("crossings")) as server:
        yield server


@pytest.fixture
def v3(shared: Server) -> V3:
    client = V3(shared)
    client.good("kv/deleterange", {"key": b"\0", "range_end": b"\0"})
    return client


@pytest.fixture
def v2(shared: Server) -> V2:
    return V2(shared)


def v3_events(server: Server, start: int, count: int) -> list[dict[str, Any]]:
    """The first events of all keys from a revision on, each with the revision of its message."""
    connection = http.client.HTTPConnection(HOST, server.port, timeout=20)
    create = {"create_request": {"key": b64(b"\0"), "range_end": b64(b"\0"), "start_revision": str(start)}}
    connection.request("POST", "/v3/watch", json.dumps(create))
    response = connection.getresponse()
    found: list[dict[str, Any]] = []
    while len(found) < count:
        found += json.loads(response.readline())["result"].get("events", [])
    connection.close()
    return found


# TTL and lease


def test_a_lease_of_v3_is_a_ttl_in_v2(v3: V3, v2: V2) -> None:
    lease = v3.good("lease/grant", {"TTL": "600"})["ID"]
    v3.put("/leased", "x", lease=lease)
    node = v2.node("/leased")
    assert 595 <= node["ttl"] <= 600
    assert node["expiration"].endswith("Z")
    v3.good("kv/lease/revoke", {"ID": lease})
    assert v2.ask("GET", "/leased").status == 404


def test_a_lease_that_runs_out_expires_its_keys_in_v2(v3: V3, v2: V2) -> None:
    lease = v3.good("lease/grant", {"TTL": "1"})
    assert lease["TTL"] == "2"
    revision = v3.put("/soon/a", "x", lease=lease["ID"])
    v3.put("/soon/b", "y", lease=lease["ID"])
    first = v2.wait("/soon", revision + 2)
    assert (first["action"], first["node"]["key"], first["prevNode"]["value"]) == ("expire", "/soon/a", "x")
    second = v2.wait("/soon", first["node"]["modifiedIndex"] + 1)
    assert (second["action"], second["node"]["key"]) == ("expire", "/soon/b")
    assert v3.get("/soon/a") is None
    assert v3.good("lease/timetolive", {"ID": lease["ID"]})["TTL"] == "-1"


def test_keeping_a_lease_alive_moves_the_ttl_of_v2(v3: V3, v2: V2) -> None:
    lease = v3.good("lease/grant", {"TTL": "600"})["ID"]
    v3.put("/kept", "x", lease=lease)
    before = v2.node("/kept")
    v3.good("lease/keepalive", {"ID": lease})
    after = v2.node("/kept")
    assert after["expiration"] > before["expiration"]
    assert after["modifiedIndex"] == before["modifiedIndex"], "the key itself did not change"


def test_a_ttl_of_v2_is_no_lease_in_v3_and_ends_all_the_same(v3: V3, v2: V2, shared: Server) -> None:
    index = v2.ask("PUT", "/brief", value="x", ttl=1).body["node"]["modifiedIndex"]
    assert "lease" not in v3.get("/brief")
    put, deleted = v3_events(shared, index, 2)
    assert "type" not in put
    assert (deleted["type"], plain(deleted["kv"]["key"])) == ("DELETE", b"/brief")


def test_a_put_of_v3_ends_a_ttl_unless_it_keeps_the_lease(v3: V3, v2: V2) -> None:
    v2.ask("PUT", "/timed", value="x", ttl=600)
    v3.put("/timed", "y", ignore_lease=True)
    assert v2.node("/timed")["ttl"] > 590
    v3.put("/timed", "z")
    assert "ttl" not in v2.node("/timed")


def test_a_write_or_refresh_of_v2_takes_a_key_off_its_lease(v3: V3, v2: V2) -> None:
    lease = v3.good("lease/grant", {"TTL": "600"})["ID"]
    for form in ({"value": "new"}, {"ttl": 300, "refresh": "true", "prevExist": "true"}):
        v3.put("/moved", "x", lease=lease)
        before = v3.get("/moved")
        assert v2.ask("PUT", "/moved", **form).status == 200
        after = v3.get("/moved")
        assert (before["lease"], after.get("lease")) == (lease, None)
        assert int(after["version"]) == int(before["version"]) + 1
        assert "keys" not in v3.good("lease/timetolive", {"ID": lease, "keys": True})
    assert plain(v3.get("/moved")["value"]) == b"x", "a refresh keeps the value"
    v3.good("lease/revoke", {"ID": lease})
    assert v2.node("/moved")["ttl"] > 290


def test_a_refresh_is_a_change_in_v3_and_wakes_no_watcher_of_v2(v3: V3, v2: V2, shared: Server) -> None:
    index = v2.ask("PUT", "/fresh", value="x", ttl=600).body["node"]["modifiedIndex"]
    v2.ask("PUT", "/fresh", ttl=500, refresh="true", prevExist="true")
    v2.ask("PUT", "/fresh", value="y")
    assert v2.wait("/fresh", index + 1, recursive=False)["node"]["value"] == "y"
    values = [plain(event["kv"]["value"]) for event in v3_events(shared, index, 3)]
    assert values == [b"x", b"x", b"y"]


# Directories and prefixes


def test_a_put_of_v3_makes_directories_that_v3_does_not_see(v3: V3, v2: V2) -> None:
    v3.put("/tree/a/b", "x")
    v2.ask("PUT", "/tree/empty", dir="true")
    top = v2.node("/tree")
    assert top["dir"] is True
    assert sorted(child["key"] for child in top["nodes"]) == ["/tree/a", "/tree/empty"]
    found = v3.good("kv/range", {"key": b"/tree", "range_end": b"/tref"})
    assert [plain(kv["key"]) for kv in found["kvs"]] == [b"/tree/a/b"]
    v3.good("kv/deleterange", {"key": b"/tree/", "range_end": b"/tree0"})
    assert {child["key"] for child in v2.node("/tree")["nodes"]} == {"/tree/a", "/tree/empty"}


def test_a_value_over_a_directory_hides_what_lies_below_in_v2_alone(v3: V3, v2: V2) -> None:
    v2.ask("PUT", "/over/below", value="x")
    v3.put("/over", "file")
    assert v2.node("/over")["value"] == "file"
    assert v2.ask("GET", "/over/below").body["errorCode"] in (100, 104)
    assert v2.ask("PUT", "/over/other", value="y").body["errorCode"] == 104
    assert plain(v3.get("/over/below")["value"]) == b"x"
    v3.good("kv/deleterange", {"key": b"/over"})
    assert v2.node("/over/below")["value"] == "x"


def test_a_prefix_of_v3_knows_no_slashes(v3: V3, v2: V2) -> None:
    for name in ("/p", "/p/a", "/pa", "/p0"):
        v3.put(name, "x") if name != "/p" else None
    found = v3.good("kv/range", {"key": b"/p", "range_end": b"/q", "keys_only": True})
    assert [plain(kv["key"]) for kv in found["kvs"]] == [b"/p/a", b"/p0", b"/pa"]
    assert [child["key"] for child in v2.node("/p")["nodes"]] == ["/p/a"]


# Deletions


def test_a_recursive_delete_of_v2_is_one_event_there_and_one_revision_of_all_keys_in_v3(
    v3: V3, v2: V2, shared: Server
) -> None:
    for number in range(5):
        v2.ask("PUT", f"/rec/{number}/x", value=str(number))
    answer = v2.ask("DELETE", "/rec?recursive=true").body
    index = answer["node"]["modifiedIndex"]
    assert v2.wait("/rec/3/x", index, recursive=False)["node"]["key"] == "/rec"
    events = v3_events(shared, index, 5)
    assert [plain(event["kv"]["key"]) for event in events] == [b"/rec/%d/x" % number for number in range(5)]
    assert {(event["type"], event["kv"]["mod_revision"]) for event in events} == {("DELETE", str(index))}


def test_a_range_delete_of_v3_is_an_event_for_each_key_in_v2(v3: V3, v2: V2) -> None:
    for number in range(5):
        revision = v3.put(f"/gone/{number}", str(number))
    done = v3.good("kv/deleterange", {"key": b"/gone/", "range_end": b"/gone0", "prev_kv": True})
    assert (done["deleted"], done["header"]["revision"]) == ("5", str(revision + 5))
    for number in range(5):
        event = v2.wait("/gone", revision + 1 + number)
        assert event["action"] == "delete"
        assert (event["node"]["key"], event["prevNode"]["value"]) == (f"/gone/{number}", str(number))
        assert event["node"]["modifiedIndex"] == revision + 1 + number


# A large transaction


def test_a_transaction_of_128_puts_is_missed_by_no_long_poll(v3: V3, v2: V2, shared: Server) -> None:
    start = v3.put("/many", "begin")
    puts = [{"request_put": {"key": b"/txn/%03d" % number, "value": b"%d" % number}} for number in range(128)]
    done = v3.good("kv/txn", {"success": puts})
    assert done["header"]["revision"] == str(start + 128)
    index = start + 1
    for number in range(128):
        event = v2.wait("/txn", index)
        assert (event["node"]["key"], event["node"]["value"]) == (f"/txn/{number:03}", str(number))
        index = event["node"]["modifiedIndex"] + 1
    assert index == start + 129
    events = v3_events(shared, start + 1, 128)
    assert {event["kv"]["mod_revision"] for event in events} == {str(start + 128)}


def test_compare_and_swap_of_v2_and_transactions_of_v3_see_one_version(v3: V3, v2: V2) -> None:
    revision = v3.put("/cas", "1")
    assert v2.ask("PUT", f"/cas?prevIndex={revision}", value="2").status == 200
    stale = {"key": b"/cas", "target": "MOD", "mod_revision": str(revision)}
    assert "succeeded" not in v3.good("kv/txn", {"compare": [stale], "success": [{"request_put": {"key": b"/cas"}}]})
    now = v3.get("/cas")
    fresh = {"key": b"/cas", "target": "MOD", "mod_revision": now["mod_revision"]}
    assert v3.good("kv/txn", {"compare": [fresh], "success": [{"request_put": {"key": b"/cas", "value": b"3"}}]})[
        "succeeded"
    ]
    assert v2.ask("PUT", f"/cas?prevIndex={now['mod_revision']}", value="4").status == 412
    assert v2.node("/cas")["value"] == "3"


# What is not UTF-8, and what is no path


def test_values_that_are_no_text_show_in_v2_as_far_as_they_can(v3: V3, v2: V2) -> None:
    v3.put("/raw", b"a\xff\xfe\0z")
    assert v2.node("/raw")["value"] == "a\ufffd\ufffd\0z"
    assert plain(v3.get("/raw")["value"]) == b"a\xff\xfe\0z"
    assert v2.ask("PUT", "/raw?prevValue=a%FF%FE%00z", value="text").status == 200


@pytest.mark.parametrize("key", [b"/bad/\xff", b"/bad//x", b"/bad/", b"/bad/../x", b"bad", b"\0bad", b"/"])
def test_keys_that_are_no_clean_path_do_not_show_in_v2(v3: V3, v2: V2, key: bytes) -> None:
    v3.put(key, "x")
    v3.put("/bad/good", "y")
    assert plain(v3.get(key)["value"]) == b"x"
    listing = json.dumps(v2.ask("GET", "/?recursive=true").body)
    assert '"value": "y"' in listing
    assert '"value": "x"' not in listing


def test_the_system_records_are_no_keys(v3: V3) -> None:
    assert v3.ask("kv/put", {"key": b"\0corenode/auth/switch", "value": b"x"}).status == 403
    assert V3(v3._server, admin=True).good("auth/role/add", {"name": "somebody"})
    found = v3.good("kv/range", {"key": b"\0", "range_end": b"\0"})
    assert "kvs" not in found
    assert v3.get(b"\0corenode/auth/role/somebody") is None
    assert "deleted" not in v3.good("kv/deleterange", {"key": b"\0corenode/", "range_end": b"\0corenode0"})
    V3(v3._server, admin=True).good("auth/role/delete", {"role": "somebody"})


# One model of access


def v2_admin(server: Server, method: str, path: str, body: object = None) -> Answer:
    connection = UnixConnection(server.data / "corenode.sock")
    connection.request(method, f"/v2/auth/{path}", b"" if body is None else json.dumps(body).encode())
    response = connection.getresponse()
    text = response.read()
    connection.close()
    return Answer(response.status, json.loads(text) if text else None)


def test_one_model_of_access(tmp_path: Path) -> None:
    with Server("corenode", tmp_path) as server:
        admin = V3(server, admin=True)
        admin.good("auth/user/add", {"name": "root", "password": "secret"})
        rights = {"kv": {"read": ["/pub/*"], "write": ["/pub/mine"]}}
        assert v2_admin(server, "PUT", "roles/r", {"role": "r", "permissions": rights}).status == 201
        assert admin.good("auth/role/get", {"role": "r"})["perm"] == [
            {"key": b64("/pub/"), "range_end": b64("/pub0")},
            {"permType": "WRITE", "key": b64("/pub/mine")},
        ]
        odd = {"permType": "READWRITE", "key": b"/n", "range_end": b"/p"}
        admin.good("auth/role/grant", {"name": "r", "perm": odd})
        assert v2_admin(server, "GET", "roles/r").body["permissions"] == rights, "no pattern says that range"
        admin.good("auth/user/add", {"name": "alice", "password": "wonderland"})
        admin.good("auth/user/grant", {"user": "alice", "role": "r"})
        assert [role["role"] for role in v2_admin(server, "GET", "users/alice").body["roles"]] == ["r"]
        V3(server).put("/pub/a", "1")
        V3(server).put("/secret", "1")

        admin.good("auth/enable")
        assert V2(server).ask("GET", "/pub/a").status == 401, "enabled by v3 there is no guest"
        assert V3(server).ask("kv/range", {"key": b"/pub/a"}).body["message"] == "etcdserver: user name is empty"
        token = V3(server).good("auth/authenticate", {"name": "alice", "password": "wonderland"})["token"]
        alice, her = V3(server, token=token), V2(server, "alice:wonderland")
        assert alice.get("/pub/a") is not None
        assert her.node("/pub/a")["value"] == "1"
        for status, key in ((200, "/pub/mine"), (403, "/pub/other"), (200, "/orange"), (403, "/zebra")):
            assert alice.ask("kv/put", {"key": key.encode()}).status == status, key
            assert her.ask("PUT", key, value="x").status == {200: 200, 403: 401}[status], key
        assert her.ask("GET", "/?recursive=true").status == 401
        assert alice.ask("kv/range", {"key": b"\0", "range_end": b"\0"}).status == 403
        assert alice.ask("kv/range", {"key": b"/pub/", "range_end": b"/pub0"}).status == 200

        admin.good("auth/disable")
        assert v2_admin(server, "PUT", "enable").status == 200
        assert V3(server).ask("kv/range", {"key": b"/secret"}).status == 200, "enabled by v2 there is a guest"
        guest = {"role": "guest", "revoke": {"kv": {"read": ["/*"], "write": ["/*"]}}}
        assert v2_admin(server, "PUT", "roles/guest", guest).status == 200
        assert V3(server).ask("kv/range", {"key": b"/secret"}).status == 400
        assert alice.get("/pub/a") is not None, "the token is still good"
        admin.good("auth/user/changepw", {"name": "alice", "password": "new"})
        assert alice.ask("kv/range", {"key": b"/pub/a"}).status == 401
