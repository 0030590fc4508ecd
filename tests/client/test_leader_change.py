"""A cluster of three that loses its leader in the middle of everything."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from core.client import Compare, Put, Store, connect
from core.client.endpoints import parse
from core.client.errors import ClientError, OutcomeUnknownError
from core.client.transport import Transport
from tests.whole.servers import HOST, Kind, Server, free_port, is_healthy, missing

pytestmark = pytest.mark.slow

WRITES = 90
SETTLE_SECONDS = 20


@pytest.fixture(params=["corenode", "etcd"])
def members(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Server]]:
    """Three members of one cluster."""
    kind: Kind = request.param
    if why := missing(kind):
        pytest.skip(why)
    peers = {f"m{number}": f"http://{HOST}:{free_port()}" for number in range(3)}
    cluster = ["--initial-cluster", ",".join(f"{name}={url}" for name, url in peers.items())]
    with ExitStack() as stack:
        servers = []
        for name, url in peers.items():
            flags = ["--name", name, "--listen-peer-urls", url, "--initial-advertise-peer-urls", url, *cluster]
            server = Server(kind, tmp_path / name, extra=flags)
            stack.callback(server.kill)
            server.start(ready=False)
            servers.append(server)
        deadline = time.monotonic() + SETTLE_SECONDS
        while not all(is_healthy(server.port) for server in servers):
            if time.monotonic() > deadline:
                pytest.fail("\n".join(server.output() for server in servers))
            time.sleep(0.02)
        yield servers


async def leader_of(servers: list[Server]) -> Server:
    """Who leads, as the members say."""
    for server in servers:
        async with Transport([parse(server.url)]) as transport:
            answer = await transport.call("POST", "/v3/maintenance/status", b"{}")
            status = json.loads(answer.body)
            if status.get("leader") == status["header"]["member_id"]:
                return server
    raise AssertionError("nobody leads")


async def write_once(store: Store, key: bytes, version: int) -> None:
    """Make a key's next version, exactly once: the condition makes it safe to repeat."""
    while True:
        try:
            await store.txn([Compare(key, "version", "=", version - 1)], [Put(key, b"%d" % version)])
            return
        except OutcomeUnknownError:
            continue
        except ClientError:
            await trio.sleep(0.05)


async def test_nothing_is_lost_or_doubled_when_the_leader_dies(
    members: list[Server], record_property: Callable[[str, object], None]
) -> None:
    leader = await leader_of(members)
    urls = ",".join(server.url for server in (leader, *members))
    seen: list[tuple[int, bytes]] = []
    lost: list[str] = []
    began = 0.0
    longest = 0.0
    async with connect(urls) as store, connect(urls) as writer:
        start = (await store.range(b"/n")).revision + 1
        with trio.fail_after(60):
            async with (
                store.lock(b"/lock", ttl=20) as claim,
                store.watch(b"/n", start=start, lost=lost.append) as watch,
            ):
                async with trio.open_nursery() as nursery:

                    async def write() -> None:
                        nonlocal longest, began
                        for version in range(1, WRITES + 1):
                            began = trio.current_time()
                            if version == WRITES // 3:
                                leader.kill()
                            await write_once(writer, b"/n", version)
                            longest = max(longest, trio.current_time() - began)

                    nursery.start_soon(write)
                    while not seen or seen[-1][0] < WRITES:
                        seen += [(event.kv.version, event.kv.value) for event in (await anext(watch)).events]
                assert (await store.txn([claim.compare])).succeeded
    assert lost
    assert seen == [(version, b"%d" % version) for version in range(1, WRITES + 1)]
    record_property("checked", f"{WRITES} writes, {len(lost)} breaks of the watch, {longest:.2f} s without a leader")
