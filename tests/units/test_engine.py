"""The engine on a store in memory: that it places, and that it is careful."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from core.client import Claim, Event, Operation, Put, Result, Store, Txn
from core.client.errors import OutcomeUnknownError
from core.engine.engine import Engine
from core.engine.term import Term
from core.engine.writer import Writer
from core.sched import keys, unit_text
from core.sched.records import Generation, Header, HostRecord, Placement, Rollout, UnitRecord, decode, encode
from tests.units.conftest import Bench
from tests.units.store import Door, Trouble

TEXT = "[Service]\nExecStart=/bin/true\n"


def submit(bench: Bench, name: str, text: str = TEXT, **more: object) -> str:
    digest = unit_text.digest(text.encode())
    bench.put(keys.text(digest), text.encode())
    bench.put(keys.unit(name), encode(UnitRecord(digest, **{"desired": "launched", **more})))  # type: ignore[arg-type]
    return digest


def placed(bench: Bench) -> dict[str, list[str]]:
    """Units by name, and the last digits of their machines."""
    found: dict[str, list[str]] = {}
    for key in sorted(bench.cluster.kvs):
        place = keys.parse(key)
        if place and place.kind is keys.Kind.PLACEMENT:
            found.setdefault(place.name, []).append(place.machine[-1])
    return found


@asynccontextmanager
async def engine(
    bench: Bench, door: Door | None = None, name: str = "one", term: type[Term] = Term
) -> AsyncIterator[Engine]:
    one = Engine(door or bench.door(), name, "c1", now=trio.current_time, term=term)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.run)
        await trio.sleep(2)
        yield one
        nursery.cancel_scope.cancel()


async def test_a_unit_is_placed_runs_and_moves_when_its_host_dies(autojump_clock: MockClock, bench: Bench) -> None:
    first, second = bench.host(1), bench.host(2)
    submit(bench, "web.service")
    async with engine(bench) as one, trio.open_nursery() as nursery:
        await nursery.start(bench.agent(first).run)
        await trio.sleep(2)
        assert placed(bench) == {"web.service": ["1"]}
        assert first.running() == {"web.service"}
        await nursery.start(bench.agent(second).run)
        await trio.sleep(20)
        assert placed(bench) == {"web.service": ["1"]}
        nursery.cancel_scope.cancel()
    first.kill()
    async with engine(bench) as one, trio.open_nursery() as nursery:
        await nursery.start(bench.agent(second).run)
        await trio.sleep(45)
        assert second.running() == {"web.service"}
        assert one.figures.engine_task_count_total == 1
        assert one.figures.engine_leader_start_time
        nursery.cancel_scope.cancel()


async def test_an_engine_at_rest_writes_only_its_lease(autojump_clock: MockClock, bench: Bench) -> None:
    host = bench.host()
    submit(bench, "web.service")
    async with engine(bench), bench.running(bench.agent(host)):
        await trio.sleep(60)
        before = bench.cluster.revision
        await trio.sleep(1000)
        assert bench.cluster.revision == before


async def test_two_engines_are_one(autojump_clock: MockClock, bench: Bench) -> None:
    host, door = bench.host(), bench.door()
    async with engine(bench, door) as one, engine(bench, name="two") as two, bench.running(bench.agent(host)):
        submit(bench, "a.service")
        await trio.sleep(3)
        assert (bool(one.figures.engine_leader_start_time), bool(two.figures.engine_leader_start_time)) == (True, False)
        door.cut = True
        await trio.sleep(30)
        assert two.figures.engine_leader_start_time
        assert not one.figures.engine_leader_start_time
        submit(bench, "b.service")
        await trio.sleep(3)
        assert host.running() == {"a.service", "b.service"}


async def test_a_lost_answer_is_looked_into(autojump_clock: MockClock, bench: Bench) -> None:
    hosts, door = [bench.host(number) for number in (1, 2, 3)], bench.door()
    door.trouble.unknown = 0.4
    async with trio.open_nursery() as nursery:
        for host in hosts:
            await nursery.start(bench.agent(host).run)
        for number in range(30):
            submit(bench, f"u{number}.service")
        async with engine(bench, door):
            await trio.sleep(120)
            found = placed(bench)
            assert len(found) == 30
            assert {len(machines) for machines in found.values()} == {1}
            assert sum(len(host.running()) for host in hosts) == 30
            assert not [deed for deed in bench.ledger if deed.what == "down"]
        nursery.cancel_scope.cancel()


class LateDoor(Door):
    """The first placement's answer is lost, and it is carried out ten seconds later."""

    pending = True

    async def execute(self, operation: Operation, *, local: bool = False) -> Result:
        then = operation.then if isinstance(operation, Txn) else ()
        if self.pending and any(isinstance(each, Put) and each.key.endswith(b"web.service") for each in then):
            self.pending = False

            async def late() -> None:
                await trio.sleep(10)
                self.cluster.execute(operation)

            self._nursery.start_soon(late)
            raise OutcomeUnknownError("the answer was lost")
        return await super().execute(operation, local=local)


class Guessing(Term):
    """Broken: takes a lost answer for a write that was not done."""

    def make_writer(self, store: Store, claim: Claim, value: bytes) -> Writer:
        class Guess(Writer):
            async def _find_out(self, fence: int) -> None:
                await trio.lowlevel.checkpoint()

        return Guess(store, claim, value, self.mirror, self._figures)


