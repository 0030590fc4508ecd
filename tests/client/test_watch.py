"""Watches, the same on every way to a store."""

import itertools

import pytest
import trio

from core.client import Batch, Delete, Event, Put, Store, Watch, prefix
from core.client.errors import CompactedError


async def gather(watch: Watch, count: int) -> list[Event]:
    """The next events, at least so many."""
    events: list[Event] = []
    with trio.fail_after(10):
        while len(events) < count:
            events += (await anext(watch)).events
    return events


def told(events: list[Event]) -> list[tuple[str, bytes, bytes]]:
    return [(event.kind, event.kv.key, event.kv.value) for event in events]


async def test_what_happens_after_it_is_open_is_told(store: Store, base: bytes) -> None:
    a, b = base + b"a", base + b"b"
    await store.put(a, b"before")
    async with store.watch(prefix(base)) as watch:
        first = await store.put(a, b"1")
        await store.put(b, b"2")
        await store.put(b"other" + base, b"not for us")
        gone = await store.delete(a)
        events = await gather(watch, 3)
        assert told(events) == [("put", a, b"1"), ("put", b, b"2"), ("delete", a, b"")]
        assert events[0].kv.mod_revision == first.revision
        assert (events[0].kv.version, events[0].previous) == (2, None)
        assert (events[2].kv.mod_revision, events[2].kv.create_revision, events[2].kv.version) == (gone.revision, 0, 0)
        assert watch.revision == gone.revision


async def test_one_key_alone(store: Store, base: bytes) -> None:
    async with store.watch(base) as watch:
        await store.put(base + b"longer")
        await store.put(base, b"1")
        assert told(await gather(watch, 1)) == [("put", base, b"1")]


async def test_from_the_past_on_without_a_gap(store: Store, base: bytes) -> None:
    start = (await store.put(base + b"0", b"0")).revision
    for number in range(1, 300):
        await store.put(base + b"%d" % number, b"%d" % number)
    async with store.watch(prefix(base), start=start) as watch:
        await store.put(base + b"300", b"300")
        events = await gather(watch, 301)
    assert [int(event.kv.value) for event in events] == list(range(301))


async def test_a_range_and_a_watch_from_it_on(store: Store, base: bytes) -> None:
    await store.put(base + b"a", b"1")
    known = await store.range(prefix(base))
    await store.put(base + b"a", b"2")
    async with store.watch(prefix(base), start=known.revision + 1) as watch:
        assert watch.revision == known.revision
        assert told(await gather(watch, 1)) == [("put", base + b"a", b"2")]


async def test_from_the_future_on(store: Store, base: bytes) -> None:
    now = (await store.put(base)).revision
    async with store.watch(base, start=now + 3) as watch:
        for number in range(1, 5):
            await store.put(base, b"%d" % number)
        assert told(await gather(watch, 2)) == [("put", base, b"3"), ("put", base, b"4")]


async def test_what_was_replaced(store: Store, base: bytes) -> None:
    await store.put(base, b"1")
    async with store.watch(base, previous=True) as watch:
        await store.put(base, b"2")
        await store.delete(base)
        await store.put(base, b"3")
        events = await gather(watch, 3)
    assert [event.previous.value if event.previous else None for event in events] == [b"1", b"2", None]
    async with store.watch(base, start=events[0].kv.mod_revision, previous=True) as watch:
        again = await gather(watch, 3)
    assert again == events


@pytest.mark.parametrize(("puts", "deletes", "wanted"), [(True, False, ["put", "put"]), (False, True, ["delete"])])
async def test_puts_or_deletes_alone(store: Store, base: bytes, puts: bool, deletes: bool, wanted: list[str]) -> None:
    async with store.watch(prefix(base), puts=puts, deletes=deletes) as watch:
        await store.put(base)
        await store.delete(base)
        await store.put(base)
        assert [event.kind for event in await gather(watch, len(wanted))] == wanted


async def test_the_changes_of_one_revision_come_together(store: Store, base: bytes) -> None:
    keys = [base + b"%03d" % number for number in range(128)]
    async with store.watch(prefix(base)) as watch:
        done = await store.txn([], [Put(key, b"x" * 2000) for key in keys])
        await store.txn([], [Delete(prefix(base))])
        batches: list[Batch] = []
        with trio.fail_after(10):
            while sum(len(batch.events) for batch in batches) < 256:
                batches.append(await anext(watch))
    events = [event for batch in batches for event in batch.events]
    assert [event.kv.key for event in events[:128]] == keys
    assert {event.kv.mod_revision for event in events[:128]} == {done.revision}
    revisions = [{event.kv.mod_revision for event in batch.events} for batch in batches]
    assert all(not one & other for one, other in itertools.pairwise(revisions))
    assert [batch.revision for batch in batches] == [max(each) for each in revisions]


async def test_a_wait_that_was_cancelled_loses_nothing(store: Store, base: bytes) -> None:
    seen: list[bytes] = []
    async with store.watch(base) as watch, trio.open_nursery() as nursery:

        async def write() -> None:
            for number in range(100):
                await store.put(base, b"%d" % number)

        nursery.start_soon(write)
        with trio.fail_after(30):
            while len(seen) < 100:
                with trio.move_on_after(0.003):
                    seen += [event.kv.value for event in (await anext(watch)).events]
    assert seen == [b"%d" % number for number in range(100)]


async def test_changes_that_are_forgotten(store: Store, base: bytes) -> None:
    first = await store.put(base, b"1")
    last = await store.put(base, b"2")
    await store.put(base, b"3")
    await store.compact(last.revision)
    with pytest.raises(CompactedError) as caught:
        async with store.watch(base, start=first.revision) as watch:
            await anext(watch)
    assert caught.value.revision == last.revision
    async with store.watch(base, start=last.revision) as watch:
        assert [event.kv.value for event in await gather(watch, 2)] == [b"2", b"3"]


async def test_many_watches_at_once(store: Store, base: bytes) -> None:
    seen: list[bytes] = []

    async def follow(key: bytes, *, task_status: trio.TaskStatus[None]) -> None:
        async with store.watch(key) as watch:
            task_status.started()
            await gather(watch, 1)
            seen.append(key)

    keys = [base + b"%d" % number for number in range(40)]
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for key in keys:
                await nursery.start(follow, key)
            for key in keys:
                await store.put(key)
    assert sorted(seen) == sorted(keys)


async def test_whoever_does_not_read_holds_nobody_up(store: Store, base: bytes) -> None:
    value = b"v" * 100_000
    async with store.watch(base) as slow, store.watch(base) as quick:
        await gather_after(store, base, quick, value)
        events = await gather(slow, 60)
    assert [event.kv.value[:2] for event in events] == [b"%02d" % number for number in range(60)]


async def gather_after(store: Store, key: bytes, watch: Watch, value: bytes) -> None:
    for number in range(60):
        await store.put(key, b"%02d" % number + value)
        assert (await gather(watch, 1))[-1].kv.value[:2] == b"%02d" % number


async def test_a_start_that_never_was(store: Store, base: bytes) -> None:
    with pytest.raises(ValueError, match="no watch can start at revision -1"):
        async with store.watch(base, start=-1):
            pass
