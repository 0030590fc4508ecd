"""What the client makes of answers a real server seldom gives, from a server that does as it is told."""

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio

from core.client import Store, connect, remote_watch
from core.client.errors import (
    AnswerTooLargeError,
    AuthenticationError,
    ClientError,
    CompactedError,
    ConnectionLostError,
    InvalidRequestError,
    LeaseLostError,
    NoSpaceError,
    OutcomeUnknownError,
    OverloadedError,
    PermissionDeniedError,
    RefusedError,
    StrangeAnswerError,
    UnavailableError,
)
from tests.cli.scripted import Peer, server

HEADER = {"cluster_id": "1", "member_id": "2", "revision": "7", "raft_term": "2"}
Answerer = Callable[[str, dict[str, object]], tuple[int, object]]
"""Path and fields of a request -> HTTP status and what to answer, as JSON or as text."""


def problem(code: int, message: str) -> dict[str, object]:
    return {"error": message, "code": code, "message": message}


@asynccontextmanager
async def servers(*answerers: Answerer, **options: object) -> AsyncIterator[tuple[Store, list[list[str]]]]:
    """A store at servers that answer so, and the paths asked of each."""
    asked: list[list[str]] = [[] for _ in answerers]

    def serve(number: int) -> Callable[[Peer], Awaitable[None]]:
        async def one(peer: Peer) -> None:
            while request := await peer.request():
                head, _, body = request.partition("\r\n\r\n")
                path = head.split()[1]
                asked[number].append(path)
                status, answer = answerers[number](path, json.loads(body))
                text = answer if isinstance(answer, str) else json.dumps(answer)
                await peer.answer(text, f"{status} Words", "")

        return one

    async with AsyncExitStack() as stack:
        urls = [(await stack.enter_async_context(server(serve(n)))).text for n in range(len(answerers))]
        store = await stack.enter_async_context(connect(",".join(urls), **options))  # type: ignore[arg-type]
        yield store, asked


def always(status: int, answer: object) -> Answerer:
    return lambda _path, _fields: (status, answer)


def in_turn(*answers: tuple[int, object]) -> Answerer:
    rest = list(answers)
    return lambda _path, _fields: rest.pop(0)


good = always(200, {"header": HEADER})


@pytest.mark.parametrize(
    ("status", "answer", "kind"),
    [
        (400, problem(11, "etcdserver: mvcc: required revision has been compacted"), CompactedError),
        (400, {"code": 3, "message": "etcdserver: too many operations in txn request"}, InvalidRequestError),
        (403, problem(7, "etcdserver: permission denied"), PermissionDeniedError),
        (429, problem(8, "etcdserver: mvcc: database space exceeded"), NoSpaceError),
        (429, problem(8, "etcdserver: too many requests"), OverloadedError),
        (412, {"error": "etcdserver: cluster ID mismatch", "code": 9}, RefusedError),
        (401, problem(16, "etcdserver: invalid auth token"), AuthenticationError),
        (404, "404 page not found", StrangeAnswerError),
        (200, "<html>", StrangeAnswerError),
        (200, '{"header":{"revision":"many"}}', StrangeAnswerError),
        (503, problem(14, "etcdserver: request timed out"), OutcomeUnknownError),
        (503, problem(14, "etcdserver: leader changed"), OutcomeUnknownError),
        (504, problem(4, "context deadline exceeded"), OutcomeUnknownError),
        (500, problem(2, "raft: proposal dropped"), OutcomeUnknownError),
        (502, "Bad gateway", OutcomeUnknownError),
    ],
)
async def test_a_write_is_sent_once_whatever_is_answered(status: int, answer: object, kind: type[ClientError]) -> None:
    async with servers(always(status, answer), good) as (store, asked):
        with pytest.raises(kind) as caught:
            await store.put(b"a")
    assert type(caught.value) is kind
    assert asked == [["/v3/kv/put"], []]


async def test_a_write_that_was_not_done_is_sent_to_the_next() -> None:
    async with servers(always(503, problem(14, "etcdserver: no leader")), good) as (store, asked):
        assert (await store.put(b"a")).revision == 7
        assert (await store.put(b"a")).revision == 7
    assert [len(each) for each in asked] == [1, 2]


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (503, problem(14, "etcdserver: request timed out")),
        (503, problem(14, "etcdserver: leader changed")),
        (502, "Bad gateway"),
    ],
)
async def test_a_read_is_asked_of_the_next(status: int, answer: object) -> None:
    async with servers(always(status, answer), good) as (store, asked):
        assert await store.get(b"a") is None
        assert not (await store.txn([], [])).succeeded
    assert [len(each) for each in asked] == [1, 2]


