"""Killed with SIGKILL while it writes, again and again: what was acknowledged is there, and nothing is half there."""

import http.client
import json
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.whole.ledger import BrokenPromiseError, check_history, check_indexes, check_keys, check_queue
from tests.whole.requests import Client
from tests.whole.servers import HOST, KINDS, Kind, Server, missing
from tests.whole.writers import Writer, listing, load

pytestmark = pytest.mark.slow
KILLS = {"corenode": 50, "etcd": 3}
WRITERS = 6


def kill_after(server: Server, seconds: float) -> Callable[[], None]:
    """Kills at a moment that has nothing to do with what the server does just then."""

    def kill() -> None:
        time.sleep(seconds)
        server.kill()

    return kill


def check(server: Server, writers: list[Writer]) -> int:
    """Hold the server against all ledgers; gives how many keys were compared."""
    with Client(server.port) as client:
        check_indexes([writer.ledger for writer in writers], client.get("/").index)
        held = 0
        for writer in writers:
            held += check_keys(writer.ledger, listing(client, f"/load/{writer.number}"))
            held += check_queue(writer.ledger, listing(client, f"/queue-{writer.number}"))
    return held


def history(port: int, first: int) -> dict[int, dict[str, Any]]:
    """All events from an index up to now, by index."""
    with Client(port) as client:
        last = client.put("/end", "of history").json["node"]["modifiedIndex"]
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    connection.request("GET", f"/v2/keys/?wait=true&recursive=true&stream=true&waitIndex={first}")
    reply = connection.getresponse()
    events: dict[int, dict[str, Any]] = {}
    while last not in events:
        event = json.loads(reply.readline())
        index = event["node"]["modifiedIndex"]
        if events and index <= max(events):
            raise BrokenPromiseError(f"history repeats itself at {index}")
        events[index] = event
    reply.close()
    connection.close()
    return events


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_acknowledged_is_lost(
    kind: Kind, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    if missing(kind):
        pytest.skip(missing(kind))
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    moments = random.Random(seed)
    writers = [Writer(number, seed) for number in range(WRITERS)]
    held = 0
    with Server(kind, tmp_path) as server:
        for _ in range(KILLS[kind]):
            load(writers, server.port, kill_after(server, moments.uniform(0.05, 0.5)))
            server.start()
            held += check(server, writers)
        if kind == "corenode":
            events = history(server.port, min(min(writer.ledger.indexes) for writer in writers))
            held += sum(check_history(writer.ledger, events) for writer in writers)
    writes = sum(writer.acknowledged for writer in writers)
    assert writes > 20 * KILLS[kind], "too little was written for the kills to mean anything"
    record_property("checked", f"{KILLS[kind]} kills, {writes} acknowledged writes, {held} comparisons, seed {seed}")


@pytest.mark.parametrize("kind", KINDS)
def test_the_check_finds_a_directory_that_was_set_back(kind: Kind, tmp_path: Path) -> None:
    """Acknowledged writes are made to vanish by putting an older copy of the data in place: the check must see it."""
    if missing(kind):
        pytest.skip(missing(kind))
    writers = [Writer(0, 0)]
    with Server(kind, tmp_path) as server:
        load(writers, server.port, kill_after(server, 0.3))
        older = tmp_path / "older"
        shutil.copytree(server.data, older, ignore=shutil.ignore_patterns("*.sock"))
        server.start()
        check(server, writers)
        load(writers, server.port, kill_after(server, 0.3))
        shutil.rmtree(server.data)
        shutil.move(older, server.data)
        server.start()
        with pytest.raises(BrokenPromiseError):
            check(server, writers)
