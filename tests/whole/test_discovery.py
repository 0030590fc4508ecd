"""Hosts that know one URL and found a cluster: etcd's v2 discovery protocol, served by one node and used by others."""

import re
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from core.client.discovery import DiscoveryError, discover
from tests.whole.cluster import member
from tests.whole.requests import Client
from tests.whole.servers import HOST, KINDS, Kind, Server, free_port, is_healthy, missing


@pytest.fixture(scope="module", params=KINDS)
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A discovery service: this program, and an etcd."""
    kind: Kind = request.param
    why = missing(kind)
    if why:
        pytest.skip(why)
    with Server(kind, tmp_path_factory.mktemp(kind)) as server:
        yield server


def new_url(service: Server, word: str, size: str = "3") -> str:
    path = f"/v2/keys/_etcd/registry/{word}"
    with Client(service.port) as client:
        client.ask("PUT", f"{path}/_config/size", {"value": size})
    return service.url + path


def founder(home: Path, name: str, url: str, *more: str) -> Server:
    peer = f"http://{HOST}:{free_port()}"
    flags = ["--name", name, "--initial-advertise-peer-urls", peer, "--discovery", url, *more]
    return Server("corenode", home / name, extra=flags)


def test_three_that_know_one_url(service: Server, tmp_path: Path) -> None:
    url = new_url(service, "three")
    founders = [founder(tmp_path, name, url) for name in ("a", "b", "c")]
    late = founder(tmp_path, "d", url)
    try:
        for server in founders[:2]:
            server.start(ready=False)
        assert not is_healthy(founders[0].port)
        founders[2].start(ready=True)
        for server in founders:
            wait(partial(is_healthy, server.port), server)
        with Client(founders[0].port) as one, Client(founders[2].port) as three:
            assert one.ask("PUT", "/v2/keys/x", {"value": "1"}).status == 201
            assert three.ask("GET", "/v2/keys/x?quorum=true").json["node"]["value"] == "1"
            names = [each["name"] for each in one.ask("GET", "/v2/members").json["members"]]
        assert sorted(names) == ["a", "b", "c"]

        late.start(ready=False)
        assert late.wait() == 1
        assert re.search(r"the cluster of \S+ is full: [abc], [abc], [abc]", late.output())

        founders[1].stop()  # with its data it does not ask the service again
        founders[1].start()
        assert member(founders[1], "list").stdout.count("voter") == 2
    finally:
        for server in (*founders, late):
            server.kill()


def wait(condition: partial[bool], server: Server) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, server.output()
        time.sleep(0.05)


async def test_registering_again_is_as_good_as_once(service: Server) -> None:
    url = new_url(service, "again", "1")
    assert await discover(url, "1a", "n=http://127.0.0.1:1") == ("n=http://127.0.0.1:1",)
    assert await discover(url, "1a", "n=http://127.0.0.1:1") == ("n=http://127.0.0.1:1",)
    with pytest.raises(DiscoveryError, match=r"registered at .* with this one's id"):
        await discover(url, "1a", "other=http://127.0.0.1:1")
    with pytest.raises(DiscoveryError, match="is full: n"):
        await discover(url, "1b", "m=http://127.0.0.1:2")


async def test_without_a_size_nobody_waits(service: Server) -> None:
    with pytest.raises(DiscoveryError, match="_config/size -d value=3"):
        await discover(f"{service.url}/v2/keys/_etcd/registry/nothing", "1a", "n=http://127.0.0.1:1")
    for size in ("0", "many", "-1"):
        with pytest.raises(DiscoveryError, match="no number of members"):
            await discover(new_url(service, f"size{size}", size), "1a", "n=http://127.0.0.1:1")
