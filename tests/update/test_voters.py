"""A voter takes two locks at once, and only while the others can decide without it."""

from collections.abc import AsyncIterator, Sequence

import pytest

from core.client import Store
from core.client.inside import InsideStore
from core.node.local import LocalStore
from core.sched import keys
from core.sched.records import Machine, encode
from core.update.reboot_lock import RebootLock, RebootLockError
from core.update.semaphore import SemaphoreError
from core.update.voters import VOTERS, Turns, Voter, quorum_without_us
from tests.client.conftest import member

__all__ = ["member"]


@pytest.fixture
async def store(member: LocalStore) -> AsyncIterator[Store]:
    async with InsideStore(member) as store:
        yield store


async def present(store: Store, *names: str) -> None:
    for name in names:
        await store.put(keys.machine(f"id-{name}"), encode(Machine(f"id-{name}", name=name)))


def voters(*names: str, away: Sequence[str] = ()) -> list[Voter]:
    return [Voter(name, name not in away) for name in names]


async def test_voters_of_different_groups_go_one_at_a_time(store: Store) -> None:
    first, second = (RebootLock(store, group, beside=(VOTERS,)) for group in ("red", "blue"))
    await first.acquire("a")
    with pytest.raises(SemaphoreError, match="semaphore is at 0 in the group voters"):
        await second.acquire("b")
    assert (await second.status()).available == 1, "neither lock, or both"
    await RebootLock(store, "blue").acquire("worker")
    await RebootLock(store, "blue").release("worker")
    await first.release("a")
    await second.acquire("b")
    assert [(await RebootLock(store, group).status()).available for group in ("red", "blue", VOTERS)] == [1, 0, 0]


async def test_a_holder_of_one_lock_comes_to_hold_both(store: Store) -> None:
    await RebootLock(store).acquire("a")
    both = RebootLock(store, beside=(VOTERS,))
    await both.acquire("a")
    await both.acquire("a")
    assert [holder.id for holder in (await RebootLock(store, VOTERS).status()).holders] == ["a"]
    await both.release("a")
    with pytest.raises(SemaphoreError, match="holder does not exist"):
        await both.release("a")


def hosts(*names: str) -> dict[str, str]:
    return {f"id-{name}": name for name in names}


async def test_the_others_must_be_able_to_decide(store: Store) -> None:
    await present(store, "b", "c")
    lock = RebootLock(store, beside=(VOTERS,))
    also = quorum_without_us(hosts("b", "c"), voters("b", "c"))
    assert len(also) == 2
    await lock.acquire("a", also)
    await lock.release("a")
    await store.delete(keys.machine("id-c"))
    with pytest.raises(RebootLockError, match="beside the lock is not so"):
        await lock.acquire("a", also)
    assert (await lock.status()).available == 1


def test_who_is_away_is_named() -> None:
    with pytest.raises(
        RebootLockError, match=r"without this host 1 of 3 voting members are left, and 2 are needed.*: c"
    ):
        quorum_without_us(hosts("b", "c"), voters("b", "c", away=["c"]))
    with pytest.raises(RebootLockError, match="there: c"):
        quorum_without_us(hosts("b"), voters("b", "c"))


def test_of_five_one_may_be_away_already() -> None:
    assert len(quorum_without_us(hosts("b", "c", "d"), voters("b", "c", "d", "e"))) == 3


def test_a_cluster_of_one_asks_nobody_and_of_two_neither_is_spared() -> None:
    assert quorum_without_us({}, []) == ()
    with pytest.raises(RebootLockError, match="add a third"):
        quorum_without_us(hosts("b"), voters("b"))


async def test_a_voter_is_known_by_its_machine_and_a_worker_takes_one_lock(store: Store) -> None:
    await present(store, "a", "b", "c", "worker")
    turns = Turns(store, "red", lambda: voters("a", "b", "c"))
    await turns.acquire("id-a")
    assert [holder.id for holder in (await RebootLock(store, VOTERS).status()).holders] == ["id-a"]
    with pytest.raises(SemaphoreError, match="in the group voters"):
        await Turns(store, "blue", lambda: voters("a", "b", "c")).acquire("id-b")
    await RebootLock(store, "red").set_max(2)
    await turns.acquire("id-worker")
    await turns.release("id-worker")
    await turns.release("id-a")
    for group in ("red", VOTERS):
        assert (await RebootLock(store, group).status()).holders == ()
    with pytest.raises(SemaphoreError, match=r"^holder does not exist$"):
        await turns.release("id-a")


async def test_who_holds_it_may_show_itself_whoever_is_away_and_gets_nothing_new(store: Store) -> None:
    await present(store, "b", "c")
    seen = voters("a", "b", "c")
    turns = Turns(store, "", lambda: seen)
    await turns.acquire("a", "a")
    seen = voters("a", "b", "c", away=["c"])
    assert await turns.acquire("a", "a") == ()
    await RebootLock(store, VOTERS).release("a")
    with pytest.raises(RebootLockError, match=r"beside the lock|away"):
        await turns.acquire("a", "a")


async def test_a_cluster_of_one_takes_its_turn(store: Store) -> None:
    turns = Turns(store, "", lambda: voters("a"))
    await turns.acquire("a", "a")
    await turns.release("a")
