"""`/v3/lock/...` beside etcd's, and what happens to whoever goes away."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
import trio

from core.kv.access import Permission, Right, prefix_end, span
from core.kv.commands import (
    Admitted,
    AuthSwitch,
    Compact,
    DeleteRange,
    Expire,
    LeaseGrant,
    LeaseRevoke,
    Put,
    RoleChange,
    RoleCreate,
    UserCreate,
)
from tests.v3.client import V3, b64, plain
from tests.v3.watching import Stream, Watched, until
from tests.whole.servers import KINDS, Kind, Server, missing


async def answer(stream: Stream) -> tuple[int, Any]:
    """Status and JSON of an answer, whichever way its end is told."""
    data = b""
    while True:
        data += await stream.stream.receive_some(65536) or _broken()
        head, _, rest = data.partition(b"\r\n\r\n")
        with contextlib.suppress(ValueError):
            return int(head.split(b" ", 2)[1]), json.loads(rest[rest.index(b"{") : rest.rindex(b"}") + 1])


def _broken() -> bytes:
    raise EOFError


async def ask(port: int, path: str, **body: object) -> tuple[int, Any]:
    """Status and JSON of one answer."""
    async with await Stream.open(port, path, body) as stream:
        return await answer(stream)


def line(world: Watched, name: bytes) -> list[bytes]:
    """The keys in line, the first first."""
    page = world.keyspace.page(span(name + b"/", prefix_end(name + b"/")))
    return [record.key for record in sorted(page.records, key=lambda record: record.create_revision)]


class Waiter:
    """Whoever asks for a lock and waits."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.answer: Any = None

    async def run(self) -> None:
        async with self._stream:
            with contextlib.suppress(EOFError, trio.BrokenResourceError, trio.ClosedResourceError):
                _, self.answer = await answer(self._stream)

    async def hang_up(self) -> None:
        await self._stream.close()

    @property
    def holds(self) -> bool:
        return self.answer is not None and "key" in self.answer


async def stand(world: Watched, port: int, nursery: trio.Nursery, lease: int) -> Waiter:
    """Ask for the lock `l` by a lease, and return when that stands in line or holds it."""
    key = b"l/%x" % lease
    waiter = Waiter(await Stream.open(port, "lock/lock", {"name": b"l", "lease": lease}))
    nursery.start_soon(waiter.run)
    await until(lambda: key in line(world, b"l"))
    return waiter


async def test_they_hold_it_in_the_order_they_came() -> None:
    world = Watched()
    world.do(*[LeaseGrant(lease, 60) for lease in (1, 2, 3, 4)])
    async with world.served() as port, trio.open_nursery() as nursery:
        waiters = [await stand(world, port, nursery, lease) for lease in (3, 1, 4, 2)]
        for number, waiter in enumerate(waiters):
            await until(lambda waiter=waiter: waiter.holds)  # type: ignore[misc]
            assert [each.holds for each in waiters] == [True] * (number + 1) + [False] * (3 - number)
            assert waiter.answer["key"] == b64(b"l/%x" % (3, 1, 4, 2)[number])
            assert (await ask(port, "lock/unlock", key=plain(waiter.answer["key"])))[0] == 200
        assert line(world, b"l") == []
        assert world.hub.open == 0


async def test_whoever_goes_away_gives_its_place_up() -> None:
    world = Watched()
    world.do(*[LeaseGrant(lease, 60) for lease in (1, 2, 3)])
    async with world.served() as port, trio.open_nursery() as nursery:
        first, second, third = [await stand(world, port, nursery, lease) for lease in (1, 2, 3)]
        await second.hang_up()
        await until(lambda: line(world, b"l") == [b"l/1", b"l/3"])
        assert not third.holds
        await first.hang_up()  # it has its answer: the lock stays
        await trio.sleep(0.02)
        assert line(world, b"l") == [b"l/1", b"l/3"]
        world.do(DeleteRange(b"l/1"))
        await until(lambda: third.holds)


async def test_a_lease_that_ends_frees_the_lock() -> None:
    world = Watched()
    world.do(LeaseGrant(1, 5), LeaseGrant(2, 600))
    async with world.served() as port, trio.open_nursery() as nursery:
        first, second = [await stand(world, port, nursery, lease) for lease in (1, 2)]
        assert (first.holds, second.holds) == (True, False)
        world.now += 10
        world.do(Expire(10))
        await until(lambda: second.holds)
        assert line(world, b"l") == [b"l/2"]


async def test_whoever_loses_its_lease_while_it_waits_does_not_hold_it() -> None:
    world = Watched()
    world.do(*[LeaseGrant(lease, 60) for lease in (1, 2, 3)])
    async with world.served() as port, trio.open_nursery() as nursery:
        await stand(world, port, nursery, 1)
        second = await stand(world, port, nursery, 2)
        third = await stand(world, port, nursery, 3)
        world.do(LeaseRevoke(2), DeleteRange(b"l/1"))
        await until(lambda: third.holds and second.answer is not None)
        assert second.answer["error"] == "mutex: session is expired"