async def test_no_leader_for_long_is_said_at_the_deadline() -> None:
    async with servers(always(503, problem(14, "etcdserver: no leader")), seconds=0.5) as (store, asked):
        for call in (store.put(b"a"), store.get(b"a")):
            with trio.fail_after(5), pytest.raises(UnavailableError, match="no leader"):
                await call
    assert len(asked[0]) > 4


async def test_one_that_is_silent_leaves_time_for_the_next() -> None:
    async def silent(peer: Peer) -> None:
        await peer.request()
        await trio.sleep_forever()

    async def answering(peer: Peer) -> None:
        while await peer.request():
            await peer.answer(json.dumps({"header": HEADER}))

    async with (
        server(silent) as one,
        server(answering) as other,
        connect(f"{one.text},{other.text}", seconds=0.6) as store,
    ):
        assert await store.get(b"a") is None
        await store.put(b"a")
    async with server(silent) as one, connect(one.text, seconds=0.2) as store:
        with pytest.raises(OutcomeUnknownError, match=r"no answer within 0\.2 s"):
            await store.put(b"a")
        with pytest.raises(ConnectionLostError, match=r"no answer within 0\.\d+ s"):
            await store.get(b"a")


async def test_an_answer_too_large_is_not_read_to_its_end() -> None:
    big = always(200, {"kvs": [{"key": "YQ==", "value": base64.b64encode(b"x" * 20_000).decode()}]})
    async with servers(big, most=5_000) as (store, _):
        with pytest.raises(AnswerTooLargeError, match="larger than 5000 bytes"):
            await store.get(b"a")
        with pytest.raises(OutcomeUnknownError, match="larger than 5000 bytes"):
            await store.delete(b"a", previous=True)


async def test_what_later_servers_write_is_understood() -> None:
    """Spaces, all defaults written out, numbers as numbers, nulls, fields not known here."""
    answer = (
        '{"header": {"revision": 9, "new": {}}, "kvs": [{"key": "YQ==", "create_revision": "2", "mod_revision": 3,'
        ' "version": "1", "value": "", "lease": "0"}], "more": false, "count": 1, "later": null}'
    )
    async with servers(always(200, answer)) as (store, _):
        found = await store.range(b"a")
    assert (found.revision, found.count, found.more) == (9, 1, False)
    assert found.first is not None
    assert (found.first.key, found.first.mod_revision) == (b"a", 3)


async def test_a_token_is_had_shown_and_renewed() -> None:
    shown: list[str] = []
    tokens = iter(("first", "second", "third"))

    async def serve(peer: Peer) -> None:
        while request := await peer.request():
            head, _, body = request.partition("\r\n\r\n")
            lines = dict(line.split(": ", 1) for line in head.split("\r\n")[1:])
            if "/v3/auth/authenticate" in head:
                assert json.loads(body) == {"name": "ann", "password": "secret"}
                await peer.answer(json.dumps({"token": next(tokens)}))
            elif (token := lines["Authorization"]) == "first" and len(shown) == 2:
                await peer.answer(json.dumps(problem(16, "etcdserver: invalid auth token")), "401 Unauthorized")
            else:
                shown.append(token)
                await peer.answer(json.dumps({"header": HEADER}))

    async with server(serve) as endpoint, connect(endpoint.text, user="ann", password="secret") as store:
        await store.put(b"a")
        await store.put(b"a")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.put, b"a")
            nursery.start_soon(store.put, b"a")
    assert shown == ["first", "first", "second", "second"]


async def test_a_wrong_password() -> None:
    refused = "etcdserver: authentication failed, invalid user ID or password"
    async with servers(always(400, problem(3, refused)), user="ann", password="x") as (store, asked):
        with pytest.raises(AuthenticationError):
            await store.put(b"a")
    assert asked == [["/v3/auth/authenticate"]]


async def test_a_server_that_restricts_nothing_needs_no_token() -> None:
    answer = in_turn((412, problem(9, "etcdserver: authentication is not enabled")), (200, {}), (200, {}))
    async with servers(answer, user="ann", password="x") as (store, asked):
        await store.put(b"a")
        await store.put(b"a")
    assert asked[0] == ["/v3/auth/authenticate", "/v3/kv/put", "/v3/kv/put"]


