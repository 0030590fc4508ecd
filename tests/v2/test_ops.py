"""Version, health, metrics, and the operator's paths."""

import json
import math
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from core.api.figures import Figure
from core.api.http.message import Caller, Response
from core.api.ops.members import Member
from core.api.ops.operator import CommitTimes, Status
from core.api.ops.routes import routes
from core.api.router import Router
from core.api.store import NoLeaderError, NoSpaceError, OutcomeUnknownError, OverloadedError
from core.api.v2.counters import Counters, Operation
from core.kv.commands import Compact, Revoke
from core.kv.errors import CompactedError, FutureRevisionError
from core.kv.outcomes import Compacted, Revoked
from core.node.damage import Damage
from core.node.latency import BOUNDS_NS, Latency
from tests.auth.support import certificate, open_gate
from tests.v2.fakes import ANYONE, LOCAL, FakeOutlet, FakeReply, FakeStore, request

STATUS = Status(
    "one", "8e9e", "7e27", "8e9e", "leader", 7, "0.1", 40, 50, 3, 1, 4096, 8192, (), 1.5, CommitTimes(9, 0.2, 0.5, 3.0)
)


class FakeHealth:
    def __init__(self, alarms: tuple[str, ...] = (), has_leader: bool = True, learner: bool = False) -> None:
        self.alarms = alarms
        self.has_leader = has_leader
        self.learner = learner


class FakeNode:
    def __init__(self, *pieces: bytes | OSError) -> None:
        self._pieces = pieces
        self.freed = False

    def status(self) -> Status:
        return STATUS

    def revoked(self) -> list[int]:
        return [0xA1, 0xB2]

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncIterator[bytes]]:
        try:
            async with aclosing(self._read()) as pieces:
                yield pieces
        finally:
            self.freed = True

    async def _read(self) -> AsyncGenerator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, OSError):
                raise piece
            yield piece


class FakeRoster:
    def roster(self) -> list[Member]:
        return [Member("1", "one", ("http://127.0.0.1:2380",), (), "0.1", "leader", "self")]


def figures() -> Iterator[Figure]:
    latency = Latency()
    latency.observe(BOUNDS_NS[0])
    latency.observe(10**12)
    yield Figure("corenode_example_seconds", "An example.", latency, labels={"kind": "read"})
    yield Figure("corenode_revision", "The last index.", 40)


def ask(
    line: str,
    store: FakeStore | None = None,
    health: FakeHealth | None = None,
    node: FakeNode | None = None,
    caller: Caller = ANYONE,
) -> FakeReply:
    method, target = line.encode().split()
    counters = Counters()
    counters.succeeded[Operation.SETS] = 5
    handlers = routes(
        store or FakeStore(),
        open_gate(),
        health or FakeHealth(),
        node or FakeNode(),
        FakeRoster(),
        [figures, counters.figures],
        "0.1",
    )
    reply = FakeReply()
    Router(lambda *_: pytest.fail("not a key"), handlers, Damage())(request(method, target, caller=caller), reply)
    return reply


def told(reply: FakeReply) -> tuple[int, Any]:
    return reply.sent.status, json.loads(reply.sent.body)


def test_version() -> None:
    assert told(ask("GET /version")) == (200, {"etcdserver": "2.3.8", "etcdcluster": "2.3.0", "corenode": "0.1"})


def test_health() -> None:
    store = FakeStore()
    reply = ask("GET /health", store)
    assert (reply.sent.status, reply.sent.body) == (200, b'{"health":"true","reason":""}')
    assert store.confirmed == 1


def test_an_alarm_is_unhealthy_unless_excluded() -> None:
    full = FakeHealth(("NOSPACE",))
    assert told(ask("GET /health", health=full)) == (503, {"health": "false", "reason": "ALARM NOSPACE"})
    assert told(ask("GET /health?exclude=NOSPACE", health=full))[0] == 200
    assert told(ask("GET /health?exclude=CORRUPT", health=full))[0] == 503


def test_health_without_a_leader() -> None:
    lost = FakeHealth(has_leader=False)
    assert told(ask("GET /health", health=lost)) == (503, {"health": "false", "reason": "RAFT NO LEADER"})
    assert told(ask("GET /health?serializable=true", health=lost))[0] == 200
    store = FakeStore()
    store.unconfirmed = OutcomeUnknownError("time ran out")
    assert told(ask("GET /health", store)) == (503, {"health": "false", "reason": "RANGE ERROR:time ran out"})


def test_livez_and_readyz() -> None:
    assert ask("GET /livez").sent.body == b"ok\n"
    assert ask("GET /livez?verbose").sent.body == b"[+]serializable_read ok\nok\n"
    assert ask("GET /readyz?verbose").sent.body == (
        b"[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n[+]non_learner ok\nok\n"
    )
    assert ask("GET /readyz/non_learner?verbose").sent.body == b"[+]non_learner ok\nok\n"
    assert ask("GET /readyz/nothing").sent.status == 404