async def test_without_a_lease_one_of_a_minute_is_made() -> None:
    world = Watched()
    async with world.served() as port:
        status, told = await ask(port, "lock/lock", name=b"l")
        lease = int(plain(told["key"]).removeprefix(b"l/"), 16)
        found = world.keyspace.lease(lease)
        assert status == 200
        assert found is not None
        assert (found[0].ttl, found[1]) == (60, [plain(told["key"])])


async def test_a_client_that_comes_back_keeps_its_place() -> None:
    """Its old connection is noticed to be dead after the new one asked with the same lease."""
    world = Watched()
    world.do(*[LeaseGrant(lease, 60) for lease in (1, 2)])
    async with world.served() as port, trio.open_nursery() as nursery:
        await stand(world, port, nursery, 1)
        old = await stand(world, port, nursery, 2)
        new = await stand(world, port, nursery, 2)
        await until(lambda: world.hub.open == 2)
        await old.hang_up()
        await until(lambda: world.hub.open == 1)
        assert line(world, b"l") == [b"l/1", b"l/2"]
        world.do(DeleteRange(b"l/1"))
        await until(lambda: new.holds)
        again = await stand(world, port, nursery, 2)
        await until(lambda: again.holds)
        await new.hang_up()
        await again.hang_up()
        await trio.sleep(0.02)
        assert line(world, b"l") == [b"l/2"]


async def test_a_name_is_not_another_that_begins_so() -> None:
    world = Watched()
    world.do(Put(b"l"), Put(b"l0"), Put(b"ll/1"), LeaseGrant(1, 60))
    async with world.served() as port:
        assert (await ask(port, "lock/lock", name=b"l", lease=1))[0] == 200


async def test_the_wait_outlives_a_compaction() -> None:
    world = Watched()
    world.do(*[LeaseGrant(lease, 60) for lease in (1, 2)])
    async with world.served() as port, trio.open_nursery() as nursery:
        await stand(world, port, nursery, 1)
        second = await stand(world, port, nursery, 2)
        world.do(*[Put(b"x")] * 10)
        world.do(Compact(world.revision))
        world.hub.reset()
        world.do(DeleteRange(b"l/1"))
        await until(lambda: second.holds)


async def test_it_takes_the_right_to_write_and_to_read_the_line() -> None:
    world = Watched()
    read, write = (Permission(right, b"l/", b"l0") for right in (Right.READ, Right.WRITE))
    world.do(LeaseGrant(1, 60), LeaseGrant(2, 60), UserCreate("root", None, ("root",)), RoleCreate("guest", (write,)))
    world.do(AuthSwitch(enabled=True))
    async with world.served() as port, trio.open_nursery() as nursery:
        assert (await ask(port, "lock/lock", name=b"l", lease=1))[0] == 500
        world.do(Admitted(world.gate.switch.revision, RoleChange("guest", grant=(read,))))
        assert (await ask(port, "lock/lock", name=b"l", lease=1))[0] == 200
        waiting = await stand(world, port, nursery, 2)
        world.do(Admitted(world.gate.switch.revision, RoleChange("guest", revoke=(read,))))
        world.do(Admitted(world.gate.switch.revision, DeleteRange(b"l/1")))
        await until(lambda: waiting.answer is not None)
        assert "user name is empty" in waiting.answer["error"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_as_etcd_does(kind: Kind, tmp_path: Path) -> None:
    """The same story on both, with the same end."""
    if missing(kind):
        pytest.skip(missing(kind))
    with Server(kind, tmp_path) as server:
        v3 = V3(server)
        trio.run(_story, server.port, v3)
        assert v3.ask("lock/lock", {"name": b"l", "lease": 99}).status == 500
        assert v3.ask("lock/unlock", {}).body["message"] == "etcdserver: key is not provided"
        assert v3.ask("lock/unlock", {"key": b"nothing"}).status == 200


async def _story(port: int, v3: V3) -> None:
    async def post(path: str, body: object) -> Any:
        return await trio.to_thread.run_sync(v3.good, path, body)

    async def standing(count: int) -> None:
        while int((await post("kv/range", {"key": b"l/", "range_end": b"l0"})).get("count", 0)) != count:  # noqa: ASYNC110
            await trio.sleep(0.02)

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            waiters = []
            for number, lease in enumerate((11, 12, 13, 14), 1):
                await post("lease/grant", {"ID": lease, "TTL": 600})
                waiters.append(Waiter(await Stream.open(port, "lock/lock", {"name": b"l", "lease": lease})))
                nursery.start_soon(waiters[-1].run)
                await standing(number)
            await until(lambda: waiters[0].holds)
            assert waiters[0].answer["key"] == b64(b"l/b")
            await waiters[1].hang_up()
            await standing(3)
            assert [waiter.holds for waiter in waiters] == [True, False, False, False]
            await post("lease/revoke", {"ID": 11})
            await until(lambda: waiters[2].holds)
            assert not waiters[3].holds
            await post("lock/unlock", {"key": plain(waiters[2].answer["key"])})
            await until(lambda: waiters[3].holds)
            await standing(1)
