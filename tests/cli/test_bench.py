"""`corenode bench`: every operation in both dialects, what it counts, and what it leaves behind."""

import random
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing

from core.commands.bench_connection import LostError, Talk, connect
from core.commands.bench_load import Latencies, Limit, Tally, Turns, Ways, load
from core.commands.bench_requests import Plan, Request, Requests
from core.tls.authority import Authority, create
from core.tls.identity import Role
from tests.cli.programs import Host, Node
from tests.cli.scripted import Peer, server

OK = "{}"
WRITE = Request(b"PUT /v2/keys/a HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\nvalue=1", writes=True)
READ = Request(b"GET /v2/keys/a HTTP/1.1\r\nHost: x\r\n\r\n", writes=False)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with Host(tmp_path_factory.mktemp("h")).node() as running:
        yield running


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["put"],
        ["get"],
        ["get", "--local", "--dialect", "v2"],
        ["range"],
        ["range", "--dialect", "v2"],
        ["txn", "--batch", "7"],
        ["mixed", "--rate", "500"],
        ["mixed", "--dialect", "v2", "--value-size", "20000"],
    ],
    ids=" ".join,
)
def test_it_counts_and_leaves_nothing(node: Node, words: list[str]) -> None:
    words = [*words, "--requests", "200", "--keys", "45", "--connections", "7", "--endpoints", node.url, "-o", "json"]
    found = msgspec.json.decode(node.host.text("bench", *words))
    assert (found["done"], found["failed"], found["unknown"]) == (200, {}, {})
    assert found["rate"] == pytest.approx(200 / found["seconds"], rel=0.01)
    milliseconds = found["milliseconds"]
    assert 0 < milliseconds["p50"] <= milliseconds["p99"] <= milliseconds["longest"] < 1e3 * found["seconds"]
    if "--rate" in words:
        assert found["seconds"] >= 199 / 500
    assert node.host.text("kv", "ls", "-r", "/", "--endpoints", node.url) == ""


@pytest.mark.slow
@pytest.mark.parametrize("dialect", ["v2", "v3"])
def test_each_watcher_has_each_event(node: Node, dialect: str) -> None:
    words = ["--dialect", dialect, "--requests", "20", "--connections", "30", "--endpoints", node.url, "-o", "json"]
    found = msgspec.json.decode(node.host.text("bench", "watch", *words))
    assert (found["done"], found["failed"], found["unknown"]) == (600, {}, {})
    assert node.host.text("kv", "ls", "-r", "/", "--endpoints", node.url) == ""


@pytest.mark.slow
def test_a_cluster_in_use_is_left_alone_unless_that_is_meant(node: Node) -> None:
    words = ["bench", "put", "--requests", "10", "--endpoints", node.url]
    assert node.host.run("kv", "put", "/theirs", "1", "--endpoints", node.url).returncode == 0
    try:
        for dialect in ("v2", "v3"):
            done = node.host.run(*words, "--dialect", dialect)
            assert done.returncode == 1
            assert b"holds keys of others (1)" in done.stderr
            assert b"--yes" in done.stderr
        table = node.host.text(*words, "--yes")
        assert "10 requests in " in table
    finally:
        assert node.host.run("kv", "rm", "/theirs", "--endpoints", node.url).returncode == 0


@pytest.mark.slow
def test_interrupted_it_says_what_it_has_and_cleans_up(node: Node) -> None:
    running = node.host.start("bench", "put", "--seconds", "60", "--endpoints", node.url)
    for _ in range(300):
        if node.host.text("kv", "ls", "/", "--endpoints", node.url):
            break
    running.send_signal(signal.SIGINT)
    printed, errors = running.communicate(timeout=30)
    assert running.returncode == -signal.SIGINT
    assert (b" requests in " in printed, errors) == (True, b"")
    assert node.host.text("kv", "ls", "-r", "/", "--endpoints", node.url) == ""


@pytest.mark.slow
def test_it_shows_its_certificate(tmp_path: Path) -> None:
    create(tmp_path / "ca", "authority of a test")
    authority = Authority.open(tmp_path / "ca")
    own, client = (
        authority.issue(role, role.value, ["127.0.0.1"], tmp_path / "certs") for role in (Role.SERVER, Role.CLIENT)
    )
    root = str(tmp_path / "ca" / "ca.crt")
    flags = ["--cert-file", str(own.certificate), "--key-file", str(own.key), "--trusted-ca-file", root]
    with Host(tmp_path).node("--listen-client-urls", "https://127.0.0.1:0", "--client-cert-auth", *flags) as node:
        words = ["bench", "mixed", "--keys", "20", "--requests", "50", "--endpoints", node.url, "--cacert", root]
        shown = node.host.text(*words, "--cert", str(client.certificate), "--key", str(client.key))
        assert "50 requests in " in shown
        stranger = node.host.run(*words)
        assert stranger.returncode == 1
        assert b"certificate" in stranger.stderr


@pytest.mark.slow
def test_it_says_who_it_is(tmp_path: Path) -> None:
    with Host(tmp_path).node() as node:
        assert node.host.run("user", "add", "root", stdin=b"secret\n").returncode == 0
        for change in (("auth", "enable"), ("role", "revoke", "guest", "--readwrite", "/*")):
            assert node.host.run(*change).returncode == 0
        for dialect in ("v2", "v3"):
            words = (
                "bench",
                "mixed",
                "--dialect",
                dialect,
                "--keys",
                "20",
                "--requests",
                "50",
                "--endpoints",
                node.url,
            )
            assert "50 requests in " in node.host.text(*words, "--user", "root:secret")
            refused = node.host.run(*words)
            assert (refused.returncode, b" requests in " in refused.stdout) == (1, False)
        assert node.host.text("kv", "ls", "-r", "/") == ""


