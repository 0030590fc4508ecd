"""Why units are where they are: asked of a member whose engine leads, and of one that only looks now and then."""

from collections.abc import AsyncIterator, Callable

import pytest
import trio

from core.client import Delete, Put, Store, prefix
from core.client.errors import ClientError, CompactedError
from core.engine import mirror, sight
from core.engine.engine import Engine
from core.engine.mirror import Mirror
from core.sched import keys
from core.sched.records import Machine, encode
from tests.fleet.test_own import OWN, put
from tests.fleet.world import ONE, World, world


@pytest.fixture
async def fleet() -> AsyncIterator[World]:
    async with world() as found:
        yield found


class Reading(Mirror):
    """One that can be made to fail."""

    ended = False
    failure: ClientError | None = None

    async def follow(self, lost: Callable[[str], None]) -> None:
        try:
            with trio.CancelScope() as self.scope:
                await super().follow(lost)
            if self.failure is not None:
                raise self.failure
        finally:
            self.ended = True


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[Reading]:
    """Mirrors made by those who only look."""
    made: list[Reading] = []

    def reading(store: Store, changed: Callable[[], None]) -> Reading:
        made.append(Reading(store, changed))
        return made[-1]

    monkeypatch.setattr(sight, "Mirror", reading)
    return made


async def waits_for(fleet: World, name: str) -> str:
    return str((await fleet.good("GET", f"{OWN}/units/{name}/explain"))["waits_for"])


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(10):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.01)


async def test_each_answer_knows_all_that_was_written_before(fleet: World, readings: list[Reading]) -> None:
    for number in range(20):
        await put(fleet, f"u{number}.service", query="?desired=launched")
        await fleet.store.put(b"/something/else", b"%d" % number)
        assert await waits_for(fleet, f"u{number}.service") == "a machine: there is none"
        await fleet.good("DELETE", f"{OWN}/units/u{number}.service")
        assert (await fleet.refused("GET", f"{OWN}/units/u{number}.service/explain"))[0] == 404
    assert len(readings) == 1
    view = readings[0].view
    assert not view.dirty
    assert not view.board.changed_patterns


async def test_an_answer_waits_for_records_that_are_being_taken_in(
    fleet: World, readings: list[Reading], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large transaction is applied in slices: what stands in its middle is nobody's to see."""
    monkeypatch.setattr(mirror, "SLICE", 1)
    await put(fleet, "a.service", query="?desired=launched")
    await waits_for(fleet, "a.service")
    machines = [Machine(f"{number:032x}", "one") for number in range(1, 101)]
    await fleet.store.txn(then=[Put(keys.machine(each.id), encode(each)) for each in machines])
    assert len((await fleet.good("GET", f"{OWN}/units/a.service/explain"))["verdicts"]) == 100
    await fleet.store.txn(then=[Delete(prefix(keys.MACHINES))])
    assert (await fleet.good("GET", f"{OWN}/units/a.service/explain"))["verdicts"] == []


async def test_the_records_are_let_go_of_when_nobody_asks(
    fleet: World, readings: list[Reading], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sight, "KEEP_SECONDS", 0.3)
    await put(fleet, "a.service", query="?desired=launched")
    for _ in range(3):
        await waits_for(fleet, "a.service")
    assert len(readings) == 1
    await until(lambda: readings[0].ended)
    await trio.testing.wait_all_tasks_blocked()
    assert len(readings) == 1, "nobody asked"
    await waits_for(fleet, "a.service")
    assert len(readings) == 2


async def test_where_an_engine_leads_its_own_records_are_looked_at(fleet: World, readings: list[Reading]) -> None:
    engine = Engine(fleet.store, "one", "c")
    fleet.sight.leading = lambda: engine.mirror
    await fleet.write(keys.machine(ONE), Machine(ONE, "one"))
    await put(fleet, "a.service", query="?desired=launched")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine.run)
        await until(lambda: engine.mirror is not None)
        with trio.fail_after(10):
            while not (found := await fleet.good("GET", f"{OWN}/units/a.service/explain"))["placed"]:  # noqa: ASYNC110
                await trio.sleep(0.01)
        assert (list(found["placed"]), found["waits_for"]) == ([ONE], "")
        assert readings == []
        nursery.cancel_scope.cancel()
    assert engine.mirror is None
    assert await waits_for(fleet, "a.service") == ""
    assert len(readings) == 1, "it leads no longer: this member looks for itself"


async def test_when_the_present_cannot_be_followed_it_is_read_again(fleet: World, readings: list[Reading]) -> None:
    await put(fleet, "a.service", query="?desired=launched")
    await waits_for(fleet, "a.service")
    readings[0].failure = CompactedError(5)
    readings[0].scope.cancel()
    await until(lambda: readings[0].ended)
    await put(fleet, "b.service", query="?desired=launched")
    assert await waits_for(fleet, "b.service") == "a machine: there is none"
    assert len(readings) == 2
