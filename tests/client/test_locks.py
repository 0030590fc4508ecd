"""Locks and elections, the same on every way to a store."""

from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio

from core.client import Claim, Compare, KeyValue, Leadership, Put, Store, prefix
from core.client.errors import BusyError, LeaseLostError, NotLeadingError


async def queue_up(nursery: trio.Nursery, store: Store, name: bytes, contend: Callable[[], Awaitable[None]]) -> bytes:
    """Start a contender and wait until it stands; its key."""
    async with store.watch(prefix(name + b"/"), deletes=False) as watch:
        nursery.start_soon(contend)
        with trio.fail_after(10):
            return (await anext(watch)).events[0].kv.key


async def test_a_lock_is_a_key_below_its_name(store: Store, base: bytes) -> None:
    name = base + b"lock"
    async with store.lease(10) as lease, store.lock(name, lease=lease) as claim:
        found = (await store.range(prefix(name + b"/"))).first
        assert found is not None
        assert found.key == claim.key == b"%s/%x" % (name, lease.id)
        assert (found.create_revision, found.lease, found.value) == (claim.revision, lease.id, b"")
    assert await store.get(claim.key) is None


async def test_one_at_a_time_in_the_order_of_asking(store: Store, base: bytes) -> None:
    name = base + b"lock"
    order: list[int] = []
    revisions: list[int] = []
    inside = 0

    async def use(number: int) -> None:
        nonlocal inside
        async with store.lock(name) as claim:
            inside += 1
            assert inside == 1
            order.append(number)
            revisions.append(claim.revision)
            await trio.sleep(0.01)
            inside -= 1

    async with trio.open_nursery() as nursery, store.lock(name):
        for number in range(6):
            await queue_up(nursery, store, name, partial(use, number))
    assert order == list(range(6))
    assert revisions == sorted(revisions)


async def test_who_will_not_wait(store: Store, base: bytes) -> None:
    name = base + b"lock"
    async with store.lock(name, patience=0) as claim:
        for patience in (0, 0.1):
            with pytest.raises(BusyError) as caught:
                async with store.lock(name, patience=patience):
                    pass
            assert caught.value.holder == claim.key
        assert [kv.key for kv in (await store.range(prefix(name + b"/"))).kvs] == [claim.key]
    async with store.lock(name, patience=0):
        pass


async def test_who_waited_and_was_cancelled_is_in_nobodys_way(store: Store, base: bytes) -> None:
    name = base + b"lock"
    async with store.lease(10) as lease:
        async with store.lock(name, lease=lease):
            with trio.move_on_after(0.1):
                async with store.lock(name):
                    pytest.fail("two hold it")
        async with store.lock(name, patience=0):
            pass


async def test_a_holder_that_was_deposed_cannot_write(store: Store, base: bytes) -> None:
    name = base + b"lock"

    async def hold() -> None:
        async with store.lock(name, ttl=2) as claim:
            assert (await store.txn([claim.compare], [Put(base + b"x", b"mine")])).succeeded
            await store.revoke(claim.lease)
            async with store.lock(name, patience=0) as other:
                assert other.revision > claim.revision
                assert not (await store.txn([claim.compare], [Put(base + b"x", b"late")])).succeeded
                await trio.sleep_forever()

    with pytest.raises(LeaseLostError):
        await hold()
    assert await store.get(base + b"x") == b"mine"


async def test_a_place_in_the_queue_that_is_taken_away(store: Store, base: bytes) -> None:
    name = base + b"lock"
    refusals: list[NotLeadingError] = []

    async def wait() -> None:
        with pytest.raises(NotLeadingError) as caught:
            async with store.lock(name):
                pytest.fail("it was not our turn")
        refusals.append(caught.value)

    async with trio.open_nursery() as nursery, store.lock(name):
        await store.delete(await queue_up(nursery, store, name, wait))
    assert refusals