async def test_access_restricted_while_the_store_is_used() -> None:
    answer = in_turn(
        (412, problem(9, "etcdserver: authentication is not enabled")),
        (200, {}),
        (400, problem(3, "etcdserver: user name is empty")),
        (200, {"token": "t"}),
        (200, {}),
    )
    async with servers(answer, user="ann", password="x") as (store, asked):
        await store.put(b"a")
        await store.put(b"a")
    put, login = "/v3/kv/put", "/v3/auth/authenticate"
    assert asked[0] == [login, put, put, login, put]


async def test_a_keep_alive_that_fails_is_no_lost_lease() -> None:
    error = {"error": {"grpc_code": 14, "http_code": 503, "message": "etcdserver: no leader"}}
    async with servers(in_turn((200, error), (200, {"result": {"ID": "5", "TTL": "9"}}))) as (store, _):
        with pytest.raises(UnavailableError):
            await store.keep_alive(5)
        assert await store.keep_alive(5) == 9


async def test_a_lease_that_cannot_be_renewed_is_lost_in_time() -> None:
    async def serve(peer: Peer) -> None:
        while request := await peer.request():
            if "/v3/lease/grant" not in request:
                return
            await peer.answer(json.dumps({"ID": "5", "TTL": "1"}))

    async def hold(store: Store) -> None:
        async with store.lease(1):
            await trio.sleep_forever()

    async with server(serve) as endpoint, connect(endpoint.text) as store:
        began = trio.current_time()
        with trio.fail_after(10), pytest.raises(LeaseLostError, match=r"lease 5 is lost: .* for 1 s"):
            await hold(store)
        assert trio.current_time() - began < 1.5


class Stream:
    """A server of watch streams: the lines of each connection in turn; then it waits, or hangs up."""

    def __init__(self, *streams: list[object]) -> None:
        self.requests: list[dict[str, object]] = []
        self._streams = list(streams)

    async def serve(self, peer: Peer) -> None:
        request = await peer.request()
        self.requests.append(json.loads(request.partition("\r\n\r\n")[2])["create_request"])
        assert "Grpc-Metadata-Hasleader: true" in request
        await peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for line in self._streams.pop(0):
            if line is None:
                await trio.sleep_forever()
            text = line if isinstance(line, str) else json.dumps(line) + "\n"
            await peer.send(f"{len(text):x}\r\n{text}\r\n")


CREATED = {"result": {"header": HEADER, "created": True}}


def events(*revisions: int, **more: object) -> dict[str, object]:
    kvs = [{"kv": {"key": "YQ==", "value": "MQ==", "mod_revision": str(revision)}} for revision in revisions]
    return {"result": {"header": {"revision": "100"}, "events": kvs, **more}}


@asynccontextmanager
async def watched(stream: Stream, **options: object) -> AsyncIterator[tuple[remote_watch.RemoteWatch, list[str]]]:
    lost: list[str] = []
    async with (
        server(stream.serve) as endpoint,
        connect(endpoint.text, most=2000) as store,
        store.watch(b"a", lost=lost.append, **options) as watch,  # type: ignore[arg-type]
    ):
        assert isinstance(watch, remote_watch.RemoteWatch)
        with trio.fail_after(10):
            yield watch, lost


async def refused(stream: Stream, kind: type[ClientError]) -> None:
    async with server(stream.serve) as endpoint, connect(endpoint.text, most=2000) as store:
        with trio.fail_after(10), pytest.raises(kind):
            async with store.watch(b"a", start=3):
                pass


def revisions(batch: object) -> list[int]:
    return [event.kv.mod_revision for event in batch.events]  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_watch, "RECONNECT_SECONDS", (0.0, 0.001))


async def test_fragments_are_put_together() -> None:
    stream = Stream([CREATED, events(8, fragment=True), events(8, fragment=True), events(8, 9), None])
    async with watched(stream) as (watch, _):
        batch = await anext(watch)
    assert revisions(batch) == [8, 8, 8, 9]
    assert stream.requests[0]["fragment"] is True


async def test_a_fragment_cut_off_is_asked_for_again() -> None:
    stream = Stream([CREATED, events(8), events(9, fragment=True)], [CREATED, events(9), events(10), None])
    async with watched(stream) as (watch, lost):
        batches = [await anext(watch) for _ in range(3)]
    assert [revisions(batch) for batch in batches] == [[8], [9], [10]]
    assert [request.get("start_revision") for request in stream.requests] == [None, "9"]
    assert len(lost) == 1


