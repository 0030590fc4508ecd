"""The conductor on a real store: it offers, takes back, and pauses."""

from collections.abc import AsyncIterator, Callable

import msgspec
import pytest
import trio

from core.client import Claim, Compare, Put, Store, prefix
from core.client.inside import InsideStore
from core.node.local import LocalStore
from core.update import keys
from core.update.conductor import Conductor
from core.update.plan import Change, Grant, Pause, Target, Withdraw
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


class Always(Claim, frozen=True):
    @property
    def compare(self) -> Compare:
        return Compare.absent(b"nothing is here")


class Deaf(Conductor):
    """Broken: it does not ask whether it still leads."""

    async def _make(self, claim: Claim, change: Change) -> None:
        await super()._make(Always(*msgspec.structs.astuple(claim)), change)


@pytest.mark.parametrize(("kind", "wrote"), [(Conductor, False), (Deaf, True)])
async def test_one_that_was_deposed_changes_nothing(store: Store, kind: type[Conductor], wrote: bool) -> None:
    """Between its plan and its write another one came; the broken one shows that this would be seen."""
    await store.put(keys.group("g"), encode(Group("stable")))
    await report(store, A)
    async with store.election(keys.LEADER).campaign(b"old", ttl=10) as lead:
        stale = lead.claim
    conductor = kind(store, "old", lambda: RELEASES)
    async for page in store.pages(prefix(keys.PREFIX)):
        for kv in page.kvs:
            conductor._apply(kv.key, kv)
    async with store.election(keys.LEADER).campaign(b"new", ttl=10):
        offer = Offer("os", "2.0", "x86_64", "a" * 64, 10, 1, "g")
        for change in (Grant(A, offer), Pause("g", "late"), Withdraw(A, "late")):
            await conductor._make(stale, change)
    assert (await store.get(keys.group("g")) != encode(Group("stable"))) is wrote
    assert await store.get(keys.offer(A)) is None


async def test_what_was_read_and_changed_since_is_not_written_over(store: Store) -> None:
    """An operator pauses while the conductor grants."""
    await store.put(keys.group("g"), encode(Group("stable")))
    await report(store, A)
    conductor = Conductor(store, "n1", lambda: RELEASES)
    async for page in store.pages(prefix(keys.PREFIX)):
        for kv in page.kvs:
            conductor._apply(kv.key, kv)
    await store.put(keys.group("g"), encode(Group("stable", paused=True)))
    async with store.election(keys.LEADER).campaign(b"n1", ttl=10) as lead:
        await conductor._make(lead.claim, Grant(A, Offer("os", "2.0", "x86_64", "a" * 64, 10, 1, "g")))
    assert await store.get(keys.offer(A)) is None