@pytest.mark.parametrize(
    ("health", "unconfirmed", "failed", "why"),
    [
        (FakeHealth(("CORRUPT",)), None, "data_corruption", "alarm activated: CORRUPT"),
        (FakeHealth(learner=True), None, "non_learner", "not supported for learner"),
        (FakeHealth(), NoLeaderError("no leader"), "linearizable_read", "no leader"),
    ],
)
def test_a_failed_check(health: FakeHealth, unconfirmed: NoLeaderError | None, failed: str, why: str) -> None:
    store = FakeStore()
    store.unconfirmed = unconfirmed
    answer = ask("GET /readyz", store, health).sent
    assert answer.status == 503
    assert f"[-]{failed} failed: {why}\n".encode() in answer.body
    assert answer.body.count(b"[+]") == 3
    assert ask(f"GET /readyz/{failed}", store, health).sent.status == 503
    assert ask(f"GET /readyz?exclude={failed}", store, health).sent.status == 200


def test_a_read_that_fails_is_told() -> None:
    class Broken(FakeStore):
        def children(self, *_: object, **__: object) -> list[object]:  # type: ignore[override]
            raise OSError("the disk is gone")

    assert ask("GET /livez", Broken()).sent.body == b"[-]serializable_read failed: the disk is gone\n\n"


def test_metrics() -> None:
    answer = ask("GET /metrics").sent
    assert answer.headers.startswith(b"Content-Type: text/plain; version=0.0.4")
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }
    assert samples["corenode_revision",] == 40
    assert samples["corenode_example_seconds_bucket", "read", "0.0001"] == 1
    assert samples["corenode_example_seconds_bucket", "read", "+Inf"] == 2
    assert samples["corenode_example_seconds_sum", "read"] == pytest.approx(1000.0001)
    assert samples["corenode_v2_operations_total", "sets", "success"] == 5
    assert samples["process_resident_memory_bytes",] > 0


@pytest.mark.parametrize("path", ["/version", "/health", "/livez", "/readyz", "/metrics", "/corenode/status"])
def test_these_are_only_read(path: str) -> None:
    assert ask(f"PUT {path}", caller=LOCAL).sent.status == 405


@pytest.mark.parametrize(
    ("line", "offices"),
    [
        ("GET /corenode/status", "reader, operator or admin"),
        ("GET /corenode/snapshot", "operator or admin"),
        ("POST /corenode/compact?revision=5", "operator or admin"),
    ],
)
@pytest.mark.parametrize("who", ["anyone", "a certificate without office"])
def test_an_office_is_needed(line: str, offices: str, who: str) -> None:
    store = FakeStore()
    caller = ANYONE if who == "anyone" else Caller("127.0.0.1:9", certificate=certificate("bob", "corenode:adm"))
    assert told(ask(line, store, caller=caller)) == (
        403,
        {
            "message": "this needs the node's unix socket, as root or the node's own user, or a client certificate of "
            f"the role {offices}"
        },
    )
    assert store.commands == []


def test_status() -> None:
    status, shown = told(
        ask("GET /corenode/status", caller=Caller("10.0.0.1:5", certificate=certificate("alice", "corenode:reader")))
    )
    assert status == 200
    assert isinstance(shown, dict)
    assert (shown["revision"], shown["commits"]["p99_ms"]) == (40, 0.5)


async def test_a_snapshot_is_streamed() -> None:
    node = FakeNode(b"one", b"", b"two")
    outlet = await snapshot(node)
    assert (outlet.status, outlet.pieces, outlet.aborted, node.freed) == (200, [b"one", b"two"], False, True)


async def test_a_snapshot_that_fails_breaks_off() -> None:
    node = FakeNode(b"one", OSError("the disk is gone"))
    outlet = await snapshot(node)
    assert (outlet.pieces, outlet.aborted, node.freed) == ([b"one"], True, True)


async def test_a_snapshot_that_cannot_begin_is_refused_in_words() -> None:
    node = FakeNode(OSError("already read 8 times at once"))
    outlet = await snapshot(node)
    assert (outlet.status, outlet.aborted, node.freed) == (503, False, True)
    assert b"already read 8 times at once" in b"".join(outlet.pieces)


