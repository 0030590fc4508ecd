"""The conductor on a real store: it offers, takes back, and pauses."""

from collections.abc import AsyncIterator, Callable, Mapping

import msgspec
import pytest
import trio

from core.client import Claim, Compare, KeyValue, Put, Store, prefix
from core.client.inside import InsideStore
from core.node.local import LocalStore
from core.update import keys
from core.update import plan as planning
from core.update.conductor import Conductor
from core.update.plan import Change, Grant, Pause, Target, Withdraw
from core.update.records import Channel, Group, Offer, Policy, Report, decode, encode
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


async def test_a_thousand_hosts_hold_nobody_up(store: Store) -> None:
    """What one of them reports is looked at together with the others' news, and the plan is made in slices."""
    conductor = Conductor(store, "n1", lambda: RELEASES)
    hosts = [f"{number:032x}" for number in range(1000)]
    everyone = Policy(at_once=0, percent=100, first_alone=False)
    for start in range(0, 1000, 50):
        some = hosts[start : start + 50]
        reports = [Put(keys.report(host), encode(Report("g", "os", "x86_64", "1.0"))) for host in some]
        await store.txn([], [*reports, *(Put(keys.alive(host), b"") for host in some)])
    await store.put(keys.channel("stable"), encode(Channel("os", "2.0")))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(conductor.run)
        await store.put(keys.group("g"), encode(Group("stable", everyone)))
        await until(store, keys.offer(hosts[-1]), lambda found: found is not None)
        nursery.cancel_scope.cancel()
    found = await store.range(prefix(keys.OFFERS), keys_only=True)
    assert len(found.kvs) == 1000
    slices = list(planning.plan(conductor._mirror.world(RELEASES, lambda _: True)))
    assert max(map(len, slices)) <= planning.SLICE
    assert len(slices) > 1000 // planning.SLICE


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

    async def _make(self, claim: Claim, change: Change, seen: Mapping[bytes, KeyValue]) -> None:
        await super()._make(Always(*msgspec.structs.astuple(claim)), change, seen)


@pytest.mark.parametrize(("kind", "wrote"), [(Conductor, False), (Deaf, True)])
async def test_one_that_was_deposed_changes_nothing(store: Store, kind: type[Conductor], wrote: bool) -> None:
    """Between its plan and its write another one came; the broken one shows that this would be seen."""
    await store.put(keys.group("g"), encode(Group("stable")))
    await report(store, A)
    async with store.election(keys.LEADER).campaign(b"old", ttl=10) as lead:
        stale = lead.claim
    conductor, seen = kind(store, "old", lambda: RELEASES), await everything(store)
    async with store.election(keys.LEADER).campaign(b"new", ttl=10):
        offer = Offer("os", "2.0", "x86_64", "a" * 64, 10, 1, "g")
        for change in (Grant(A, offer), Pause("g", "late"), Withdraw(A, "late")):
            await conductor._make(stale, change, seen)
    assert (await store.get(keys.group("g")) != encode(Group("stable"))) is wrote
    assert (await store.get(keys.offer(A)) is not None) is wrote


async def everything(store: Store) -> dict[bytes, KeyValue]:
    return {kv.key: kv for kv in (await store.range(prefix(keys.PREFIX))).kvs}


@pytest.mark.parametrize("late", [False, True])
async def test_what_changed_since_the_plan_was_made_is_not_written_over(store: Store, late: bool) -> None:
    """An operator pauses while the conductor grants, and it has heard of that meanwhile."""
    await store.put(keys.group("g"), encode(Group("stable")))
    await report(store, A)
    conductor, seen = Conductor(store, "n1", lambda: RELEASES), await everything(store)
    if late:
        await store.put(keys.group("g"), encode(Group("stable", paused=True)))
        for key, kv in (await everything(store)).items():
            conductor._mirror.apply(key, kv)
    async with store.election(keys.LEADER).campaign(b"n1", ttl=10) as lead:
        await conductor._make(lead.claim, Grant(A, Offer("os", "2.0", "x86_64", "a" * 64, 10, 1, "g")), seen)
    assert (await store.get(keys.offer(A)) is None) is late
