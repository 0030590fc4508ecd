"""The wall clock is stepped under a running node: nothing expires for it, nothing hangs.

libfaketime answers the node's questions for the time of day from a file that the test changes; the monotonic clock is
left alone, as it is when an operator or a time daemon steps a real clock.
"""

import datetime
import http.client
import json
import os
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from tests.whole.requests import Client
from tests.whole.servers import HOST, Server

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(LIBRARY is None, reason="needs Debian's package libfaketime"),
]
HOUR = 3600


class Wall:
    """The hands of the node's wall clock."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.offset = 0
        self.step(0)

    def step(self, offset: int) -> None:
        """Set the clock to real time plus `offset` seconds, in one step."""
        self.offset = offset
        new = self._file.with_suffix(".new")
        new.write_text(f"{offset:+d}s\n")
        os.replace(new, self._file)

    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_RESET": "1",
        }


@pytest.fixture
def wall(tmp_path: Path) -> Wall:
    return Wall(tmp_path / "wall")


@pytest.fixture
def node(wall: Wall, tmp_path: Path) -> Iterator[Server]:
    with Server("corenode", tmp_path / "home", environment=wall.environment()) as running:
        yield running


def shown_offset(client: Client) -> float:
    """How far the node's wall clock is from the real one, by what it shows, in seconds."""
    date = parsedate_to_datetime(client.get("/").headers["date"])
    return (date - datetime.datetime.now(datetime.UTC)).total_seconds()


def until_shown(client: Client, offset: int) -> None:
    """Wait until the node shows that offset; a Date header may be some seconds old. Else the test proves nothing."""
    deadline = time.monotonic() + 5
    while abs(shown_offset(client) - offset) > 5:
        assert time.monotonic() < deadline, "the step did not reach the node"
        time.sleep(0.05)


def wait_for(port: int, target: str) -> Callable[[], dict[str, str]]:
    """Open a long poll; gives a function that waits for its event and tells it."""
    connection = http.client.HTTPConnection(HOST, port, timeout=20)
    connection.request("GET", target)
    reply = connection.getresponse()

    def event() -> dict[str, str]:
        found = json.loads(reply.read())
        reply.close()
        connection.close()
        return {"action": found["action"], "key": found["node"]["key"]}

    return event


@pytest.mark.parametrize("step", [HOUR, -HOUR, 24 * HOUR * 365])
def test_a_step_expires_nothing_and_hangs_nothing(node: Server, wall: Wall, step: int) -> None:
    with Client(node.port) as client:
        until_shown(client, 0)
        assert client.put("/long", "1", ttl="600").status == 201
        begun = time.monotonic()  # a TTL begins when the write is proposed, however long the disk takes then
        assert client.put("/short", "1", ttl="3").status == 201
        expiry = wait_for(node.port, "/v2/keys/short?wait=true")
        wall.step(step)
        until_shown(client, step)
        assert client.put("/other", "written after the step").status == 201
        assert client.get("/long", "?quorum=true").json["node"]["ttl"] in range(590, 601)
        assert expiry() == {"action": "expire", "key": "/short"}
        assert 2.5 < time.monotonic() - begun < 8, "a TTL of 3 s runs by the monotonic clock, whatever the wall says"
        assert client.get("/long").status == 200
        # TTLs set after the step run as long as they say, too, and the expiration shown is of the new wall time.
        shown = client.put("/new", "1", ttl="1").json["node"]["expiration"]
        expiration = datetime.datetime.fromisoformat(shown[:19] + "+00:00")
        now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=step)
        assert abs((expiration - now).total_seconds()) < 5
        assert wait_for(node.port, "/v2/keys/new?wait=true")() == {"action": "expire", "key": "/new"}


def test_a_step_while_it_is_down_expires_nothing(node: Server, wall: Wall) -> None:
    with Client(node.port) as client:
        assert client.put("/long", "1", ttl="600").status == 201
    assert node.stop() == 0
    wall.step(HOUR)
    node.start()
    with Client(node.port) as client:
        until_shown(client, HOUR)
        assert client.get("/long").json["node"]["ttl"] in range(500, 601)
