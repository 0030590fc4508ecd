"""Requests that are meant to do harm: each is refused in the dialect's words, nothing changes, others are served."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.api.store import NoLeaderError, OverloadedError
from core.kv.commands import AuthSwitch, Put, UserCreate
from tests.v2.fakes import ANYONE, LOCAL
from tests.v3.client import b64
from tests.v3.world import World

UNARY = sorted(path for path in World().handlers if not path.startswith(("watch", "lock/", "election/")))


def nested(depth: int, inner: Any) -> Any:
    for _ in range(depth):
        inner = {"success": [{"request_txn": inner}]}
    return inner


def puts(count: int) -> list[Any]:
    return [{"request_put": {"key": b64(f"k{number}")}} for number in range(count)]


@pytest.mark.parametrize("part", ["compare", "success", "failure"])
def test_more_operations_than_a_transaction_may_have(part: str) -> None:
    world = World()
    items = [{"key": b64("a")}] * 129 if part == "compare" else puts(129)
    status, body = world.answer("kv/txn", {part: items})
    assert (status, body["message"]) == (400, "etcdserver: too many operations in txn request")
    assert world.revision == 1
    assert world.answer("kv/txn", {part: items[:128]})[0] == 200


def test_nested_transactions_share_the_budget() -> None:
    world = World()
    assert world.answer("kv/txn", nested(64, {"success": puts(64)}))[0] == 200
    assert world.answer("kv/txn", nested(65, {"success": puts(64)}))[0] == 400
    assert world.answer("kv/txn", nested(127, {"success": puts(1)}))[0] == 200
    assert world.answer("kv/txn", nested(129, {}))[0] == 400
    assert world.answer("kv/txn", nested(150, {"success": puts(1)}))[0] == 400


def test_a_tree_of_transactions_is_bounded() -> None:
    """Operations beside each other do not share the budget, so a small body could hold tens of thousands."""
    world = World()
    numbers = itertools.count()

    def tree(width: int) -> Any:
        leaves = [{"request_put": {"key": b64(f"k{next(numbers)}")}} for _ in range(width)]
        return {"success": [{"request_txn": {"success": [leaf]}} for leaf in leaves]}

    assert world.answer("kv/txn", {"success": [{"request_txn": tree(25)} for _ in range(20)]})[0] == 200
    status, body = world.answer("kv/txn", {"success": [{"request_txn": tree(26)} for _ in range(20)]})
    assert (status, body["message"]) == (400, "etcdserver: too many operations in txn request")


@pytest.mark.parametrize("size", [1_572_860, 1_572_864, 1_572_865, 2_000_000])
def test_requests_that_are_too_large(size: int) -> None:
    world = World()
    value = b64(b"v" * (size - 1))
    for path, body in (
        ("kv/put", {"key": b64("k"), "value": value}),
        ("kv/txn", {"success": [{"request_put": {"key": b64("k"), "value": value}}]}),
    ):
        status, answer = world.answer(path, body)
        if size <= 1_572_864:
            assert status == 200
        else:
            assert (status, answer["message"]) == (400, "etcdserver: request is too large")


def test_a_key_that_is_too_long() -> None:
    world = World()
    assert world.answer("kv/put", {"key": b64("k" * 65_536)})[0] == 200
    status, body = world.answer("kv/put", {"key": b64("k" * 65_537)})
    assert (status, body["code"]) == (400, 3)
    assert world.answer("kv/range", {"key": b64("k" * 100_000)})[0] == 200


def test_an_unknown_order_or_kind() -> None:
    world = World()
    assert world.answer("kv/range", {"key": b64("a"), "sort_target": 5})[0] == 400
    assert world.answer("kv/range", {"key": b64("a"), "sort_target": -1})[0] == 400
    assert world.answer("kv/txn", {"compare": [{"key": b64("a"), "target": 9}]})[0] == 400
    assert world.answer("kv/txn", {"compare": [{"key": b64("a"), "result": -3}]})[0] == 400


@pytest.mark.parametrize(
    ("error", "status", "code", "words"),
    [
        (OverloadedError("full"), 429, 8, "etcdserver: too many requests"),
        (NoLeaderError("none"), 503, 14, "etcdserver: no leader"),
    ],
)
def test_a_store_that_says_no(error: Any, status: int, code: int, words: str) -> None:
    world = World()

    def propose(*_: Any) -> None:
        raise error

    world.unconfirmed = error
    world.propose = propose  # type: ignore[method-assign,assignment]
    requests = {
        "kv/put": {"key": b64("a")},
        "kv/deleterange": {"key": b64("a")},
        "kv/txn": {"success": puts(1)},
        "kv/range": {"key": b64("a")},
        "lease/grant": {"TTL": 5},
        "lease/revoke": {"ID": 5},
        "lease/leases": {},
        "kv/compaction": {"revision": 1},
    }
    for path, body in requests.items():
        found, answer = world.answer(path, body)
        assert (found, answer["code"], answer["message"], answer["error"]) == (status, code, words, words), path
    assert world.answer("kv/range", {"key": b64("a"), "serializable": True})[0] == 200


def test_no_space_is_an_alarm_that_goes_by_itself() -> None:
    world = World()
    world.alarms = ["NOSPACE"]
    status, body = world.answer("kv/put", {"key": b64("a")})
    assert (status, body["code"], body["message"]) == (429, 8, "etcdserver: mvcc: database space exceeded")
    assert world.answer("lease/grant", {"TTL": 5})[0] == 429
    assert world.answer("kv/deleterange", {"key": b64("a")})[0] == 200
    raised = {"alarms": [{"memberID": str(0xCD), "alarm": "NOSPACE"}]}
    assert world.answer("maintenance/alarm", {}) == (200, raised)
    assert world.answer("maintenance/alarm", {"memberID": "1"}) == (200, {})
    assert world.answer("maintenance/status", {})[1]["errors"] == [f"memberID:{0xCD} alarm:NOSPACE "]
    assert world.answer("maintenance/alarm", {"action": "DEACTIVATE", "alarm": "NOSPACE"}) == (200, raised)
    assert world.answer("kv/put", {"key": b64("a")})[0] == 200
    assert world.answer("maintenance/alarm", {}) == (200, {})


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
FIELDS = (
    *(
        "key",
        "range_end",
        "value",
        "lease",
        "limit",
        "revision",
        "sort_order",
        "sort_target",
        "serializable",
        "prev_kv",
        "ignore_value",
        "compare",
    ),
    *(
        "success",
        "failure",
        "request_put",
        "request_range",
        "ID",
        "TTL",
        "keys",
        "action",
        "alarm",
        "memberID",
        "name",
        "password",
        "user",
        "role",
        "perm",
        "peerURLs",
        "targetID",
    ),
)
keyish = st.dictionaries(st.sampled_from(FIELDS), st.just(b64("k")) | st.integers(0, 9) | values, max_size=5)


@given(st.sampled_from(UNARY), keyish, st.booleans())
@settings(max_examples=400)
def test_any_request_is_answered_once_and_with_no_failure_of_ours(path: str, body: object, admin: bool) -> None:
    world = World()
    reply = world.ask(path, json.dumps(body).encode(), LOCAL if admin else ANYONE)
    if path in ("auth/user/add", "auth/user/changepw") and not reply.answers:
        return  # a password waits to be hashed
    assert reply.answers == 1
    if reply.response is not None:
        assert reply.response.status < 500, reply.response
        assert isinstance(json.loads(reply.response.body.split(b"\n")[0] or b"{}"), dict)


def test_rights_that_change_between_the_decision_and_the_command() -> None:
    """What was asked without restriction is judged anew if access is restricted when its turn comes."""
    world = World()
    world.apply(UserCreate("root"))
    applied = world.apply

    def restrict_first(command: Any) -> Any:
        world.apply = applied  # type: ignore[method-assign]
        applied(AuthSwitch(True, guest=False))
        return applied(command)

    world.apply = restrict_first  # type: ignore[method-assign]
    status, body = world.answer("kv/put", {"key": b64("a")})
    assert (status, body["message"]) == (400, "etcdserver: user name is empty")
    assert world.key(b"a") is None
    reply = world.ask("kv/put", json.dumps({"key": b64("a")}).encode(), LOCAL)
    assert reply.sent.status == 200
    assert world.key(b"a") is not None


def test_put_of_a_reserved_key_changes_nothing() -> None:
    world = World()
    for body in ({"key": b64("\0corenode/x")}, {"key": b64("\0corenode/auth/user/root"), "value": b64("x")}):
        assert world.answer("kv/put", body)[0] == 403
        assert world.answer("kv/txn", {"success": [{"request_put": body}]})[0] == 403
    assert world.revision == 1
    assert isinstance(world.apply(Put(b"\0corenode/x")), Exception)
