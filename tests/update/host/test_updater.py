"""The updater in a simulated world: ended at each of its points, in every way, it goes on; no host is ever lost."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from core.update.host.updater import Policy
from core.update.windows import Window
from tests.update.host.world import CrashError, PowerCutError, SimHost, World, image

POLICY = Policy(healthy=30, deadline=120, drain=60)


def simulated(seed: int, story: Callable[[World], object], policy: Policy = POLICY) -> None:
    """Run a story in its own time."""
    clock = trio.testing.MockClock(autojump_threshold=0)

    async def main() -> None:
        await story(World(seed, policy))  # type: ignore[misc]

    trio.run(main, clock=clock)


@asynccontextmanager
async def living(*hosts: SimHost) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        for host in hosts:
            nursery.start_soon(host.life)
        yield
        nursery.cancel_scope.cancel()


async def until(holds: Callable[[], bool], what: str, seconds: int = 4000) -> None:
    for _ in range(seconds):
        if holds():
            return
        await trio.sleep(1)
    raise AssertionError(what)


def nothing_falls(_host: str, _point: str) -> None:
    """From now on."""


def rests(host: SimHost) -> bool:
    return host.journal.step == "idle" and host.name not in host.world.lock.holders


def runs(host: SimHost, version: str) -> bool:
    return rests(host) and host.version == version and host.slots[host.used].good


def test_an_image_is_installed_started_and_marked_good() -> None:
    async def story(world: World) -> None:
        host = SimHost("a", world)
        async with living(host):
            host.want("2")
            await until(lambda: runs(host, "2"), "it runs version 2")
            assert host.boots == 2
            assert host.journal.slots == {"B": image("2")}
            assert host.slots["A"].holds == "1", "the way back is still there"
            await trio.sleep(1000)
            assert host.boots == 2
            host.want("3")
            await until(lambda: runs(host, "3"), "it runs version 3")
            assert host.used == "A"

    simulated(1, story)


def points() -> list[str]:
    """Every point of a good update and of a way back, in order, each with how often it was passed before."""
    found: list[str] = []

    async def story(world: World) -> None:
        host = SimHost("a", world)
        world.sick.add("3")
        async with living(host):
            for version in ("2", "3"):
                host.want(version)
                await until(lambda: host.journal.step != "idle", "it begins")
                await until(lambda: rests(host), "it ends")
        found.extend(host.points)

    simulated(1, story, Policy(healthy=3, deadline=5, drain=60))
    return [f"{point} {found[:at].count(point)}" for at, point in enumerate(found)]


def test_it_goes_on_after_an_end_at_each_point() -> None:
    """The process is killed there, or the power is cut there; the outcome is the same."""
    everything = points()
    assert len(everything) > 60
    for end in (CrashError, PowerCutError):
        for chosen in everything:

            async def story(world: World, end: type[BaseException] = end, chosen: str = chosen) -> None:
                host = SimHost("a", world)
                world.sick.add("3")
                seen: dict[str, int] = {}

                def fall(_: str, point: str) -> type[BaseException] | None:
                    count = seen.get(point, 0)
                    seen[point] = count + 1
                    return end if f"{point} {count}" == chosen else None

                world.fall = fall
                async with living(host):
                    host.want("2")
                    await until(lambda: runs(host, "2"), f"{chosen}, {end.__name__}: version 2 runs")
                    host.want("3")
                    await until(
                        lambda: runs(host, "2") and host.journal.failed[0] == image("3").sha256,
                        f"{chosen}, {end.__name__}: it is back at version 2",
                    )
                assert not world.lock.holders

            simulated(1, story, Policy(healthy=3, deadline=5, drain=60))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_hosts_survive_whatever_happens(seed: int) -> None:
    """Three hosts, images that are good, sick, dead or refused, and any number of crashes and power cuts."""

    async def story(world: World) -> None:
        hosts = [SimHost(name, world) for name in "abc"]
        chance = world.chance
        danger = chance.choice([0.0, 0.01, 0.05, 0.1])
        world.sick, world.dead, world.unfit = {"3"}, {"4"}, {"5"}

        def fall(_: str, __: str) -> type[BaseException] | None:
            if chance.random() < danger:
                return chance.choice([CrashError, PowerCutError])
            return None

        world.fall = fall
        async with living(*hosts):
            for attempt in range(3):
                for host in hosts:
                    host.want(chance.choice([None, "2", "3", "4", "5", "6"]), attempt)
                await trio.sleep(chance.choice([1, 30, 300, 2000]))
            world.fall, world.flaky = nothing_falls, 0.0
            for host in hosts:
                host.want("7", 9)
            for host in hosts:
                await until(partial(runs, host, "7"), f"seed {seed}: {host.name} comes to version 7", 20_000)
        assert not world.lock.holders

    simulated(seed, story)


def test_under_the_lock_one_host_is_down_at_a_time() -> None:
    async def story(world: World) -> None:
        hosts = [SimHost(name, world) for name in "abcd"]
        most = 0
        async with living(*hosts):
            for host in hosts:
                host.want("2")
            while not all(runs(host, "2") for host in hosts):
                most = max(most, len(world.down))
                await trio.sleep(0.5)
        assert most == 1

    simulated(3, story)


def test_a_sick_image_goes_back_and_is_not_tried_again_under_the_same_number() -> None:
    async def story(world: World) -> None:
        host = SimHost("a", world)
        world.sick.add("2")
        async with living(host):
            host.want("2")
            await until(lambda: host.journal.failed == (image("2").sha256, 1) and rests(host), "it has failed")
            assert host.version == "1"
            assert "did not prove itself: its units fail" in host.journal.error
            assert host.updater is not None
            assert host.updater.shown.stage == "failed"
            boots = host.boots
            await trio.sleep(5000)
            assert host.boots == boots == 3
            world.sick.clear()
            host.want("2", attempt=2)
            await until(lambda: runs(host, "2"), "it is tried again under another number")
            assert host.journal.error == ""

    simulated(1, story)


def test_an_image_that_does_not_come_up_is_given_up_by_the_boot_loader() -> None:
    async def story(world: World) -> None:
        host = SimHost("a", world)
        world.dead.add("2")
        async with living(host):
            host.want("2")
            await until(lambda: host.journal.failed == (image("2").sha256, 1) and rests(host), "it has failed")
        assert host.version == "1"
        assert host.journal.error == "slot B was to start, and slot A did"

    simulated(1, story)


def test_an_order_that_is_taken_back_does_not_start() -> None:
    async def story(world: World) -> None:
        world.lock.holders.append("somebody")
        host = SimHost("a", world)
        async with living(host):
            host.want("2")
            await until(lambda: host.journal.step == "locking", "it waits for the lock")
            host.want(None)
            await until(lambda: rests(host), "it gives up")
            assert host.next() == "A"
            host.want("2")
            await until(lambda: host.journal.step == "locking", "it waits again")
            world.lock.holders.clear()
            world.lock.move()
            await until(lambda: runs(host, "2"), "it runs version 2")

    simulated(1, story)


def test_nobody_gives_up_an_order_because_the_cluster_was_not_heard_yet() -> None:
    async def story(world: World) -> None:
        world.lock.holders.append("somebody")
        host = SimHost("a", world)
        async with living(host):
            host.want("2")
            await until(lambda: host.journal.step == "locking", "it waits for the lock")
        host.known, host.wanted = False, None
        async with living(host):
            await trio.sleep(100)
            assert host.journal.step == "locking"

    simulated(1, story)


def test_the_window_is_looked_at_again_when_the_lock_comes_late() -> None:
    policy = Policy(window=Window(None, 12, 0, timedelta(minutes=30)), healthy=30)

    async def story(world: World) -> None:
        world.lock.holders.append("somebody")
        host = SimHost("a", world)
        async with living(host):
            host.want("2")
            steps = []
            for minutes in (25, 10):
                await trio.sleep(minutes * 60)
                steps.append(host.journal.step)
            assert steps == ["locking", "waiting"]
            world.lock.holders.clear()
            world.lock.move()
            await trio.sleep(10 * 3600)
            assert (host.boots, world.lock.holders) == (1, [])
            await until(lambda: runs(host, "2"), "it restarts the next day", 24 * 3600)

    simulated(1, story, policy)


@pytest.mark.parametrize("hurry", [False, True])
def test_off_installs_and_leaves_the_restart_to_others(*, hurry: bool) -> None:
    async def story(world: World) -> None:
        host = SimHost("a", world)
        async with living(host):
            host.want("2")
            await trio.sleep(5000)
            assert (host.journal.step, host.boots, host.next()) == ("waiting", 1, "B")
            if hurry:
                assert host.updater is not None
                host.updater.apply(None, hurry=True)
                await until(lambda: runs(host, "2"), "it runs version 2")
        if not hurry:
            host.start()
            async with living(host):
                await until(lambda: runs(host, "2"), "it runs version 2")

    simulated(1, story, Policy(strategy="off", healthy=30))


def test_by_hand_an_image_is_installed_that_nobody_ordered() -> None:
    async def story(world: World) -> None:
        host = SimHost("a", world)
        async with living(host):
            await trio.sleep(5)
            assert host.updater is not None
            host.updater.apply(image("2"), hurry=False)
            await until(lambda: runs(host, "2"), "it runs version 2")

    simulated(1, story)


def test_a_slot_that_others_installed_proves_itself_too() -> None:
    async def story(world: World) -> None:
        host = SimHost("a", world)
        host.slots["A"].good = False
        host.slots["A"].tries = 2
        async with living(host):
            await until(lambda: host.slots["A"].good, "it is marked good")

    simulated(1, story)


def test_without_the_lock_nobody_waits() -> None:
    async def story(world: World) -> None:
        world.lock.holders.append("somebody")
        host = SimHost("a", world)
        async with living(host):
            host.want("2")
            await until(lambda: host.version == "2" and host.journal.step == "idle", "it runs version 2")
        assert world.lock.holders == ["somebody"]

    simulated(1, story, Policy(strategy="reboot", healthy=30))