async def test_it_begins_where_the_server_said_it_began() -> None:
    stream = Stream([CREATED], [CREATED, events(9), None])
    async with watched(stream) as (watch, _):
        assert watch.revision == 7
        assert revisions(await anext(watch)) == [9]
    assert stream.requests[1]["start_revision"] == "8"


async def test_progress_moves_the_place_to_go_on_from() -> None:
    progress = {"result": {"header": {"revision": "50"}}}
    of_another = {"result": {"header": {"revision": "60"}, "watch_id": "-1"}}
    stream = Stream([CREATED, progress, of_another], [CREATED, progress, events(51), None])
    async with watched(stream) as (watch, _):
        assert revisions(await anext(watch)) == [51]
    assert stream.requests[1]["start_revision"] == "51"
    stream = Stream([CREATED, progress, events(51), None])
    async with watched(stream, progress=True) as (watch, _):
        batches = [await anext(watch), await anext(watch)]
    assert [(batch.revision, revisions(batch)) for batch in batches] == [(50, []), (51, [51])]


async def test_events_of_the_past_are_not_told_again() -> None:
    stream = Stream([CREATED, events(8, 9)], [CREATED, events(8, 9), events(9, 10), None])
    async with watched(stream) as (watch, _):
        assert [revisions(await anext(watch)) for _ in range(2)] == [[8, 9], [10]]


async def test_compacted_at_the_beginning_and_after_a_break() -> None:
    compacted = {"result": {"header": {}, "canceled": True, "compact_revision": "30"}}
    stream = Stream([CREATED, events(8)], [CREATED, compacted])
    async with watched(stream) as (watch, _):
        await anext(watch)
        with pytest.raises(CompactedError) as caught:
            await anext(watch)
    assert caught.value.revision == 30
    at_once = {"result": {"header": {}, "created": True, "canceled": True, "compact_revision": "30"}}
    await refused(Stream([at_once]), CompactedError)


@pytest.mark.parametrize(
    "error",
    [
        {"error": {"grpc_code": 14, "http_code": 503, "message": "etcdserver: no leader"}},
        {"error": {"code": 14, "message": "etcdserver: no leader"}},
        {"result": {"canceled": True}},
    ],
)
async def test_a_stream_that_cannot_go_on_there_goes_on_anew(error: object) -> None:
    async with watched(Stream([CREATED, error], [CREATED, events(8), None])) as (watch, lost):
        assert revisions(await anext(watch)) == [8]
    assert lost


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (
            {"result": {"watch_id": "-1", "created": True, "canceled": True, "cancel_reason": "permission denied"}},
            PermissionDeniedError,
        ),
        ({"error": {"grpc_code": 7, "http_code": 403, "message": "no"}}, PermissionDeniedError),
        (
            {"result": {"watch_id": "-1", "created": True, "canceled": True, "cancel_reason": "bad"}},
            InvalidRequestError,
        ),
        ({}, StrangeAnswerError),
        ("<html>\n", StrangeAnswerError),
        (events(8), StrangeAnswerError),
        ("x" * 3000, AnswerTooLargeError),
    ],
)
async def test_a_watch_that_is_refused(line: object, kind: type[ClientError]) -> None:
    await refused(Stream([line, None]), kind)


async def test_one_revision_that_is_too_large() -> None:
    parts = [events(8, 8, 8, fragment=True) for _ in range(20)]
    async with watched(Stream([CREATED, *parts, None])) as (watch, _):
        with pytest.raises(AnswerTooLargeError, match="the changes of one revision are larger than 2000 bytes"):
            await anext(watch)


async def test_a_watch_where_no_v3_is() -> None:
    async with servers(always(404, "404 page not found")) as (store, _):
        with pytest.raises(StrangeAnswerError, match="does not speak the v3 dialect"):
            async with store.watch(b"a"):
                pass


@pytest.mark.parametrize(
    ("url", "options", "why"),
    [
        ("local:", {}, "none is given"),
        ("http://127.0.0.1:1", {"node": object()}, "does not mean it"),
        ("https://127.0.0.1:1", {"cert": "a.pem"}, "belong together"),
        ("ftp://127.0.0.1:1", {}, "does not begin with"),
    ],
)
def test_urls_that_lead_nowhere(url: str, options: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        connect(url, **options)  # type: ignore[arg-type]