async def test_foreign_contenders_are_waited_for(store: Store, base: bytes) -> None:
    """Keys as etcd's own clients make them."""
    name = base + b"lock"
    foreign = await store.grant(60)
    await store.put(b"%s/%x" % (name, foreign.id), lease=foreign.id)
    held: list[Claim] = []

    async def use() -> None:
        async with store.lock(name) as claim:
            held.append(claim)

    async with trio.open_nursery() as nursery:
        await queue_up(nursery, store, name, use)
        with pytest.raises(BusyError):
            async with store.lock(name, patience=0.05):
                pass
        assert not held
        await store.revoke(foreign.id)
    assert held


async def test_an_election(store: Store, base: bytes) -> None:
    election = store.election(base + b"boss")
    assert await election.leader() is None
    led: list[bytes] = []
    resign = trio.Event()

    async def lead(value: bytes, *, task_status: trio.TaskStatus[Leadership]) -> None:
        async with election.campaign(value) as leadership:
            led.append(value)
            task_status.started(leadership)
            await resign.wait()

    async with trio.open_nursery() as nursery:
        leadership = await nursery.start(lead, b"one")
        leader = await election.leader()
        assert leader is not None
        assert (leader.value, leader.key) == (b"one", leadership.claim.key)
        nursery.start_soon(nursery.start, lead, b"two")
        await leadership.proclaim(b"one, still")
        leader = await election.leader()
        assert leader is not None
        assert leader.value == b"one, still"
        with pytest.raises(BusyError):
            async with election.campaign(b"three", patience=0.05):
                pass
        resign.set()
    assert led == [b"one", b"two"]
    assert await election.leader() is None
    with pytest.raises(NotLeadingError):
        await leadership.proclaim(b"from the grave")


async def test_everybody_can_watch_who_leads(store: Store, base: bytes) -> None:
    election = store.election(base + b"boss")
    seen: list[bytes] = []
    news = trio.Event()

    async def observe() -> None:
        nonlocal news
        async with election.observe() as leaders:
            async for leader in leaders:
                seen.append(leader.value)
                news.set()
                news = trio.Event()

    async def until(value: bytes) -> None:
        with trio.fail_after(10):
            while not seen or seen[-1] != value:
                await news.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(observe)
        async with election.campaign(b"a") as leadership:
            await until(b"a")
            await leadership.proclaim(b"b")
            await until(b"b")
            async with trio.open_nursery() as second:

                async def succeed() -> None:
                    async with election.campaign(b"c"):
                        await until(b"c")

                await queue_up(second, store, election.name, succeed)
                await leadership.proclaim(b"d")
                await until(b"d")
                await store.delete(leadership.claim.key)
                await until(b"c")
        nursery.cancel_scope.cancel()
    assert seen == [b"a", b"b", b"d", b"c"]


async def test_an_observer_that_was_cancelled_goes_on(store: Store, base: bytes) -> None:
    election = store.election(base + b"boss")
    seen: list[KeyValue] = []
    async with election.observe() as leaders, election.campaign(b"0") as leadership, trio.open_nursery() as nursery:

        async def speak() -> None:
            for number in range(1, 30):
                await leadership.proclaim(b"%d" % number)

        nursery.start_soon(speak)
        with trio.fail_after(20):
            while not seen or seen[-1].value != b"29":
                with trio.move_on_after(0.004):
                    seen.append(await anext(leaders))
    values = [int(leader.value) for leader in seen]
    assert values == sorted(set(values))


async def test_campaigning_twice_under_one_lease(store: Store, base: bytes) -> None:
    election = store.election(base + b"boss")
    async with store.lease(10) as lease:
        key = b"%s/%x" % (election.name, lease.id)
        await store.txn([Compare.absent(key)], [Put(key, b"before", lease.id)])
        async with election.campaign(b"after", lease=lease) as leadership:
            assert leadership.claim.key == key
            assert await store.get(key) == b"after"


async def test_cancelled_at_any_moment_nothing_stays(store: Store, base: bytes) -> None:
    name = base + b"lock"
    had = 0
    moment = 0.0
    while had < 3:
        moment = moment * 1.02 + 0.0004
        with trio.move_on_after(moment):
            async with store.lock(name):
                had += 1
                await trio.sleep_forever()
    async with store.lock(name, patience=0) as claim:
        assert [kv.key for kv in (await store.range(prefix(name + b"/"))).kvs] == [claim.key]
