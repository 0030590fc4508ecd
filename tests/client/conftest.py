"""The three ways to a store, each with a real one behind it."""

from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from core.client import Store, connect
from core.node.keeper import Keeper
from core.node.local import LocalStore
from tests.node.disk import Disk, Machine
from tests.whole.servers import Server, missing

Connect = Callable[..., Store]
"""Makes a store; takes the options of `core.client.connect`."""

WAYS = [
    "local",
    pytest.param("corenode", marks=pytest.mark.slow),
    pytest.param("etcd", marks=pytest.mark.slow),
]


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Debian's etcd."""
    if why := missing("etcd"):
        pytest.skip(why)
    with Server("etcd", tmp_path_factory.mktemp("etcd")) as server:
        yield server


@pytest.fixture(scope="session")
def corenode(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """This program."""
    with Server("corenode", tmp_path_factory.mktemp("corenode")) as server:
        yield server


@pytest.fixture
async def member() -> AsyncIterator[LocalStore]:
    """A member of this process, alone in its cluster, its disk in memory."""
    machine = Machine(Disk())
    await machine.node.start()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(machine.node.run)
        nursery.start_soon(Keeper(machine.node, retention=0, revisions=1 << 40).run)
        yield LocalStore(machine.node)
        machine.node.stop()
        nursery.cancel_scope.cancel()


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    """Which one the test runs on."""
    return str(request.param)


@pytest.fixture
async def connected(way: str, request: pytest.FixtureRequest, member: LocalStore) -> Connect:
    """Makes stores on it."""
    if way == "local":
        return partial(connect, "local:", node=member)
    server: Any = request.getfixturevalue(way)
    return partial(connect, server.url)


@pytest.fixture
async def store(connected: Connect) -> AsyncIterator[Store]:
    """A store on it, with the usual options."""
    async with connected() as store:
        yield store


@pytest.fixture
def base(tmp_path: Path) -> bytes:
    """A prefix of the test's own: servers are shared."""
    return f"/{tmp_path.name}-{id(tmp_path):x}/".encode()


@pytest.fixture(params=[way for way in WAYS if way != "local"])
def server(request: pytest.FixtureRequest) -> Server:
    """A server, for what happens on the way to it."""
    found: Server = request.getfixturevalue(str(request.param))
    return found
