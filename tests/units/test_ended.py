"""Units that come to their end: their hosts say so, and who waits for them is told."""

import trio
from trio.testing import MockClock

from tests.units.conftest import Bench
from tests.units.executor import FakeHost

JOB = "job.service"


def ended(bench: Bench, host: FakeHost, name: str = JOB) -> bool:
    state = bench.state(host, name)
    return state is not None and state.ended


async def test_a_unit_that_has_run_and_ended_well_is_told_so(autojump_clock: MockClock, bench: Bench) -> None:
    host = bench.host()
    bench.vouch(host)
    bench.place(host, JOB, desired="loaded")
    async with bench.running(bench.agent(host)):
        await trio.sleep(2)
        assert not ended(bench, host), "it was never started"
        bench.place(host, JOB)
        await trio.sleep(2)
        assert not ended(bench, host), "it runs"
        host.become(JOB, "inactive")
        await trio.sleep(2)
        assert ended(bench, host)
        assert [call for call in host.calls if call[0] == "start"] == [("start", JOB)], "it is left alone"
    async with bench.running(bench.agent(host)):
        await trio.sleep(2)
        assert ended(bench, host), "the next agent knows it too"
        bench.place(host, JOB, restart=1)
        await trio.sleep(2)
        assert not ended(bench, host)
        host.become(JOB, "failed", "exit-code 1")
        await trio.sleep(2)
        assert not ended(bench, host), "that was no good end"


async def test_a_unit_that_is_slow_to_come_up_has_not_ended(autojump_clock: MockClock, bench: Bench) -> None:
    """Its start is under way, and nothing has changed yet."""
    host = bench.host()
    bench.vouch(host)
    bench.place(host, "queued.service")
    seen: set[bool] = set()
    async with bench.running(bench.agent(host)):
        for _ in range(100):
            await trio.sleep(0.1)
            seen.add(ended(bench, host, "queued.service"))
        assert ("start", "queued.service") in host.calls
        host.become("queued.service", "active")
        await trio.sleep(1)
        host.become("queued.service", "inactive")
        await trio.sleep(1)
        assert ended(bench, host, "queued.service")
    assert seen == {False}
