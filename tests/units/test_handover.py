"""A unit that changes machines runs on one at a time: it is started where it goes when it has ended where it was."""

import trio
from trio.testing import MockClock

from core.sched import keys
from core.sched.records import Drain, HostRecord, Placement, decode, encode
from tests.units.conftest import Bench
from tests.units.executor import FakeHost
from tests.units.test_engine import TEXT, engine, submit

NAME = "stubborn.service"  # takes 90 s to stop


def deeds(bench: Bench, *what: str) -> list[tuple[str, str]]:
    return [(deed.what, deed.machine[-1]) for deed in bench.ledger if deed.what in what]


def placement(bench: Bench, host: FakeHost, name: str = NAME) -> Placement | None:
    found = bench.cluster.kvs.get(keys.placement(host.machine, name))
    return None if found is None else decode(Placement, found.value)


def drain(bench: Bench, host: FakeHost, deadline: int = 0) -> None:
    bench.put(keys.host(host.machine), encode(HostRecord(drain=Drain(deadline))))


async def test_a_unit_is_loaded_where_it_goes_and_started_when_it_has_ended(
    autojump_clock: MockClock, bench: Bench
) -> None:
    first, second = bench.host(1), bench.host(2)
    async with engine(bench), bench.running(bench.agent(first)):
        submit(bench, NAME)
        await trio.sleep(5)
        async with bench.running(bench.agent(second)):
            drain(bench, first)
            await trio.sleep(80)
            assert (first.running(), second.running(), set(second.units)) == ({NAME}, set(), {NAME})
            told = bench.state(second, NAME)
            assert told is not None
            assert (told.active, told.why) == ("inactive", "it starts here when 00000000 has stopped it")
            await trio.sleep(15)
            assert (first.units, second.running()) == ({}, {NAME})
            assert deeds(bench, "up", "down") == [("up", "1"), ("down", "1"), ("up", "2")]
            now = placement(bench, second)
            assert now is not None
            assert (now.after, now.until, now.unheard) == ((), 0, False)


async def test_a_machine_that_goes_away_meanwhile_is_waited_for_no_longer(
    autojump_clock: MockClock, bench: Bench
) -> None:
    first, second = bench.host(1), bench.host(2)
    async with engine(bench), bench.running(bench.agent(second)):
        submit(bench, NAME, TEXT + "[X-Fleet]\nMachineMetadata=!x\n")
        drain(bench, second)
        async with bench.running(bench.agent(first)):
            await trio.sleep(5)
            assert first.running() == {NAME}
            bench.delete(keys.host(second.machine))
            drain(bench, first)
            await trio.sleep(5)
        first.kill()
        await trio.sleep(20)
        assert second.running() == set(), "its lease lasts still"
        await trio.sleep(20)
        assert second.running() == {NAME}


async def test_no_machine_is_waited_for_longer_than_stopping_may_take(autojump_clock: MockClock, bench: Bench) -> None:
    """[TimeoutStopSec=] twice, and half a minute."""
    first, second = bench.host(1), bench.host(2)
    async with engine(bench), bench.running(bench.agent(first)):
        submit(bench, NAME, "[Service]\nExecStart=/bin/true\nTimeoutStopSec=5\n")
        await trio.sleep(5)
        async with bench.running(bench.agent(second)):
            drain(bench, first)
            await trio.sleep(38)
            assert second.running() == set()
            await trio.sleep(5)
            assert (first.running(), second.running()) == ({NAME}, {NAME})


async def test_another_engine_and_another_agent_go_on_with_it(autojump_clock: MockClock, bench: Bench) -> None:
    first, second = bench.host(1), bench.host(2)
    async with bench.running(bench.agent(first)):
        async with engine(bench), bench.running(bench.agent(second)):
            submit(bench, NAME, TEXT + "[X-Fleet]\nMachineMetadata=!x\n")
            await trio.sleep(5)
            drain(bench, first)
            await trio.sleep(2)
        async with engine(bench), bench.running(bench.agent(second)):
            await trio.sleep(75)
            assert second.running() == set()
            await trio.sleep(25)
            assert second.running() == {NAME}
    assert deeds(bench, "up", "down") == [("up", "1"), ("down", "1"), ("up", "2")]


async def test_a_unit_that_is_moved_on_waits_for_the_first_machine_too(autojump_clock: MockClock, bench: Bench) -> None:
    first, second, third = (bench.host(number) for number in (1, 2, 3))
    async with engine(bench), bench.running(bench.agent(first)):
        submit(bench, NAME)
        await trio.sleep(5)
        async with bench.running(bench.agent(second)):
            drain(bench, first)
            await trio.sleep(5)
            async with bench.running(bench.agent(third)):
                drain(bench, second)
                await trio.sleep(75)
                assert (second.units, third.running()) == ({}, set())
                await trio.sleep(15)
                assert third.running() == {NAME}
    assert deeds(bench, "up", "down") == [("up", "1"), ("down", "1"), ("up", "3")]


async def test_what_is_everywhere_and_what_is_only_loaded_wait_for_nobody(
    autojump_clock: MockClock, bench: Bench
) -> None:
    first, second = bench.host(1), bench.host(2)
    async with engine(bench), bench.running(bench.agent(first)):
        submit(bench, "all.service", TEXT + "[X-Fleet]\nGlobal=true\n")
        submit(bench, "quiet.service", desired="loaded")
        await trio.sleep(5)
        async with bench.running(bench.agent(second)):
            await trio.sleep(5)
            assert (first.running(), second.running()) == ({"all.service"}, {"all.service"})
            drain(bench, first)
            await trio.sleep(5)
            found = placement(bench, second, "quiet.service")
            assert found is not None
            assert (found.desired, found.after, set(second.units)) == ("loaded", (), {"all.service", "quiet.service"})


async def test_a_host_that_was_away_starts_nothing_it_was_meant_to_have_meanwhile(
    autojump_clock: MockClock, bench: Bench
) -> None:
    """Its watch tells it of everything in order, also of what has long been moved on."""
    host, door = bench.host(), bench.door()
    bench.vouch(host)
    bench.place(host, "kept.service")
    async with bench.running(bench.agent(host, door)):
        await trio.sleep(5)
        door.cut = True
        await trio.sleep(5)
        bench.place(host, "moved.service")
        await trio.sleep(60)
        bench.unplace(host, "moved.service")
        bench.place(host, "new.service")
        door.cut, door.trouble.delay = False, 0.5
        await trio.sleep(15)
        assert host.running() == {"kept.service", "new.service"}
        assert [deed.name for deed in bench.ledger if deed.what == "up"] == ["kept.service", "new.service"]
