"""A host that lies: what it can write below its own keys must not stop, mislead or end the engine."""

import random

import pytest
import trio
from trio.testing import MockClock

from core.engine import mirror as mirror_module
from core.engine import story
from core.engine.mirror import Mirror
from core.sched import keys
from core.sched.records import Generation, HostRecord, Machine, UnitState, decode, encode
from tests.units.conftest import Bench
from tests.units.test_engine import TEXT, engine, placed, submit

LIAR = f"{9:032x}"


def lie(bench: Bench, generation: int, number: int = 0) -> None:
    """The hostile host is there, and says what it follows."""
    machine = Machine(LIAR, name=f"liar-{number}", boot_id="x", follows=Generation("c1", generation))
    bench.put(keys.machine(LIAR), encode(machine))


def generation(bench: Bench) -> int:
    return decode(Generation, bench.cluster.kvs[keys.GENERATION].value).generation


async def test_records_made_to_break_the_reader_break_nothing(autojump_clock: MockClock, bench: Bench) -> None:
    host = bench.host()
    broken = [
        b'{"id":"x","y":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"id":"x","follows":{"cluster":"c1","generation":%d}}' % 10**30,
        b'{"id":"x","follows":{"cluster":"c1","generation":-1}}',
        b'{"id":"x","memory":-5,"cpus":-3}',
        b'{"id":"x","cpus":1e308,"memory":1e308}',
        b"\xff\xfe",
        b"",
    ]
    async with engine(bench), bench.running(bench.agent(host)):
        for number, value in enumerate(broken):
            bench.put(keys.machine(LIAR), value)
            bench.put(keys.state(LIAR, "web.service"), value)
            bench.put(keys.state(LIAR, f"../../{number}"), value)
            submit(bench, f"u{number}.service")
            await trio.sleep(5)
            assert len(host.running()) == number + 1


async def test_random_lies_break_nothing(autojump_clock: MockClock, bench: Bench) -> None:
    host, chance = bench.host(), random.Random(7)
    values = ["x", "", -1, 0, 1 << 52, 1 << 70, 1e308, None, [], {}, {"zone": "a"}, {"zone": "9" * 400}, [["x"]], True]
    async with engine(bench), bench.running(bench.agent(host)):
        submit(bench, "zoned.service", TEXT + "[X-Fleet]\nMachineMetadata=zone>=8\nCPURequest=1\n")
        for number in range(200):
            for fields, key in (
                ("name address endpoints boot_id metadata cpus memory version session", keys.machine(LIAR)),
                ("text load active sub since health why restarts pid", keys.state(LIAR, "web.service")),
            ):
                said = {field: chance.choice(values) for field in fields.split() if chance.random() < 0.3}
                bench.put(key, _json({"id": LIAR, **said}))
            if number % 20 == 0:
                await trio.sleep(1)
        bench.delete(keys.machine(LIAR))
        submit(bench, "web.service")
        await trio.sleep(10)
        assert host.running() == {"web.service"}


def _json(value: object) -> bytes:
    import json

    return json.dumps(value).encode()


async def test_a_lie_of_a_far_generation_is_not_believed(autojump_clock: MockClock, bench: Bench) -> None:
    host = bench.host()
    async with engine(bench), bench.running(bench.agent(host)):
        await trio.sleep(5)
        lie(bench, (1 << 53) - 1)
        submit(bench, "web.service")
        await trio.sleep(5)
        assert generation(bench) == 1
        assert host.running() == {"web.service"}


async def test_crying_wolf_stops_placing_ever_more_seldom(autojump_clock: MockClock, bench: Bench) -> None:
    """It is one word against that of the others."""
    hosts = [bench.host(number) for number in (1, 2)]
    async with engine(bench) as one, trio.open_nursery() as nursery:
        for host in hosts:
            await nursery.start(bench.agent(host).run)
        await trio.sleep(5)
        held = 0
        for second in range(3600):
            if second % 10 == 0:
                lie(bench, generation(bench) + 1, second)
            held += bool(one.figures.holding)
            await trio.sleep(1)
        assert 0 < held < 7 * story.SETTLE_SECONDS
        submit(bench, "web.service", TEXT + f"[X-Fleet]\nMachineID={hosts[0].machine}\n")
        await trio.sleep(10)
        assert hosts[0].running() == {"web.service"}
        nursery.cancel_scope.cancel()


async def test_a_liar_gets_no_unit_by_saying_that_it_runs_it(autojump_clock: MockClock, bench: Bench) -> None:
    """Its text may hold secrets, and with the placement goes the text's name."""
    hosts = [bench.host(number) for number in (1, 2)]
    async with engine(bench), trio.open_nursery() as nursery:
        for host in hosts:
            await nursery.start(bench.agent(host).run)
        bench.put(keys.host(LIAR), encode(HostRecord(cordoned="not trusted")))
        submit(bench, "secret.service", desired="loaded")
        submit(bench, "bound.service", TEXT + f"[X-Fleet]\nMachineID={hosts[0].machine}\n", desired="loaded")
        await trio.sleep(5)
        for name in ("secret.service", "bound.service"):
            bench.put(keys.state(LIAR, name), encode(UnitState("0" * 64, "loaded", "active", "running")))
        lie(bench, 2)
        for _ in range(200):
            await trio.sleep(1)
            assert "9" not in {machine for machines in placed(bench).values() for machine in machines}
        nursery.cancel_scope.cancel()


async def test_metadata_of_operators_cannot_be_claimed(autojump_clock: MockClock, bench: Bench) -> None:
    host = bench.host()
    async with engine(bench), bench.running(bench.agent(host)):
        machine = Machine(LIAR, boot_id="x", metadata={"operator.zone": "safe"})
        bench.put(keys.machine(LIAR), encode(machine))
        submit(bench, "web.service", TEXT + "[X-Fleet]\nMachineMetadata=operator.zone=safe\n")
        await trio.sleep(5)
        assert placed(bench) == {}
        bench.put(keys.host(host.machine), encode(HostRecord(metadata={"operator.zone": "safe"})))
        await trio.sleep(5)
        assert placed(bench) == {"web.service": ["1"]}


async def test_a_host_fills_neither_the_engines_memory_nor_its_records(
    autojump_clock: MockClock, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror_module, "MOST_STATES", 5)
    mirror = Mirror(bench.door(), lambda: None)
    for number in range(20):
        bench.put(keys.state(LIAR, f"u{number}.service"), encode(UnitState("0" * 64)))
    await mirror.read()
    assert len(mirror.view.states) == 5
    bench.put(keys.machine(LIAR), encode(Machine(LIAR, metadata={"x": "y" * 100_000})))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mirror.follow, lambda _: None)
        for number in range(20):
            bench.delete(keys.state(LIAR, f"u{number}.service"))
        bench.put(keys.state(LIAR, "new.service"), encode(UnitState("0" * 64)))
        await mirror.reached(bench.cluster.revision)
        nursery.cancel_scope.cancel()
    assert list(mirror.view.states) == [(LIAR, "new.service")]
    assert not mirror.view.machines