@pytest.mark.parametrize(("term", "where"), [(Term, ["2"]), (Guessing, ["1", "2"])])
async def test_a_write_that_comes_late_changes_nothing(
    autojump_clock: MockClock, bench: Bench, term: type[Term], where: list[str]
) -> None:
    first, second = bench.host(1), bench.host(2)
    door = LateDoor(bench.cluster, bench.chance, bench.nursery, Trouble())
    seen: list[str] = []

    def observe(event: Event) -> None:
        now = placed(bench).get("web.service", [])
        if len(now) >= len(seen):
            seen[:] = now

    bench.cluster.observers.append(observe)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.agent(first).run)
        await trio.sleep(3)
        async with engine(bench, door, term=term):
            await nursery.start(bench.agent(second).run)
            bench.put(keys.host(second.machine), encode(HostRecord(cordoned="not yet")))
            await trio.sleep(1)
            submit(bench, "web.service")
            await trio.sleep(0.005)
            bench.put(keys.host(first.machine), encode(HostRecord(cordoned="broken")))
            bench.put(keys.host(second.machine), encode(HostRecord()))
            await trio.sleep(20)
            assert not door.pending
            assert seen == where
        nursery.cancel_scope.cancel()


async def test_an_emptied_registry_is_not_vouched_for(autojump_clock: MockClock, bench: Bench) -> None:
    host = bench.host()
    submit(bench, "web.service")
    async with bench.running(bench.agent(host)):
        async with engine(bench):
            await trio.sleep(5)
        for key in [key for key in bench.cluster.kvs if key.startswith(keys.PREFIX)]:
            bench.delete(key)
        await trio.sleep(60)
        async with engine(bench, name="new") as new:
            await trio.sleep(100)
            assert "web.service" in new.figures.holding
            assert host.running() == {"web.service"}
            submit(bench, "web.service")  # the operator remembers
            await trio.sleep(5)
            assert placed(bench) == {"web.service": ["1"]}
            assert not new.figures.holding
            await trio.sleep(60)
            assert host.running() == {"web.service"}
            assert not [deed for deed in bench.ledger if deed.what == "down"]


async def test_placements_of_a_restored_snapshot_follow_what_runs(autojump_clock: MockClock, bench: Bench) -> None:
    first, second = bench.host(1), bench.host(2)
    submit(bench, "web.service", TEXT + "[X-Fleet]\nMachineMetadata=\n")
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.agent(first).run)
        async with engine(bench):
            await trio.sleep(5)
            assert placed(bench) == {"web.service": ["1"]}
            old = bench.cluster.snapshot()
            await nursery.start(bench.agent(second).run)
            bench.put(keys.host(first.machine), b'{"cordoned":"x","drain":{"deadline":0}}')
            await trio.sleep(60)
            assert second.running() == {"web.service"}
            downs = len([deed for deed in bench.ledger if deed.what == "down"])
            for _ in range(10):
                bench.put(b"/x", b"")
            bench.cluster.restore(old)
            await trio.sleep(200)
            assert placed(bench) == {"web.service": ["2"]}
            assert second.running() == {"web.service"}
            assert len([deed for deed in bench.ledger if deed.what == "down"]) == downs
            kv = bench.cluster.kvs[keys.GENERATION]
            assert decode(Generation, kv.value) == Generation("c1", 2)
            assert decode(Header, bench.cluster.kvs[keys.header(first.machine)].value).generation == 2
        nursery.cancel_scope.cancel()


async def test_texts_nobody_names_go_and_others_stay(autojump_clock: MockClock, bench: Bench) -> None:
    host = bench.host()
    old = submit(bench, "web.service", TEXT + "#old\n")
    async with engine(bench), bench.running(bench.agent(host)):
        await trio.sleep(5)
        new = submit(bench, "web.service")
        await trio.sleep(500)
        assert keys.text(old) in bench.cluster.kvs
        await trio.sleep(500)
        assert keys.text(old) not in bench.cluster.kvs
        assert keys.text(new) in bench.cluster.kvs


async def test_a_rollout_goes_on_and_returns(autojump_clock: MockClock, bench: Bench) -> None:
    hosts = [bench.host(number) for number in (1, 2, 3)]
    old = submit(bench, "web@.service", TEXT + "[X-Fleet]\nReplicas=3\n")
    async with trio.open_nursery() as nursery:
        for host in hosts:
            await nursery.start(bench.agent(host).run)
        async with engine(bench):
            await trio.sleep(10)
            new = submit(bench, "web@.service", TEXT + "[X-Fleet]\nReplicas=3\n#new\n")
            now = int(trio.current_time())
            bench.cluster.execute(Put(keys.rollout("web@.service"), encode(Rollout(old, new, started=now))))
            most = 0
            for _ in range(300):
                await trio.sleep(1)
                texts = [
                    process.text for host in hosts for process in host.units.values() if process.active != "active"
                ]
                most = max(most, len(texts))
            rollout = decode(Rollout, bench.cluster.kvs[keys.rollout("web@.service")].value)
            assert rollout.state == "done"
            assert most <= 1
            assert {process.text for host in hosts for process in host.units.values()} == {new}
        nursery.cancel_scope.cancel()


async def test_a_damaged_record_stops_nothing(autojump_clock: MockClock, bench: Bench) -> None:
    host = bench.host()
    submit(bench, "web.service")
    async with engine(bench), bench.running(bench.agent(host)):
        await trio.sleep(5)
        bench.put(keys.unit("web.service"), b"nonsense")
        bench.put(keys.GENERATION + b"x", b"nonsense")
        submit(bench, "other.service")
        await trio.sleep(5)
        assert host.running() == {"web.service", "other.service"}
        kv = bench.cluster.kvs[keys.placement(host.machine, "web.service")]
        assert decode(Placement, kv.value).desired == "launched"
