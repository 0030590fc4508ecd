"""`/v3/election/...` beside etcd's: one story told to both, and what etcd cannot be made to show."""

from pathlib import Path
from typing import Any

import pytest
import trio

from core.kv.access import Permission, Right
from core.kv.commands import (
    Admitted,
    AuthSwitch,
    Compact,
    Expire,
    LeaseGrant,
    Put,
    RoleChange,
    RoleCreate,
    UserCreate,
)
from tests.v3.client import V3, b64, plain
from tests.v3.test_lock import Waiter, answer, ask
from tests.v3.watching import Stream, Watched, until
from tests.whole.servers import KINDS, Kind, Server, missing


async def campaign(port: int, nursery: trio.Nursery, lease: int, value: bytes) -> Waiter:
    """Stand for the election `e`."""
    body = {"name": b"e", "lease": lease, "value": value}
    waiter = Waiter(await Stream.open(port, "election/campaign", body))
    nursery.start_soon(waiter.run)
    return waiter


def key_of(answered: Any) -> dict[str, object]:
    """What shows that a client leads, to be sent back."""
    leader = answered["leader"]
    return {**leader, "name": plain(leader["name"]), "key": plain(leader["key"])}


async def said(stream: Stream) -> tuple[str, str]:
    """Key and value of the next message of an observer."""
    kv = (await stream.next())["kv"]
    return plain(kv["key"]).decode(), plain(kv.get("value", "")).decode()


async def test_leaders_follow_each_other_and_observers_hear_of_it() -> None:
    world = Watched()
    world.do(LeaseGrant(1, 60), LeaseGrant(2, 5), LeaseGrant(3, 60))
    async with world.served() as port, trio.open_nursery() as nursery:
        async with await Stream.open(port, "election/observe", {"name": b"e"}) as observer:
            first = await campaign(port, nursery, 1, b"one")
            assert await said(observer) == ("e/1", "one")
            await until(lambda: first.answer is not None)
            assert key_of(first.answer) == {"name": b"e", "key": b"e/1", "rev": "2", "lease": "1"}
            second = await campaign(port, nursery, 2, b"two")
            await until(lambda: world.revision == 3)
            third = await campaign(port, nursery, 3, b"three")
            await until(lambda: world.revision == 4)
            leader = key_of(first.answer)
            assert (await ask(port, "election/proclaim", leader=leader, value=b"uno"))[0] == 200
            assert await said(observer) == ("e/1", "uno")
            assert (await ask(port, "election/leader", name=b"e"))[1]["kv"]["value"] == b64(b"uno")
            assert (await ask(port, "election/resign", leader=leader))[0] == 200
            assert await said(observer) == ("e/2", "two")
            await until(lambda: second.answer is not None)
            assert third.answer is None
            world.now += 10
            world.do(Expire(10))
            assert await said(observer) == ("e/3", "three")
            await until(lambda: third.answer is not None)
            stale = await ask(port, "election/proclaim", leader=key_of(second.answer), value=b"still me")
            assert stale == (500, {**stale[1], "message": "election: not leader", "code": 2})
        await until(lambda: world.hub.open == 0)


async def test_standing_again_says_something_else() -> None:
    world = Watched()
    world.do(LeaseGrant(1, 60))
    async with world.served() as port:
        for value in (b"one", b"one", b"two"):
            assert (await ask(port, "election/campaign", name=b"e", lease=1, value=value))[0] == 200
        found = world.key(b"e/1")
        assert found is not None
        assert (found.value, found.version, found.lease) == (b"two", 2, 1)


async def test_a_candidate_that_goes_away_stands_no_longer() -> None:
    world = Watched()
    world.do(LeaseGrant(1, 60), LeaseGrant(2, 60))
    async with world.served() as port, trio.open_nursery() as nursery:
        await campaign(port, nursery, 1, b"one")
        await until(lambda: world.key(b"e/1") is not None)
        second = await campaign(port, nursery, 2, b"two")
        await until(lambda: world.key(b"e/2") is not None)
        await second.hang_up()
        await until(lambda: world.key(b"e/2") is None)
        assert world.key(b"e/1") is not None


async def test_an_observer_outlives_a_compaction() -> None:
    world = Watched()
    world.do(LeaseGrant(1, 60))
    async with world.served() as port, await Stream.open(port, "election/observe", {"name": b"e"}) as observer:
        await until(lambda: world.hub.open == 1)
        world.do(*[Put(b"x")] * 5)
        world.do(Compact(world.revision))
        world.do(Put(b"e/1", b"one"))
        assert await said(observer) == ("e/1", "one")
        for number in range(300):
            world.do(Put(b"e/1", b"%d" % number))
        world.do(Compact(world.revision))
        last = ""
        while last != "299":
            last = (await said(observer))[1]


async def test_an_observer_hears_nothing_it_may_not_read() -> None:
    world = Watched()
    read = Permission(Right.READ, b"e/", b"e0")
    world.do(UserCreate("root", None, ("root",)), RoleCreate("guest", (read,)), AuthSwitch(enabled=True))
    async with world.served() as port, await Stream.open(port, "election/observe", {"name": b"e"}) as observer:
        await until(lambda: world.hub.open == 1)
        world.do(Admitted(world.gate.switch.revision, Put(b"e/1", b"one")))
        assert await said(observer) == ("e/1", "one")
        for command in (RoleChange("guest", revoke=(read,)), Put(b"e/1", b"secret")):
            world.do(Admitted(world.gate.switch.revision, command))
        line = await observer.line()
        assert line is not None
        assert line["error"]["message"] == "etcdserver: user name is empty"
        assert await observer.line() is None
        async with await Stream.open(port, "election/observe", {"name": b"e"}) as refused:
            assert (await answer(refused))[0] == 500


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_as_etcd_does(kind: Kind, tmp_path: Path) -> None:
    """The same story on both."""
    if missing(kind):
        pytest.skip(missing(kind))
    with Server(kind, tmp_path) as server:
        v3 = V3(server)
        for lease in (1, 2):
            v3.good("lease/grant", {"ID": lease, "TTL": 600})
        trio.run(_story, server.port, v3)
        for path, body, words in (
            ("leader", {"name": b"nobody"}, "election: no leader"),
            ("proclaim", {"value": b"x"}, '"leader" field must be provided'),
            ("resign", {}, '"leader" field must be provided'),
            ("campaign", {"name": b"e", "lease": 99}, "etcdserver: requested lease not found"),
        ):
            refused = v3.ask(f"election/{path}", body)
            assert (refused.status, refused.body["code"], refused.body["message"]) == (500, 2, words)


async def _story(port: int, v3: V3) -> None:
    async def post(path: str, **body: object) -> Any:
        return await trio.to_thread.run_sync(v3.good, f"election/{path}", body)

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            first = await campaign(port, nursery, 1, b"one")
            await until(lambda: first.answer is not None)
            leader = key_of(first.answer)
            assert (leader["key"], leader["lease"]) == (b"e/1", "1")
            async with await Stream.open(port, "election/observe", {"name": b"e"}) as observer:
                assert await said(observer) == ("e/1", "one")
                second = await campaign(port, nursery, 2, b"two")
                await post("proclaim", leader=leader, value=b"uno")
                assert await said(observer) == ("e/1", "uno")
                assert (await post("leader", name=b"e"))["kv"]["create_revision"] == leader["rev"]
                await post("resign", leader=leader)
                assert await said(observer) == ("e/2", "two")
                await until(lambda: second.answer is not None)
                await post("resign", leader=leader)
                await post("resign", leader=key_of(second.answer))
                assert await observer.quiet(0.2)
