"""Members, machines, statistics."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.api.http.message import Caller, Response
from core.api.router import Router
from core.api.store import ChangeRefusedError, Obstacle
from core.api.v2.cluster import Follower, Member
from core.api.v2.counters import Counters, Operation
from core.api.v2.routes import routes
from core.api.v2.stats import go_duration
from core.kv.commands import ChangeMember
from core.kv.membership import Change
from core.node.damage import Damage
from tests.auth.support import certificate, open_gate
from tests.v2.fakes import ANYONE, LOCAL, FakeReply, FakeStore, request

JSON = (b"content-type", b"application/json")


class FakeCluster:
    id = "7e27652122e8b2ae"
    self_id = "8e9e05c52164694d"
    leader_id: str | None = "8e9e05c52164694d"
    leader_since = 1_790_000_001.5
    started = 1_790_000_000.25
    state = "StateLeader"
    expired = 3
    watchers = 2
    followers = (Follower("1", 0.25, 7, 2),)
    members = (
        Member(
            "8e9e05c52164694d", "one", ("http://127.0.0.1:2380",), ("http://127.0.0.1:4001", "http://127.0.0.1:2379")
        ),
        Member("1", "", ("http://127.0.0.2:2380",), ()),
    )


def ask(
    line: str,
    body: bytes = b"",
    caller: Caller = ANYONE,
    header: tuple[bytes, bytes] = JSON,
    cluster: FakeCluster | None = None,
    store: FakeStore | None = None,
) -> Response:
    method, target = line.encode().split()
    reply = FakeReply()
    handlers = routes(store or FakeStore(), open_gate(), cluster or FakeCluster(), Counters(), lambda: 1_790_000_003.75)
    Router(lambda *_: pytest.fail("not a key"), handlers, Damage())(
        request(method, target, body, (header,), caller), reply
    )
    return reply.sent


@pytest.mark.parametrize("target", ["/v2/members", "/v2/members/"])
def test_members(target: str) -> None:
    answer = ask(f"GET {target}")
    assert answer.headers == b"Content-Type: application/json\r\nX-Etcd-Cluster-Id: 7e27652122e8b2ae\r\n"
    assert answer.body == (
        b'{"members":[{"id":"8e9e05c52164694d","name":"one","peerURLs":["http://127.0.0.1:2380"],'
        b'"clientURLs":["http://127.0.0.1:4001","http://127.0.0.1:2379"]},'
        b'{"id":"1","name":"","peerURLs":["http://127.0.0.2:2380"],"clientURLs":[]}]}\n'
    )


def test_the_leader() -> None:
    assert json.loads(ask("GET /v2/members/leader").body)["name"] == "one"
    lost = FakeCluster()
    lost.leader_id = None
    answer = ask("GET /v2/members/leader", cluster=lost)
    assert (answer.status, answer.body) == (503, b'{"message":"During election"}')


@pytest.mark.parametrize(
    ("line", "status", "words"),
    [
        ("GET /v2/members/nobody", 404, b'{"message":"Not found"}'),
        ("PATCH /v2/members", 405, b"Method Not Allowed\n"),
        ("DELETE /v2/members", 405, b"Method Not Allowed\n"),
        ("PUT /v2/members/", 405, b"Method Not Allowed\n"),
        ("PUT /v2/members/zz", 404, b'{"message":"No such member: zz"}'),
    ],
)
def test_what_members_refuses(line: str, status: int, words: bytes) -> None:
    answer = ask(line, caller=LOCAL)
    assert answer.status == status
    assert words in answer.body


def test_adding_a_member() -> None:
    asked = b'{"peerURLs":["http://127.0.0.1:2390"]}'
    assert ask("POST /v2/members", asked).status == 403
    assert ask("POST /v2/members", asked, LOCAL, (b"content-type", b"text/plain")).body == (
        b'{"message":"Bad Content-Type text/plain, accept application/json"}'
    )
    for bad in (b"x", b'{"peerURLs":["\xff"]}', b'{"x":' + b"[" * 100_000, b'{"peerURLs":1}'):
        assert ask("POST /v2/members", bad, LOCAL).status == 400
    assert ask("POST /v2/members", b"{}", LOCAL).body == b'{"message":"no valid URLs given"}'
    certified = Caller("127.0.0.1:1", certificate=certificate("alice", "corenode:admin"))
    merely = Caller("127.0.0.1:1", certificate=certificate("bob", "corenode:operator"))
    assert ask("POST /v2/members", asked, merely).status == 403
    assert ask("POST /v2/members", b'{"peerURLs":["nowhere"]}', certified).status == 400
    store = FakeStore()
    store.outcome = Change()
    answer = ask("POST /v2/members", asked, certified, store=store)
    (command,) = store.commands
    assert isinstance(command, ChangeMember)
    assert (command.standing, command.peer_urls) == (2, ("http://127.0.0.1:2390",))
    assert (answer.status, json.loads(answer.body)) == (
        201,
        {"id": f"{command.id:x}", "name": "", "peerURLs": ["http://127.0.0.1:2390"], "clientURLs": []},
    )


@pytest.mark.parametrize(
    ("line", "obstacle", "status", "words"),
    [
        ("DELETE /v2/members/12", Obstacle.NOT_A_MEMBER, 404, "No such member: 12"),
        ("DELETE /v2/members/12", Obstacle.REMOVED, 410, "Member permanently removed: 12"),
        ("DELETE /v2/members/12", Obstacle.NO_QUORUM, 500, "why"),
        ("PUT /v2/members/12", Obstacle.URL_TAKEN, 409, "why"),
        ("POST /v2/members", Obstacle.URL_TAKEN, 409, "why"),
    ],
)
def test_refused_changes(line: str, obstacle: Obstacle, status: int, words: str) -> None:
    store = FakeStore()
    store.outcome = ChangeRefusedError(obstacle, "why")
    body = b"" if line.startswith("DELETE") else b'{"peerURLs":["http://127.0.0.1:2390"]}'
    answer = ask(line, body, LOCAL, store=store)
    assert (answer.status, json.loads(answer.body)) == (status, {"message": words})


def test_a_removed_member_and_new_urls_have_no_body() -> None:
    store = FakeStore()
    store.outcome = Change()
    assert ask("DELETE /v2/members/c", b"", LOCAL, store=store).status == 204
    assert ask("PUT /v2/members/c", b'{"peerURLs":["http://h:1"]}', LOCAL, store=store).status == 204
    assert store.commands == [ChangeMember(12, 0), ChangeMember(12, None, "", ("http://h:1",))]


def test_machines() -> None:
    assert ask("GET /v2/machines").body == b"http://127.0.0.1:2379, http://127.0.0.1:4001"
    assert ask("PUT /v2/machines").status == 405


def test_statistics_of_the_node() -> None:
    answer = ask("GET /v2/stats/self")
    assert answer.headers == b"Content-Type: application/json\r\n"
    assert answer.body == (
        b'{"name":"one","id":"8e9e05c52164694d","state":"StateLeader","startTime":"2026-09-21T14:13:20.25Z",'
        b'"leaderInfo":{"leader":"8e9e05c52164694d","uptime":"2.25s","startTime":"2026-09-21T14:13:21.5Z"},'
        b'"recvAppendRequestCnt":0,"sendAppendRequestCnt":0}'
    )


def test_statistics_of_the_store() -> None:
    assert ask("GET /v2/stats/store").body == (
        b'{"getsSuccess":0,"getsFail":0,"setsSuccess":0,"setsFail":0,"deleteSuccess":0,"deleteFail":0,'
        b'"updateSuccess":0,"updateFail":0,"createSuccess":0,"createFail":0,"compareAndSwapSuccess":0,'
        b'"compareAndSwapFail":0,"compareAndDeleteSuccess":0,"compareAndDeleteFail":0,"expireCount":3,"watchers":2}'
    )
    counters = Counters()
    counters.failed[Operation.COMPARE_AND_SWAP] = 9
    assert json.loads(counters.body(expired=0, watchers=0))["compareAndSwapFail"] == 9


def test_statistics_of_the_leader() -> None:
    assert ask("GET /v2/stats/leader").body == (
        b'{"leader":"8e9e05c52164694d","followers":{"1":{"latency":{"current":0.25,"average":0.25,'
        b'"standardDeviation":0,"minimum":0.25,"maximum":0.25},"counts":{"fail":2,"success":7}}}}'
    )
    follower = FakeCluster()
    follower.leader_id = "1"
    answer = ask("GET /v2/stats/leader", cluster=follower)
    assert (answer.status, answer.body) == (403, b'{"message":"not current leader"}')


@pytest.mark.parametrize("line", ["PUT /v2/stats/self", "POST /v2/stats/store", "HEAD /v2/stats/leader"])
def test_statistics_are_only_read(line: str) -> None:
    answer = ask(line)
    assert answer.status == 405
    assert answer.headers.startswith(b"Allow: GET\r\n")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-1, "0s"),
        (0.0000004, "0s"),
        (0.000012, "12µs"),
        (0.0015, "1.5ms"),
        (1, "1s"),
        (62.25, "1m2.25s"),
        (3600, "1h0m0s"),
        (274.443261, "4m34.443261s"),
    ],
)
def test_durations_are_as_go_prints_them(seconds: float, shown: str) -> None:
    assert go_duration(seconds) == shown


@given(
    st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE"]),
    st.binary(max_size=20),
    st.one_of(st.binary(max_size=40), st.just(b'{"peerURLs":["\xff"]}')),
)
def test_no_bytes_raise(method: bytes, path: bytes, body: bytes) -> None:
    reply = FakeReply()
    handlers = routes(FakeStore(), open_gate(), FakeCluster(), Counters(), lambda: 0.0)
    asked = request(method, b"/v2/members/" + path.replace(b"?", b""), body, (JSON,), LOCAL)
    Router(lambda *_: pytest.fail("not a key"), handlers, Damage())(asked, reply)
    assert reply.sent.status >= 200