class SlowOutlet(FakeOutlet):
    """A reader that takes so many bytes a second."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self._rate = rate

    async def send(self, piece: bytes) -> None:
        await trio.sleep(len(piece) / self._rate if self._rate else math.inf)
        await super().send(piece)


@pytest.mark.parametrize(("rate", "seconds"), [(0, 64), (1000, 64), (32 * 1024, 120), (63 * 1024, 3841)])
async def test_a_reader_that_holds_a_snapshot_for_long_is_cut_off(
    rate: float, seconds: float, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    node = FakeNode(*[b"x" * 2**18] * 2000)
    begun = trio.current_time()
    outlet = await snapshot(node, SlowOutlet(rate))
    assert (outlet.aborted, node.freed) == (True, True)
    assert trio.current_time() - begun == pytest.approx(seconds, abs=5)
    assert "too slow" in caplog.records[-1].getMessage()


@pytest.mark.parametrize("rate", [64 * 1024, 1e9])
async def test_a_reader_that_keeps_the_pace_gets_all(rate: float, autojump_clock: trio.testing.MockClock) -> None:
    outlet = await snapshot(FakeNode(*[b"x" * 2**18] * 2000), SlowOutlet(rate))
    assert (len(outlet.pieces), outlet.aborted) == (2000, False)


async def test_a_reader_may_pause(autojump_clock: trio.testing.MockClock) -> None:
    class Pausing(FakeOutlet):
        async def send(self, piece: bytes) -> None:
            await trio.sleep(50 if len(self.pieces) % 20 == 10 else 0.01)
            await super().send(piece)

    outlet = await snapshot(FakeNode(*[b"x" * 2**18] * 200), Pausing())
    assert (len(outlet.pieces), outlet.aborted) == (200, False)


async def snapshot(node: FakeNode, outlet: FakeOutlet | None = None) -> FakeOutlet:
    reply = ask("GET /corenode/snapshot", node=node, caller=LOCAL)
    assert reply.produce is not None
    outlet = outlet or FakeOutlet()
    await reply.produce(outlet)
    return outlet


@pytest.mark.parametrize(
    ("outcome", "status", "words"),
    [
        (Compacted(40, 5), 200, b'{"revision":40,"floor":5}\n'),
        (CompactedError(7), 400, b"the oldest revision kept is 7"),
        (FutureRevisionError(), 400, b"has not been reached"),
        (OutcomeUnknownError("time"), 504, b"the outcome is unknown: time"),
        (NoSpaceError("full"), 507, b"full"),
        (OverloadedError("busy"), 503, b"busy"),
        (RuntimeError(), 500, b"RuntimeError"),
    ],
)
def test_compaction(outcome: object, status: int, words: bytes) -> None:
    store = FakeStore()
    store.outcome = outcome
    answer = ask("POST /corenode/compact?revision=5", store, caller=LOCAL).sent
    assert store.commands == [Compact(5)]
    assert answer.status == status
    assert words in answer.body


def test_a_compaction_that_cannot_be_queued() -> None:
    store = FakeStore()
    store.refuses = NoLeaderError("no leader")
    assert told(ask("POST /corenode/compact?revision=5", store, caller=LOCAL)) == (503, {"message": "no leader"})


@pytest.mark.parametrize(
    "query", ["", "?revision=", "?revision=x", "?revision=-1", "?revision=9223372036854775808", "?r=1"]
)
def test_compaction_needs_a_revision(query: str) -> None:
    store = FakeStore()
    assert ask(f"POST /corenode/compact{query}", store, caller=LOCAL).sent.status == 400
    assert store.commands == []


@given(st.sampled_from([b"/readyz", b"/livez/", b"/health", b"/corenode/compact"]), st.binary(max_size=30))
def test_no_bytes_raise(path: bytes, query: bytes) -> None:
    handlers = routes(FakeStore(), open_gate(), FakeHealth(), FakeNode(), FakeRoster(), [], "0.1")
    for method in (b"GET", b"POST"):
        reply = FakeReply()
        Router(lambda *_: pytest.fail("not a key"), handlers, Damage())(
            request(method, path + b"?" + query, caller=LOCAL), reply
        )
        assert isinstance(reply.sent, Response)


def test_revocations_are_listed_and_made() -> None:
    assert told(ask("GET /corenode/revocations", caller=LOCAL)) == (200, {"serials": ["a1", "b2"]})
    store = FakeStore()
    store.outcome = Revoked(41, new=True)
    answer = told(ask("POST /corenode/revocations?serial=0A1b", store, caller=LOCAL))
    assert answer == (200, {"serial": "a1b", "new": True, "revision": 41})
    assert store.commands == [Revoke(b"\x0a\x1b")]


@pytest.mark.parametrize("line", ["GET /corenode/revocations", "POST /corenode/revocations?serial=1"])
def test_nobody_on_loopback_reads_or_makes_a_revocation(line: str) -> None:
    store = FakeStore()
    status, shown = told(ask(line, store))
    assert status == 403
    assert "client certificate of the role admin" in shown["message"]
    assert store.commands == []


@pytest.mark.parametrize("query", ["", "?serial=", "?serial=0", "?serial=xyz", f"?serial={'1' * 41}", "?serial=1&a=b"])
def test_a_revocation_needs_a_serial_number(query: str) -> None:
    store = FakeStore()
    assert ask(f"POST /corenode/revocations{query}", store, caller=LOCAL).sent.status == 400
    assert store.commands == []
