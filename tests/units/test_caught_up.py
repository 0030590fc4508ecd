"""A store that was restored and has been written to since, beyond where it was: its revision alone does not tell."""

import trio
from trio.testing import MockClock

from core.client import Operation, Put, Result, Txn
from core.client.errors import OutcomeUnknownError
from core.engine.term import Term
from core.sched import keys
from core.sched.planner import Planner
from core.sched.records import Generation, decode
from tests.units.conftest import Bench
from tests.units.store import Door, Trouble
from tests.units.test_engine import engine, submit


async def test_an_engine_reads_anew_and_begins_another_generation(autojump_clock: MockClock, bench: Bench) -> None:
    """What came at a revision that the engine knew already would never be seen."""
    host = bench.host()
    async with engine(bench), bench.running(bench.agent(host)):
        submit(bench, "old.service")
        await trio.sleep(5)
        snapshot = bench.cluster.snapshot()
        submit(bench, "lost.service")
        await trio.sleep(5)
        known = bench.cluster.revision
        bench.cluster.restore(snapshot)
        submit(bench, "new.service")
        while bench.cluster.revision <= known:
            bench.put(b"other", b"")
        await trio.sleep(200)
        assert decode(Generation, bench.cluster.kvs[keys.GENERATION].value).generation == 2
        assert host.running() == {"old.service", "new.service"}


class Slow(Term):
    """Its plans take their time."""

    async def _plan(self, planner: Planner) -> None:
        await trio.sleep(1)
        await super()._plan(planner)


async def test_what_was_destroyed_is_not_started_when_a_snapshot_still_places_it(
    autojump_clock: MockClock, bench: Bench
) -> None:
    """Placements are set right before agents are told to follow them."""
    host = bench.host()
    async with bench.running(bench.agent(host)):
        async with engine(bench):
            submit(bench, "gone.service")
            await trio.sleep(5)
        bench.delete(keys.unit("gone.service"))
        snapshot = bench.cluster.snapshot()
        async with engine(bench, term=Slow):
            await trio.sleep(5)
            assert host.running() == set()
            bench.cluster.restore(snapshot)
            await trio.sleep(200)
        assert decode(Generation, bench.cluster.kvs[keys.GENERATION].value).generation == 2
        assert [deed.what for deed in bench.ledger] == ["load", "up", "down", "unload"]


async def test_an_agent_that_is_started_anew_still_knows_that_the_store_went_back(
    autojump_clock: MockClock, bench: Bench
) -> None:
    host = bench.host()
    bench.vouch(host)
    async with bench.running(bench.agent(host)):
        await trio.sleep(5)
        snapshot = bench.cluster.snapshot()
        bench.place(host, "web.service")
        await trio.sleep(5)
        assert host.running() == {"web.service"}
        bench.cluster.restore(snapshot)
        await trio.sleep(5)
    for number in range(50):
        bench.put(b"other", b"%d" % number)
    async with bench.running(bench.agent(host)):
        await trio.sleep(60)
        assert host.running() == {"web.service"}
        machine = bench.machine(host)
        assert machine is not None
        assert machine.follows == Generation("c1", 2), "the engine is asked for another generation"


class LateFence(Door):
    """Loses a placement; and the first word that forbids it to come later comes behind the second."""

    lost = 0

    async def execute(self, operation: Operation, *, local: bool = False) -> Result:
        first = operation.then[0] if isinstance(operation, Txn) and operation.then else None
        key = first.key if isinstance(first, Put) else b""
        if key.startswith(keys.PLACEMENTS) and not key.endswith(b".header") and self.lost == 0:
            self.lost = 1
            raise OutcomeUnknownError("lost")
        if key.startswith(keys.LEADER + b"/") and self.lost == 1:
            self.lost = 2
            self._nursery.start_soon(self._come, operation)
            raise OutcomeUnknownError("late")
        return await super().execute(operation, local=local)

    async def _come(self, operation: Operation) -> None:
        await trio.sleep(5)
        self.cluster.execute(operation)


async def test_an_engine_goes_on_when_its_own_word_comes_late(autojump_clock: MockClock, bench: Bench) -> None:
    host = bench.host()
    door = LateFence(bench.cluster, bench.chance, bench.nursery, Trouble())
    async with engine(bench, door), bench.running(bench.agent(host)):
        submit(bench, "a.service")
        await trio.sleep(20)
        assert (door.lost, host.running()) == (2, {"a.service"})
        submit(bench, "b.service")
        await trio.sleep(20)
        assert host.running() == {"a.service", "b.service"}
