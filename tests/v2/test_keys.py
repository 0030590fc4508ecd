"""The handler of `/v2/keys`: statuses, headers, errors."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.api.http.message import Request
from core.api.store import NoLeaderError, NoSpaceError, OutcomeUnknownError, OverloadedError, ProposalError
from core.api.v2.counters import Counters, Operation
from core.api.v2.keys import Keys
from core.kv.commands import Set
from core.kv.errors import KeyspaceError, ReservedKeyError, TreeError
from core.kv.records import Action, Event
from tests.auth.support import open_gate
from tests.v2.fakes import FORM, FakeReply, FakeStore, record, request

SUCCESS = (
    b"Content-Type: application/json\r\nX-Etcd-Cluster-Id: 7e27652122e8b2ae\r\n"
    b"X-Etcd-Index: %d\r\nX-Raft-Index: 50\r\nX-Raft-Term: 3\r\n"
)
ERROR = b"Content-Type: application/json\r\nX-Etcd-Cluster-Id: 7e27652122e8b2ae\r\nX-Etcd-Index: %d\r\n"


def handler(store: FakeStore, counters: Counters | None = None) -> Keys:
    return Keys(store, open_gate(), "7e27652122e8b2ae", counters or Counters())


def ask(store: FakeStore, method: bytes, target: bytes, body: bytes = b"") -> FakeReply:
    reply = FakeReply()
    handler(store)(request(method, target, body), reply)
    return reply


def test_a_put_is_proposed_and_answered() -> None:
    store = FakeStore()
    store.outcome = Event(record(b"/foo", b"bar"), None)
    answer = ask(store, b"PUT", b"/v2/keys/foo", b"value=bar").sent
    assert store.commands == [Set(b"/foo", b"bar")]
    assert answer.status == 201
    assert answer.headers == SUCCESS % 7
    assert answer.body == b'{"action":"set","node":{"key":"/foo","value":"bar","modifiedIndex":7,"createdIndex":7}}\n'


@pytest.mark.parametrize(
    ("action", "replaced", "status"),
    [
        (Action.SET, False, 201),
        (Action.SET, True, 200),
        (Action.CREATE, False, 201),
        (Action.UPDATE, True, 200),
        (Action.COMPARE_AND_SWAP, True, 200),
        (Action.DELETE, True, 200),
        (Action.COMPARE_AND_DELETE, True, 200),
    ],
)
def test_only_what_is_new_is_201(action: Action, replaced: bool, status: int) -> None:
    store = FakeStore()
    store.outcome = Event(record(b"/k", action=action), record(b"/k", index=3) if replaced else None)
    assert ask(store, b"PUT", b"/v2/keys/k").sent.status == status


@pytest.mark.parametrize("action", [Action.SET, Action.CREATE, Action.UPDATE, Action.COMPARE_AND_SWAP])
def test_no_value_on_success(action: Action) -> None:
    store = FakeStore()
    store.outcome = Event(record(b"/k", action=action), None)
    answer = ask(store, b"PUT", b"/v2/keys/k?noValueOnSuccess=true").sent
    assert answer.body == b'{"action":"%b"}\n' % action.word.encode()
    assert answer.headers == SUCCESS % 7


def test_deletions_ignore_no_value_on_success() -> None:
    store = FakeStore()
    store.outcome = Event(record(b"/k", action=Action.DELETE, gone=True), record(b"/k", index=3))
    assert b"prevNode" in ask(store, b"DELETE", b"/v2/keys/k?noValueOnSuccess=true").sent.body


@pytest.mark.parametrize(
    ("code", "status", "message"),
    [
        (TreeError.KEY_NOT_FOUND, 404, "Key not found"),
        (TreeError.COMPARE_FAILED, 412, "Compare failed"),
        (TreeError.NOT_A_FILE, 403, "Not a file"),
        (TreeError.NOT_A_DIRECTORY, 400, "Not a directory"),
        (TreeError.KEY_EXISTS, 412, "Key already exists"),
        (TreeError.ROOT_READ_ONLY, 400, "Root is read only"),
        (TreeError.DIRECTORY_NOT_EMPTY, 403, "Directory not empty"),
    ],
)
def test_refusals_of_the_state_machine(code: int, status: int, message: str) -> None:
    store = FakeStore()
    store.outcome = TreeError(code, "/why", 12)
    answer = ask(store, b"PUT", b"/v2/keys/k").sent
    assert (answer.status, answer.headers) == (status, ERROR % 12)
    assert answer.body == b'{"errorCode":%d,"message":"%b","cause":"/why","index":12}\n' % (code, message.encode())


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (OverloadedError("busy"), 503, 300),
        (NoLeaderError("no leader"), 503, 301),
        (NoSpaceError("disk full"), 507, 300),
        (OutcomeUnknownError("time ran out"), 504, 300),
        (ProposalError("other"), 500, 300),
        (ReservedKeyError("reserved"), 400, 106),
        (KeyspaceError(), 500, 300),
    ],
)
def test_what_the_node_did_not_do(error: Exception, status: int, code: int) -> None:
    store = FakeStore()
    store.outcome = error
    answer = ask(store, b"PUT", b"/v2/keys/k").sent
    told = json.loads(answer.body)
    assert (answer.status, told["errorCode"], told["index"]) == (status, code, 40)
    assert (str(error) or "KeyspaceError") in told["cause"]
    if isinstance(error, ProposalError):
        store.refuses = error
        assert ask(store, b"PUT", b"/v2/keys/k").sent == answer


def test_an_unknown_outcome_says_so() -> None:
    store = FakeStore()
    store.outcome = OutcomeUnknownError("the leader changed")
    assert b"the outcome is unknown: the leader changed" in ask(store, b"PUT", b"/v2/keys/k").sent.body


def test_parse_errors_have_index_zero_and_propose_nothing() -> None:
    store = FakeStore()
    answer = ask(store, b"PUT", b"/v2/keys/k?ttl=x").sent
    assert (answer.status, answer.headers) == (400, ERROR % 0)
    assert answer.body == (
        b'{"errorCode":202,"message":"The given TTL in POST form is not a number",'
        b'"cause":"invalid value for \\"ttl\\"","index":0}\n'
    )
    assert store.commands == []


def test_a_path_that_is_no_url() -> None:
    answer = ask(FakeStore(), b"GET", b"/v2/keys/%zz").sent
    assert (answer.status, answer.body) == (400, b"400 Bad Request\n")
    assert b"text/plain" in answer.headers


@pytest.mark.parametrize("method", [b"PATCH", b"OPTIONS", b"TRACE", b"get", b"BREW"])
def test_other_methods(method: bytes) -> None:
    answer = ask(FakeStore(), method, b"/v2/keys/k").sent
    assert (answer.status, answer.body) == (405, b"Method Not Allowed\n")
    assert b"Allow: HEAD,GET,PUT,POST,DELETE\r\n" in answer.headers


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_reads_of_a_file(method: bytes) -> None:
    answer = ask(FakeStore(record(b"/foo", b"bar")), method, b"/v2/keys/foo").sent
    assert (answer.status, answer.headers) == (200, SUCCESS % 40)
    assert answer.body == b'{"action":"get","node":{"key":"/foo","value":"bar","modifiedIndex":7,"createdIndex":7}}\n'


def test_a_key_that_is_not_there() -> None:
    answer = ask(FakeStore(), b"GET", b"/v2/keys/nope").sent
    assert (answer.status, answer.headers) == (404, ERROR % 40)
    assert answer.body == b'{"errorCode":100,"message":"Key not found","cause":"/nope","index":40}\n'


def test_a_quorum_read_is_confirmed_first() -> None:
    store = FakeStore(record(b"/foo", b"bar"))
    assert ask(store, b"GET", b"/v2/keys/foo?quorum=true").sent.status == 200
    assert store.confirmed == 1
    store.unconfirmed = NoLeaderError("no leader")
    assert ask(store, b"GET", b"/v2/keys/foo?quorum=true").sent.status == 503
    assert ask(store, b"GET", b"/v2/keys/foo").sent.status == 200
    assert ask(store, b"HEAD", b"/v2/keys/foo?quorum=true").sent.status == 200
    assert store.confirmed == 2


def test_operations_are_counted() -> None:
    store = FakeStore(record(b"/foo"))
    counters = Counters()
    keys = handler(store, counters)
    for line in (b"GET /foo", b"GET /nope", b"PUT /foo", b"POST /foo", b"DELETE /foo", b"DELETE /foo?prevIndex=1"):
        method, target = line.split()
        keys(request(method, b"/v2/keys" + target), FakeReply())
    store.outcome = TreeError(TreeError.KEY_NOT_FOUND, "/foo", 3)
    for query in (b"?prevExist=true", b"?prevValue=1"):
        keys(request(b"PUT", b"/v2/keys/foo" + query), FakeReply())
    assert [counters.succeeded[operation] for operation in Operation] == [1, 1, 1, 0, 1, 0, 1]
    assert [counters.failed[operation] for operation in Operation] == [1, 0, 0, 1, 0, 1, 0]
    assert sum(counters.writes.counts) == 6


WORDS = st.sampled_from(
    b"value ttl dir prevExist prevValue prevIndex wait waitIndex recursive refresh true false"
    b" = & % %2 %41 ; + / .. 1 0 \xff \0 _".split(b" ")
)
BYTES = st.one_of(st.binary(max_size=40), st.lists(WORDS, max_size=20).map(b"".join))


@settings(max_examples=500)
@given(
    st.builds(
        Request,
        method=st.sampled_from([b"GET", b"HEAD", b"PUT", b"POST", b"DELETE", b"\xff"]),
        path=BYTES.map(lambda path: b"/v2/keys" + path),
        query=BYTES,
        headers=st.one_of(st.just((FORM,)), BYTES.map(lambda value: ((b"content-type", value),))),
        body=BYTES,
        caller=st.just(request(b"", b"").caller),
    )
)
def test_no_bytes_raise_and_each_request_is_answered_once(asked: Request) -> None:
    reply = FakeReply()
    handler(FakeStore(record(b"/a", b"\xff"), record(b"/d", directory=True)))(asked, reply)
    assert reply.answers == 1
    if reply.response is not None and b"json" in reply.response.headers:
        json.loads(reply.response.body)


def test_a_file_that_was_read_is_answered_from_what_was_kept() -> None:
    store = FakeStore(record(b"/a", b"v"))
    first = ask(store, b"GET", b"/v2/keys/a").sent
    store.nodes.clear()
    assert ask(store, b"GET", b"/v2/keys/a").sent == first
    assert ask(store, b"GET", b"/v2/keys//a?quorum=true").sent == first
    store.memo.changed(b"/a")
    assert ask(store, b"GET", b"/v2/keys/a").sent.status == 404


def test_what_is_kept_is_found_by_what_a_path_means() -> None:
    """`/a%20b` is a key too, and its path is `/a%2520b`."""
    store = FakeStore(record(b"/a%20b", b"percent"), record(b"/a b", b"space"))
    assert b"percent" in ask(store, b"GET", b"/v2/keys/a%2520b").sent.body
    assert b"space" in ask(store, b"GET", b"/v2/keys/a%20b").sent.body
    assert b"percent" in ask(store, b"GET", b"/v2/keys/a%2520b").sent.body


def test_what_runs_out_is_not_kept() -> None:
    store = FakeStore(record(b"/a", b"v", deadline=10**18))
    ask(store, b"GET", b"/v2/keys/a")
    assert store.memo.get(b"/a") is None
