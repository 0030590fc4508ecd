"""Connections to real servers that break at any byte."""

import random
from collections.abc import Callable
from contextlib import suppress

import pytest
import trio

from core.client import Batch, Compare, Put, connect, prefix, remote_watch
from core.client.errors import ClientError, ConnectionLostError, OutcomeUnknownError
from tests.client.proxies import proxy
from tests.whole.servers import HOST, Server, free_port


def never() -> None:
    """No connection is cut."""


def as_told(batch: Batch) -> list[tuple[int, bytes, bytes]]:
    return [(event.kv.mod_revision, event.kv.key, event.kv.value) for event in batch.events]


async def test_an_endpoint_that_is_dead_is_passed_over(server: Server, base: bytes) -> None:
    dead = f"http://{HOST}:{free_port()}"
    async with connect(f"{dead},{server.url}") as store:
        done = await store.put(base, b"1")
        assert await store.get(base) == b"1"
        async with store.watch(base, start=done.revision) as watch:
            assert (await anext(watch)).events[-1].kv.value == b"1"
        async with store.lock(base + b"lock") as claim:
            assert (await store.txn([claim.compare])).succeeded


async def test_an_endpoint_that_dies_is_left(server: Server, base: bytes) -> None:
    fate: list[int | None] = [None]
    async with (
        proxy(server.port, lambda: fate[0]) as first,
        connect(f"{first.url},{server.url}") as store,
        store.watch(base) as watch,
    ):
        await store.put(base, b"1")
        assert first.connections == 2
        fate[0] = 0
        seen = [event.kv.value for event in (await anext(watch)).events]
        for number in range(2, 6):
            while True:
                try:
                    await store.put(base, b"%d" % number)
                    break
                except OutcomeUnknownError:
                    assert await store.get(base) in (b"%d" % number, b"%d" % (number - 1))
        with trio.fail_after(10):
            while len(seen) < 5:
                seen += [event.kv.value for event in (await anext(watch)).events]
    assert seen == [b"1", b"2", b"3", b"4", b"5"]


@pytest.mark.parametrize("seed", range(3))
async def test_a_write_is_done_once_or_not_at_all(server: Server, base: bytes, seed: int) -> None:
    chance = random.Random(seed)
    unknown, done = set(), set()
    async with proxy(server.port, lambda: chance.randrange(900)) as cutting, connect(server.url) as direct:
        for number in range(40):
            key = base + b"%d" % number
            async with connect(cutting.url) as store:
                try:
                    await store.put(key, b"1")
                    done.add(key)
                except OutcomeUnknownError:
                    unknown.add(key)
        found = {kv.key: kv for kv in (await direct.range(prefix(base))).kvs}
    assert done <= set(found) <= done | unknown
    assert {kv.version for kv in found.values()} == {1}
    assert len(unknown) > 3
    assert len(done) > 3


async def test_reads_are_repeated_at_the_next(server: Server, base: bytes) -> None:
    chance = random.Random(1)
    fates: Callable[[], int | None] = lambda: chance.choice((chance.randrange(400), None))  # noqa: E731
    async with proxy(server.port, fates) as one, proxy(server.port, never) as other, connect(server.url) as direct:
        await direct.put(base, b"1")
        for _ in range(30):
            async with connect(f"{one.url},{other.url}") as store:
                assert await store.get(base) == b"1"
    assert one.cuts > 5


async def test_a_read_that_breaks_everywhere_says_so(server: Server, base: bytes) -> None:
    async with proxy(server.port, lambda: 50) as cutting, connect(cutting.url) as store:
        with pytest.raises(ConnectionLostError):
            await store.get(base)
        assert cutting.connections == 2


@pytest.mark.parametrize("seed", range(4))
async def test_a_watch_cut_anywhere_loses_and_repeats_nothing(
    server: Server, base: bytes, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_watch, "RECONNECT_SECONDS", (0.0, 0.001))
    chance = random.Random(seed)
    told: list[str] = []
    seen: list[tuple[int, bytes, bytes]] = []
    wanted: list[tuple[int, bytes, bytes]] = []
    async with (
        proxy(server.port, lambda: chance.randrange(200, 12000)) as cutting,
        connect(f"{cutting.url},{server.url}" if seed == 3 else cutting.url) as store,
        connect(server.url) as direct,
    ):
        start = (await direct.range(base)).revision + 1
        with trio.fail_after(30):
            async with store.watch(prefix(base), start=start, lost=told.append) as watch:
                for number in range(150):
                    keys = [base + b"%d" % key for key in chance.sample(range(9), chance.choice((1, 1, 1, 5)))]
                    value = b"%d" % number * chance.choice((1, 50))
                    done = await direct.txn([], [Put(key, value) for key in keys])
                    wanted.extend((done.revision, key, value) for key in keys)
                    while chance.random() < 0.5 and watch.revision < done.revision:
                        batch = await anext(watch)
                        seen += as_told(batch)
                        assert watch.revision == batch.revision == seen[-1][0]
                while watch.revision < done.revision:
                    seen += as_told(await anext(watch))
    assert sorted(seen) == sorted(wanted)
    assert [revision for revision, _, _ in seen] == sorted(revision for revision, _, _ in seen)
    assert seed == 3 or (cutting.cuts > 5 and len(told) >= cutting.cuts)


async def test_locks_hold_though_connections_break(
    server: Server, base: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_watch, "RECONNECT_SECONDS", (0.0, 0.01))
    chance = random.Random(7)
    inside = 0
    rounds = 0

    async def contend(url: str) -> None:
        nonlocal inside, rounds
        async with connect(url) as store:
            for _ in range(4):
                try:
                    async with store.lock(base + b"lock", ttl=5) as claim:
                        inside += 1
                        try:
                            assert inside == 1
                            rounds += 1
                            with trio.move_on_after(0.02):
                                await store.txn([claim.compare], [Put(base + b"x", b"%d" % rounds)])
                        finally:
                            inside -= 1  # before the lock is let go, whatever went wrong
                except ClientError:
                    continue

    async with proxy(server.port, lambda: chance.choice((None, chance.randrange(3000)))) as cutting:
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(contend, cutting.url)
    assert rounds > 3


async def test_a_compare_makes_a_write_repeatable(server: Server, base: bytes) -> None:
    """The way to repeat what decision 14 leaves to the caller."""
    chance = random.Random(3)
    cutting = proxy(server.port, lambda: chance.choice((chance.randrange(600), None)))
    async with cutting as way, connect(way.url) as store:
        for number in range(20):
            while (seen := await _version(way.url, base)) <= number:
                with suppress(OutcomeUnknownError):
                    await store.txn([Compare(base, "version", "=", seen)], [Put(base, b"x")])
    async with connect(server.url) as store:
        found = (await store.range(base)).first
        assert found is not None
        assert found.version == 20


async def _version(url: str, key: bytes) -> int:
    while True:
        async with connect(url) as store:
            try:
                found = (await store.range(key)).first
            except ConnectionLostError:
                continue
            return found.version if found else 0
