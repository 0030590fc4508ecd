"""The reboot lock: locksmith's words and JSON, and what it lacked."""

import json
from collections.abc import AsyncIterator

import pytest
import trio

from core.client import Compare, Store, prefix
from core.client.errors import OutcomeUnknownError
from core.client.inside import InsideStore
from core.client.values import Operation, Result, Txn
from core.node.local import LocalStore
from core.update.reboot_lock import RebootLock, RebootLockError
from core.update.semaphore import Semaphore, SemaphoreError
from tests.client.conftest import member

__all__ = ["member"]
KEY = b"/coreos.com/updateengine/rebootlock/semaphore"


@pytest.fixture
async def store(member: LocalStore) -> AsyncIterator[Store]:
    async with InsideStore(member) as store:
        yield store


async def stored(store: Store, key: bytes = KEY) -> object:
    value = await store.get(key)
    return None if value is None else json.loads(value)


async def test_the_life_of_a_semaphore(store: Store) -> None:
    lock = RebootLock(store)
    assert (await lock.status()).available == 1
    await lock.acquire("a")
    assert await stored(store) == {"semaphore": 0, "max": 1, "holders": ["a"]}
    with pytest.raises(SemaphoreError, match="semaphore is at 0"):
        await lock.acquire("b")
    assert await lock.set_max(2) == 1
    assert await stored(store) == {"semaphore": 1, "max": 2, "holders": ["a"]}
    await lock.acquire("b")
    assert await lock.set_max(1) == 2
    assert await stored(store) == {"semaphore": -1, "max": 1, "holders": ["a", "b"]}
    await lock.release("a")
    assert await stored(store) == {"semaphore": 0, "max": 1, "holders": ["b"]}
    with pytest.raises(SemaphoreError, match="holder does not exist"):
        await lock.release("a")
    await lock.release("b")
    assert await stored(store) == {"semaphore": 1, "max": 1, "holders": None}


async def test_taking_again_what_one_holds_succeeds(store: Store) -> None:
    """locksmith looks at the places first, so that a holder that asked again was refused."""
    lock = RebootLock(store, clock=lambda: 1000.0)
    await lock.acquire("a")
    later = RebootLock(store, clock=lambda: 2000.0)
    await later.acquire("a")
    (holder,) = (await later.status()).holders
    assert (holder.id, holder.since, holder.state) == ("a", 1000, "")


async def test_groups_are_apart(store: Store) -> None:
    await RebootLock(store, "a b/ü").acquire("a")
    await RebootLock(store).acquire("a")
    key = b"/coreos.com/updateengine/rebootlock/groups/a+b%2F%C3%BC/semaphore"
    assert await stored(store, key) == {"semaphore": 0, "max": 1, "holders": ["a"]}


async def test_a_holder_of_another_program_is_shown_and_never_expires(store: Store) -> None:
    await store.put(KEY, b'{"semaphore":0,"max":1,"holders":["old"],"more":1}')
    lock = RebootLock(store)
    await lock.set_expiry(2)
    await trio.sleep(2.5)
    (holder,) = (await lock.status()).holders
    assert (holder.id, holder.since, holder.state) == ("old", 0, "")
    with pytest.raises(SemaphoreError):
        await lock.acquire("b")
    await lock.release("old")
    await lock.acquire("b")


async def test_a_holder_that_died_expires(store: Store) -> None:
    lock = RebootLock(store)
    await lock.set_expiry(2)
    await lock.acquire("a")
    assert [each.state for each in (await lock.status()).holders] == ["alive"]
    with pytest.raises(SemaphoreError):
        await lock.acquire("b")
    async with store.watch(prefix(b"/coreos.com/updateengine/rebootlock/alive/"), puts=False) as gone:
        if (await lock.status()).holders[0].state != "expired":
            with trio.fail_after(20):
                await anext(gone)
    assert [each.state for each in (await lock.status()).holders] == ["expired"]
    assert await lock.acquire("b") == ("a",)
    assert [each.id for each in (await lock.status()).holders] == ["b"]


async def test_a_holder_that_shows_itself_does_not_expire(store: Store) -> None:
    lock = RebootLock(store)
    await lock.set_expiry(2)
    await lock.acquire("a")
    for _ in range(8):
        await trio.sleep(0.5)
        await lock.acquire("a")
        assert [each.state for each in (await lock.status()).holders] == ["alive"]
    assert len(await store.leases()) == 1


async def test_an_expiry_that_is_taken_back_binds_nobody_who_comes_again(store: Store) -> None:
    lock = RebootLock(store)
    await lock.set_expiry(2)
    await lock.acquire("a")
    await lock.set_expiry(0)
    await lock.acquire("a")
    assert [each.state for each in (await lock.status()).holders] == [""]


async def test_a_condition_beside_the_lock(store: Store) -> None:
    lock = RebootLock(store)
    with pytest.raises(RebootLockError, match="beside the lock"):
        await lock.acquire("a", [Compare.present(b"/quorum")])
    assert (await lock.status()).holders == ()
    await store.put(b"/quorum")
    await lock.acquire("a", [Compare.present(b"/quorum")])


async def test_only_as_many_as_allowed_get_it(store: Store) -> None:
    lock = RebootLock(store)
    await lock.set_max(3)
    got, refused = [], []

    async def contend(name: str) -> None:
        try:
            await lock.acquire(name)
            got.append(name)
        except SemaphoreError:
            refused.append(name)

    async with trio.open_nursery() as nursery:
        for number in range(9):
            nursery.start_soon(contend, f"host{number}")
    assert (len(got), len(refused)) == (3, 6)
    assert sorted(got) == [each.id for each in (await lock.status()).holders]


class Forgetful(InsideStore):
    """Carries out transactions that change something, and every second time does not say so."""

    def __init__(self, node: LocalStore) -> None:
        super().__init__(node)
        self.writes = 0

    async def execute(self, operation: Operation, *, local: bool = False) -> Result:
        result = await super().execute(operation, local=local)
        if isinstance(operation, Txn) and operation.compare:
            self.writes += 1
            if self.writes % 2:
                raise OutcomeUnknownError("lost")
        return result


async def test_an_unknown_outcome_is_looked_at(member: LocalStore) -> None:
    lock = RebootLock(Forgetful(member))
    await lock.acquire("a")
    await lock.acquire("a")
    assert [each.id for each in (await lock.status()).holders] == ["a"]
    await lock.release("a")
    assert (await lock.status()).available == 1


@pytest.mark.parametrize("value", [b"", b"[]", b"null", b'{"semaphore":"x"}', b"\xff", b'{"semaphore":1}'])
async def test_garbage_is_named(store: Store, value: bytes) -> None:
    await store.put(KEY, value)
    with pytest.raises(RebootLockError, match="cannot be read"):
        await RebootLock(store).status()
    assert await store.get(KEY) == value


async def test_names_are_bounded(store: Store) -> None:
    for name in ("", "x" * 257):
        with pytest.raises(RebootLockError):
            await RebootLock(store).acquire(name)
    with pytest.raises(RebootLockError):
        RebootLock(store, "x" * 257)
    with pytest.raises(RebootLockError):
        await RebootLock(store).set_max(-1)


def test_the_json_is_locksmiths() -> None:
    assert Semaphore().encode() == b'{"semaphore":1,"max":1,"holders":null}'
    assert Semaphore.decode(b'{"holders":["b","a"],"max":2,"semaphore":0}').holders == ("b", "a")
