"""Leases, the same on every way to a store."""

import pytest
import trio

from core.client import Lease, Store, prefix
from core.client.errors import LeaseExistsError, LeaseLostError, LeaseNotFoundError, RefusedError


async def test_grant_ask_and_revoke(store: Store, base: bytes) -> None:
    granted = await store.grant(60)
    assert (granted.ttl, granted.id > 0) == (60, True)
    await store.put(base + b"b", lease=granted.id)
    await store.put(base + b"a", lease=granted.id)
    assert granted.id in await store.leases()
    told = await store.time_to_live(granted.id, keys=True)
    assert (told.granted, told.keys, 55 <= told.ttl <= 60) == (60, (base + b"a", base + b"b"), True)
    assert (await store.time_to_live(granted.id)).keys == ()
    assert await store.keep_alive(granted.id) == 60
    await store.revoke(granted.id)
    assert (await store.range(prefix(base))).count == 0
    assert granted.id not in await store.leases()


async def test_an_id_of_ones_own(store: Store, base: bytes) -> None:
    wanted = (1 << 62) + 12345
    assert (await store.grant(60, wanted)).id == wanted
    with pytest.raises(LeaseExistsError):
        await store.grant(60, wanted)
    await store.revoke(wanted)


async def test_what_is_no_lease(store: Store) -> None:
    for call in (store.keep_alive, store.revoke, store.time_to_live):
        with pytest.raises(LeaseNotFoundError):
            await call(987654321)
    with pytest.raises(RefusedError, match="TTL"):
        await store.grant(1 << 40)


async def test_a_lease_ends_with_its_keys(store: Store, base: bytes) -> None:
    granted = await store.grant(1)
    assert 1 <= granted.ttl <= 2
    await store.put(base, lease=granted.id)
    with trio.fail_after(10):
        async with store.watch(base) as watch:
            assert [event.kind for event in (await anext(watch)).events] == ["delete"]
    with pytest.raises(LeaseNotFoundError):
        await store.keep_alive(granted.id)


async def test_it_is_held_while_the_block_runs(store: Store, base: bytes) -> None:
    async with store.lease(2) as lease:
        await store.put(base, lease=lease.id)
        await trio.sleep(lease.ttl * 1.3)
        assert await store.get(base) == b""
    assert await store.get(base) is None
    with pytest.raises(LeaseNotFoundError):
        await store.time_to_live(lease.id)


async def test_a_block_whose_lease_is_revoked_is_cancelled(store: Store) -> None:
    held: list[Lease] = []

    async def hold() -> None:
        async with store.lease(2) as lease:
            held.append(lease)
            await store.revoke(lease.id)
            await trio.sleep_forever()

    with trio.fail_after(10), pytest.raises(LeaseLostError, match="the server knows it no more"):
        await hold()
    assert held[0].lost.is_set()


async def test_what_the_block_raises_comes_out_as_it_is(store: Store) -> None:
    with pytest.raises(KeyError, match="mine"):
        async with store.lease(10) as lease:
            raise KeyError("mine")
    assert lease.id not in await store.leases()


async def test_a_cancelled_block_gives_its_lease_back(store: Store) -> None:
    leases: list[Lease] = []

    async def hold(*, task_status: trio.TaskStatus[None]) -> None:
        async with store.lease(60) as lease:
            leases.append(lease)
            task_status.started()
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        await nursery.start(hold)
        nursery.cancel_scope.cancel()
    assert leases[0].id not in await store.leases()
