"""What the updater asks of its surroundings, each by itself: the cluster's word, the turn, this host."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trio

from core.client import Store
from core.client.inside import InsideStore
from core.node.local import LocalStore
from core.sched.records import Drain
from core.update import keys
from core.update.host.journal import Image, Journal
from core.update.host.machine import ThisHost
from core.update.host.orders import Cluster
from core.update.host.place import Place
from core.update.host.ports import UpdateError
from core.update.host.turns import Turn
from core.update.host.updater import Shown
from core.update.reboot_lock import RebootLock
from core.update.records import Offer, Report, decode, encode
from core.update.voters import VOTERS, Voter
from tests.client.conftest import member

__all__ = ["member"]
OWN = "a" * 32
PLACE = Place(Path("disk"), "A", "os", "1.0")


@pytest.fixture
async def store(member: LocalStore) -> AsyncIterator[Store]:
    async with InsideStore(member) as store:
        yield store


class Told:
    """What an updater shows."""

    def __init__(self) -> None:
        self.journal = Journal()
        self.shown = Shown()


async def until(holds: Callable[[], object]) -> None:
    with trio.fail_after(20):
        while True:
            if holds():
                return
            await trio.sleep(0.01)


async def reported(store: Store, holds: Callable[[Report], bool]) -> Report:
    with trio.fail_after(20):
        while True:
            found = await store.get(keys.report(OWN))
            if found is not None and holds(report := decode(Report, found)):
                return report
            await trio.sleep(0.01)


async def test_offers_come_and_go_and_what_cannot_be_read_is_none(store: Store) -> None:
    cluster = Cluster(store, OWN, "red", "x86_64", 5)
    assert (cluster.known, cluster.order) == (False, None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cluster.run)
        await until(lambda: cluster.known)
        assert cluster.order is None
        await store.put(keys.offer(OWN), encode(Offer("os", "2.0", "x86_64", "b" * 64, 9, 3)))
        await until(lambda: cluster.order)
        assert cluster.order is not None
        assert (cluster.order.image, cluster.order.attempt) == (Image("os", "2.0", "x86_64", "b" * 64, 9), 3)
        with trio.fail_after(5):
            await cluster.changed()  # also what came while nobody waited
        await store.put(keys.offer(OWN), b"[]")
        await until(lambda: cluster.order is None)
        nursery.cancel_scope.cancel()


async def test_a_host_is_there_while_its_updater_runs_and_its_report_stays(store: Store) -> None:
    cluster, told = Cluster(store, OWN, "red", "x86_64", 5), Told()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cluster.run)
        cluster.tell(told, PLACE)  # type: ignore[arg-type]
        report = await reported(store, lambda _: True)
        assert (report.group, report.version, report.stage, report.slot) == ("red", "1.0", "idle", "A")
        async with store.watch(keys.alive(OWN), start=1) as watch:
            with trio.fail_after(20):
                await anext(watch)
        told.journal = Journal(wanted=Image("os", "2.0", "x86_64", "b" * 64, 9), attempt=4)
        for done in range(50):
            told.shown = Shown("installing", "writing", done, 100)
            cluster.tell(told, PLACE)  # type: ignore[arg-type]
            await trio.sleep(0.005)
        report = await reported(store, lambda each: each.stage == "writing")
        assert (report.wanted, report.attempt) == ("2.0", 4)
        written = (await store.range(keys.report(OWN))).kvs[0].version
        assert written <= 3, "progress alone is told now and then"
        told.shown = Shown("idle", "failed", why="it does not fit")
        cluster.tell(told, PLACE)  # type: ignore[arg-type]
        report = await reported(store, lambda each: each.stage == "failed")
        assert (report.error, report.wanted) == ("it does not fit", "2.0")
        nursery.cancel_scope.cancel()
    assert await store.get(keys.alive(OWN)) is None
    assert await store.get(keys.report(OWN)) is not None


async def test_a_turn_is_that_of_the_group_and_of_the_voters(store: Store) -> None:
    turn = Turn(store, "default", OWN, "n1", lambda: [Voter("n1", True)])
    await turn.acquire()
    await turn.acquire()
    for group in ("", VOTERS):
        assert [holder.id for holder in (await RebootLock(store, group).status()).holders] == [OWN]
    other = Turn(store, "default", "b" * 32, "", list)
    with pytest.raises(UpdateError, match="semaphore is at 0"):
        await other.acquire()
    async with trio.open_nursery() as nursery:
        with trio.fail_after(20):
            await nursery.start(_watching, other)
            await turn.release()
    await turn.release()  # what is not held
    await other.acquire()


async def _watching(turn: Turn, task_status: trio.TaskStatus[None]) -> None:
    """Ends when the lock changes, long before its time."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(turn.changed, 3600)
        await trio.sleep(0.2)  # the watch has no word for being open
        task_status.started()


class Units:
    """An agent's word."""

    def __init__(self) -> None:
        self.held: int | None = None
        self.ailing: list[str] = []
        self.left: list[Drain | None] = []

    def leave(self, drain: Drain | None) -> None:
        self.left.append(drain)


async def test_a_host_is_well_when_all_of_it_is(store: Store, tmp_path: Path) -> None:
    units = Units()
    flag = tmp_path / "flag"
    host = ThisHost(store, OWN, "boot", lambda: units, ("test", "-e", str(flag)), ("false",))
    assert "not registered" in await host.unwell()
    assert host.units() == -1
    units.held, units.ailing = 2, ["web@1.service"]
    assert await host.unwell() == "units of it are not well: web@1.service"
    units.ailing = []
    assert await host.unwell() == f"the check of its operator fails: test -e {flag} ended with 1"
    flag.touch()
    assert await host.unwell() == ""
    assert host.units() == 2
    await host.drain(60)
    await host.stay()
    assert [drain and drain.at_once for drain in units.left] == [4, None]
    bare = ThisHost(store, OWN, "boot", lambda: None, (), ("no-such-program",))
    assert (bare.units(), await bare.unwell()) == (0, "")
    with pytest.raises(UpdateError, match="no-such-program cannot be run: No such file"):
        await bare.reboot()
    with pytest.raises(UpdateError, match="false ended with 1"):
        await host.reboot()