@pytest.mark.slow
def test_v2_has_no_transactions(tmp_path: Path) -> None:
    done = Host(tmp_path).run("bench", "txn", "--dialect", "v2")
    assert done.returncode == 2
    assert b"v2 has no transactions" in done.stderr


def test_percentiles_are_within_one_percent() -> None:
    numbers = random.Random(1)
    drawn = sorted(numbers.lognormvariate(-6, 1.5) for _ in range(20_000))
    latencies = Latencies()
    for each in drawn:
        latencies.add(each)
    for part in (0.5, 0.9, 0.99, 0.999):
        assert latencies.quantile(part) == pytest.approx(drawn[int(part * len(drawn)) - 1], rel=0.01)
    assert latencies.quantile(1) == pytest.approx(drawn[-1], rel=0.01)
    assert latencies.longest == drawn[-1]
    assert Latencies().quantile(0.5) == 0


async def outcome(peer: str, request: Request, *, times: int = 1, patience: float = 5.0) -> Tally:
    """What comes of a request when the server does this."""

    async def serve(each: Peer) -> None:
        while await each.request():
            if peer == "breaks":
                return
            if peer == "is silent":
                await trio.sleep_forever()
            headers = "Connection: close\r\n" if peer == "closes" else ""
            await each.answer(OK, "200 OK" if peer == "closes" else peer, headers)
            if peer == "closes":
                return

    tally = Tally()
    async with server(serve) as endpoint:
        turns = Turns(Limit(times, None, None))
        await load(Ways([endpoint], None), patience, 1, turns, lambda: request, tally)
    return tally


@pytest.mark.parametrize("peer", ["breaks", "500 Internal Server Error", "504 Gateway Timeout"])
async def test_a_write_without_a_verdict_is_of_unknown_outcome(peer: str) -> None:
    tally = await outcome(peer, WRITE, times=2)
    assert (tally.done, tally.unknown.total(), tally.failed.total()) == (0, 2, 0)
    tally = await outcome(peer, READ, times=2)
    assert (tally.done, tally.unknown.total(), tally.failed.total()) == (0, 0, 2)


@pytest.mark.parametrize("status", ["503 Service Unavailable", "507 Insufficient Storage", "400 Bad Request"])
async def test_a_refused_write_has_failed(status: str) -> None:
    tally = await outcome(status, WRITE, times=2)
    assert (tally.done, tally.unknown, tally.failed) == (0, Counter(), Counter({f"status {status[:3]}": 2}))


async def test_a_late_answer_is_none() -> None:
    tally = await outcome("is silent", WRITE, patience=0.05)
    assert (tally.done, tally.unknown) == (0, Counter({"no answer within 0.05 s": 1}))


async def test_a_connection_that_the_server_closes_is_followed_by_another() -> None:
    tally = await outcome("closes", WRITE, times=3)
    assert (tally.done, tally.unknown.total(), tally.failed.total()) == (3, 0, 0)


async def test_with_a_rate_a_stall_counts_for_all_that_were_due() -> None:
    """A closed loop forgives a server that stands still: one request waits. By the clock all do that were due."""
    for rate, least in ((None, 1), (100.0, 10)):
        pauses = iter([0.2])

        async def serve(each: Peer, pauses: Iterator[float] = pauses) -> None:
            while await each.request():
                await trio.sleep(next(pauses, 0))
                await each.answer(OK)

        tally = Tally()
        async with server(serve) as endpoint:
            await load(Ways([endpoint], None), 5, 1, Turns(Limit(20, None, rate)), lambda: WRITE, tally)
        assert tally.done == 20
        slow = [part / 20 for part in range(20) if tally.latencies.quantile(1 - part / 20) > 0.05]
        assert len(slow) >= least
        assert rate or tally.latencies.quantile(0.9) < 0.2


async def test_answers_in_pieces() -> None:
    async def serve(each: Peer) -> None:
        await each.request()
        head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"
        for piece in (head[:20], head[20:], "5;x=1\r\nab", "cde\r", "\n3\r\nfgh\r\n0\r\n\r\n"):
            await each.send(piece)
            await trio.testing.wait_all_tasks_blocked()
        await each.request()
        await each.send("HTTP/1.1 200 OK\r\ncontent-length:4\r\n\r\nab")
        await trio.testing.wait_all_tasks_blocked()
        await each.send("cdHTTP")
        await each.request()
        await each.send("/1.1 204 No Content\r\n\r\n")
        await each.request()
        await each.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")

    async with server(serve) as endpoint:
        talk: Talk = await connect(endpoint, None)
        assert await talk.ask(READ.data) == (200, b"abcdefgh")
        assert await talk.ask(READ.data) == (200, b"abcd")
        assert await talk.ask(READ.data) == (204, b"")
        with pytest.raises(LostError):
            await talk.ask(READ.data)
        await talk.aclose()


def test_values_have_their_size_and_keys_their_number() -> None:
    for size in (1, 16, 64, 1000):
        requests = Requests(Plan("put", "v2", "/p", 25, size, 1, local=False))
        assert len(requests.value()) == size
        written = [request.data.split()[1] for request in requests.fill()]
        assert len(set(written)) == 25
        assert all(requests.next().data.split()[1] in written for _ in range(50))
