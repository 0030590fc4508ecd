"""One unit is read by its own rows, and those are all there are."""

from collections.abc import AsyncIterator

import pytest
import trio

from core.client import Range, Txn
from core.client.inside import InsideStore
from core.sched import keys
from core.sched.records import Placement, UnitRecord, UnitState
from tests.fleet.world import ONE, TWO, World, world

OWN = "/corenode/fleet"


@pytest.fixture
async def fleet() -> AsyncIterator[World]:
    async with world() as found:
        yield found


async def test_what_was_written_just_now_is_seen(fleet: World) -> None:
    await fleet.write(keys.unit("a.service"), UnitRecord("0" * 64, "launched"))
    for _ in range(50):
        await fleet.write(keys.placement(ONE, "a.service"), Placement("0" * 64))
        assert [each["machine"] for each in (await fleet.good("GET", f"{OWN}/units/a.service"))["places"]] == [ONE]
        await fleet.write(keys.state(TWO, "a.service"), UnitState(active="active"))
        assert len((await fleet.good("GET", f"{OWN}/units/a.service"))["places"]) == 2
        await fleet.store.delete(keys.state(TWO, "a.service"))
        await fleet.store.delete(keys.placement(ONE, "a.service"))
        assert (await fleet.good("GET", f"{OWN}/units/a.service"))["places"] == []


async def test_only_its_own_rows_are_read(fleet: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(300):
        await fleet.write(keys.unit(f"u{number}.service"), UnitRecord("0" * 64, "launched"))
        await fleet.write(keys.placement(ONE, f"u{number}.service"), Placement("0" * 64))
        await fleet.write(keys.state(ONE, f"u{number}.service"), UnitState(active="active"))
    read: list[bytes] = []
    right = InsideStore.execute

    async def counted(self: InsideStore, operation: object, *, local: bool = False) -> object:
        for each in operation.then if isinstance(operation, Txn) else (operation,):
            assert isinstance(each, Range)
            assert isinstance(each.keys, bytes), "a whole range was read"
            read.append(each.keys)
        return await right(self, operation, local=local)  # type: ignore[arg-type]

    monkeypatch.setattr(InsideStore, "execute", counted)
    found = await fleet.good("GET", f"{OWN}/units/u7.service")
    assert found["places"][0]["state"]["active"] == "active"
    assert len(read) < 10
    assert all(key.endswith(b"u7.service") for key in read)


async def test_compaction_does_not_disturb_it(fleet: World) -> None:
    await fleet.write(keys.unit("a.service"), UnitRecord("0" * 64, "launched"))
    async with trio.open_nursery() as nursery:

        async def compact() -> None:
            for _ in range(20):
                await fleet.store.compact((await fleet.store.put(b"/x", b"")).revision)

        nursery.start_soon(compact)
        for _ in range(20):
            await fleet.write(keys.placement(ONE, "a.service"), Placement("0" * 64))
            assert len((await fleet.good("GET", f"{OWN}/units/a.service"))["places"]) == 1
