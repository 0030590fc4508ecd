"""Watches overtake answers: a store that tells of a later change before it answers has not gone back."""

import pytest
import trio
from trio.testing import MockClock

from core.client import Operation, Range, Result
from core.engine.engine import Engine
from core.sched import keys, unit_text
from core.sched.records import UnitRecord, encode
from tests.units.conftest import Bench
from tests.units.store import Door

TEXT = b"[Service]\nExecStart=/bin/true\n"


class Late(Door):
    """Answers take their time on the way back, each another."""

    async def execute(self, operation: Operation, *, local: bool = False) -> Result:
        done = await super().execute(operation, local=local)
        if not (isinstance(operation, Range) and operation.limit):  # pages come before the watch
            await trio.sleep(self._chance.random() * 3)
        return done


def late(bench: Bench) -> Late:
    door = bench.door()
    return Late(door.cluster, bench.chance, bench.nursery, door.trouble)


async def test_an_engine_is_not_confused(
    autojump_clock: MockClock, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    host = bench.host()
    bench.put(keys.text(unit_text.digest(TEXT)), TEXT)
    record = encode(UnitRecord(unit_text.digest(TEXT), "launched"))
    async with bench.running(bench.agent(host)), trio.open_nursery() as nursery:
        nursery.start_soon(Engine(late(bench), "one", "c1", now=trio.current_time).run)
        for number in range(60):
            bench.put(keys.unit(f"a{number}.service"), record)
            await trio.sleep(1)
        await trio.sleep(20)
        assert len(host.running()) == 60
        assert "went back" not in caplog.text
        nursery.cancel_scope.cancel()


async def test_an_agent_is_not_confused(
    autojump_clock: MockClock, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    host = bench.host()
    bench.vouch(host)
    async with bench.running(bench.agent(host, late(bench))):
        for number in range(300):
            bench.place(host, f"a{number}.service")
            await trio.sleep(1)
        assert "went back" not in caplog.text
