"""The conductor on a real store: it offers, takes back, and pauses."""

from collections.abc import AsyncIterator, Callable

import pytest
import trio

from core.client import Put, Store, prefix
from core.client.inside import InsideStore
from core.node.local import LocalStore
from core.update import keys
from core.update.conductor import Conductor
from core.update.plan import Target
from core.update.records import Channel, Group, Offer, Report, decode, encode
from tests.client.conftest import member

__all__ = ["member"]
RELEASES = {("os", "2.0", "x86_64"): Target("a" * 64, 10)}
A, B = "a" * 32, "b" * 32


@pytest.fixture
async def store(member: LocalStore) -> AsyncIterator[Store]:
    async with InsideStore(member) as store:
        yield store


async def report(store: Store, machine: str, version: str = "1.0", stage: str = "idle", **more: object) -> None:
    record = Report("g", "os", "x86_64", version, stage=stage, **more)  # type: ignore[arg-type]
    await store.put(keys.report(machine), encode(record))


async def until(store: Store, key: bytes, condition: Callable[[bytes | None], bool]) -> bytes | None:
    with trio.fail_after(20):
        while True:
            found = await store.get(key)
            if condition(found):
                return found
            await trio.sleep(0.01)


async def test_where_there_is_no_group_nothing_is_written(store: Store, member: LocalStore) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Conductor(store, "n1", lambda: RELEASES).run)
        before = member.revision
        await trio.sleep(0.3)
        assert member.revision == before
        await store.put(keys.group("g"), encode(Group("stable")))
        async with store.watch(prefix(keys.LEADER), start=1) as watch:
            with trio.fail_after(20):
                await anext(aiter(watch))
        nursery.cancel_scope.cancel()


async def test_it_offers_one_after_the_other_and_stops_by_itself(store: Store) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Conductor(store, "n1", lambda: RELEASES).run)
        for machine in (A, B):
            await report(store, machine)
            await store.put(keys.alive(machine))
        await store.txn([], [
            Put(keys.channel("stable"), encode(Channel("os", "2.0"))),
            Put(keys.group("g"), encode(Group("stable"))),
        ])  # fmt: skip
        data = await until(store, keys.offer(A), lambda found: found is not None)
        offer = decode(Offer, data or b"")
        assert (offer.version, offer.sha256, offer.attempt, offer.group) == ("2.0", "a" * 64, 1, "g")
        assert await store.get(keys.offer(B)) is None
        await report(store, A, "2.0")
        await until(store, keys.offer(B), lambda found: found is not None)
        assert await store.get(keys.offer(A)) is None
        await report(store, B, stage="failed", wanted="2.0", attempt=1, error="no slot")
        data = await until(store, keys.group("g"), lambda found: decode(Group, found or b"").paused)
        assert "no slot" in decode(Group, data or b"").why
        nursery.cancel_scope.cancel()
