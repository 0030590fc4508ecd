"""The executor of systemd when D-Bus or systemd fail it. What works is shown beside a real one, in tests/hosts."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio
from jeepney.io.trio import open_dbus_connection

from core.agent.executor import CHANGES, ExecutorError, ExecutorGone
from core.agent.systemd import bus
from core.agent.systemd.executor import Systemd
from tests.agent.conformance import SLEEPER
from tests.agent.fake_systemd import BusDaemon, FakeSystemd, bus_daemon

INSTALLED = SLEEPER + b"[Install]\nWantedBy=multi-user.target\n"


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BusDaemon]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with bus_daemon(tmp_path) as made:
        made.start()
        yield made


@pytest.fixture
async def systemd(daemon: BusDaemon, nursery: trio.Nursery) -> FakeSystemd:
    fake = FakeSystemd(daemon.address)
    await nursery.start(fake.serve)
    return fake


@pytest.fixture
async def executor(daemon: BusDaemon, tmp_path: Path) -> AsyncIterator[Systemd]:
    async with Systemd(tmp_path / "units", user=True, bus=daemon.address) as made:
        yield made


async def told_to_list(executor: Systemd) -> None:
    with trio.fail_after(10):
        while await executor.changes().receive() is not None:
            pass


async def running(executor: Systemd, name: str) -> None:
    await executor.load(name, SLEEPER)
    await executor.settle()
    await executor.start(name)
    with trio.fail_after(10):
        while (change := await executor.changes().receive()) is None or change.active != "active":
            pass


async def test_no_bus_at_all(tmp_path: Path, daemon: BusDaemon, nursery: trio.Nursery) -> None:
    daemon.stop()
    async with Systemd(tmp_path / "units", user=True, bus=daemon.address) as executor:
        with pytest.raises(ExecutorGone, match="systemd cannot be reached: no connection to D-Bus"):
            await executor.adopt()
        daemon.start()
        await nursery.start(FakeSystemd(daemon.address).serve)
        await told_to_list(executor)
        assert await executor.adopt() == {}


async def test_a_bus_without_systemd(daemon: BusDaemon, executor: Systemd, nursery: trio.Nursery) -> None:
    with pytest.raises(ExecutorGone, match="systemd cannot be reached: "):
        await executor.adopt()
    await nursery.start(FakeSystemd(daemon.address).serve)
    await told_to_list(executor)
    assert await executor.adopt() == {}


async def test_a_stop_that_is_waited_for_ends_with_the_bus(
    daemon: BusDaemon, systemd: FakeSystemd, executor: Systemd
) -> None:
    await running(executor, "a.service")
    systemd.answers["StopUnit"] = lambda body: ("o", ("/org/freedesktop/systemd1/job/none",))
    systemd.job_removed = never  # type: ignore[method-assign]
    stopping = trio.Event()
    ended: list[str] = []

    async def stop() -> None:
        stopping.set()
        with trio.fail_after(10), pytest.raises(ExecutorGone):
            await executor.stop("a.service")
        ended.append("stop")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop)
        await stopping.wait()
        await trio.testing.wait_all_tasks_blocked(0.05)
        daemon.stop()
    assert ended == ["stop"]


async def never(path: str, name: str, result: str) -> None:
    """In place of a signal."""


async def test_a_systemd_that_does_not_answer(
    systemd: FakeSystemd, executor: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    await executor.load("a.service", SLEEPER)
    monkeypatch.setattr(bus, "CALL_SECONDS", 0.05)  # only now: what goes before may take its time on a busy machine
    systemd.answers["StartUnit"] = None
    with pytest.raises(ExecutorGone, match=r"no answer to StartUnit in 0\.05 s"):
        await executor.start("a.service")
    monkeypatch.undo()
    del systemd.answers["StartUnit"]
    await executor.start("a.service")


async def test_what_cannot_be_enabled_leaves_nothing_behind(
    systemd: FakeSystemd, executor: Systemd, tmp_path: Path
) -> None:
    refusal = "org.freedesktop.DBus.Error.InvalidArgs", "Invalid WantedBy."
    systemd.answers["EnableUnitFiles"] = lambda body: ("error", refusal)
    with pytest.raises(ExecutorError, match=r"could not load a\.service: Invalid WantedBy$"):
        await executor.load("a.service", INSTALLED)
    assert await executor.adopt() == {}
    assert not (tmp_path / "units" / "a.service").exists()
    assert systemd.calls.count("DisableUnitFiles") == 1


async def test_signals_of_anybody_else_are_not_believed(
    daemon: BusDaemon, systemd: FakeSystemd, executor: Systemd
) -> None:
    await running(executor, "a.service")
    async with await open_dbus_connection(daemon.address) as stranger:
        await systemd.changed("a.service", "failed", sender=stranger)
        await systemd.changed("a.service", "inactive")
        with trio.fail_after(10):
            change = await executor.changes().receive()
        assert change is not None
        assert change.active == "inactive"


async def test_when_changes_are_not_taken_one_none_stands_for_the_rest(systemd: FakeSystemd, executor: Systemd) -> None:
    await running(executor, "a.service")
    for i in range(2 * CHANGES):
        await systemd.changed("a.service", "inactive" if i % 2 == 0 else "active")
    await systemd.changed("a.service", "failed")
    heard = 0
    with trio.fail_after(10):
        await executor.properties("a.service")  # its answer comes behind all the signals
        while (await executor.changes().receive()) is not None:
            heard += 1
    assert heard == CHANGES
    assert executor.changes().statistics().current_buffer_used == 0
    await trio.testing.wait_all_tasks_blocked(0.05)
    assert (await executor.adopt())["a.service"].active == "failed"
    await systemd.changed("a.service", "active")
    with trio.fail_after(10):
        change = await executor.changes().receive()
    assert change is not None
    assert change.active == "active"


async def test_a_cancelled_stop_leaves_nothing_waiting(systemd: FakeSystemd, executor: Systemd) -> None:
    await running(executor, "a.service")
    systemd.job_removed = never  # type: ignore[method-assign]
    with trio.move_on_after(0.05) as scope:
        await executor.stop("a.service")
    assert scope.cancelled_caught
    assert executor._jobs == {}
    assert (await executor.adopt())["a.service"].active == "inactive"


async def test_loads_in_any_number_are_one_daemon_reload(systemd: FakeSystemd, executor: Systemd) -> None:
    for i in range(20):
        await executor.load(f"u{i}.service", SLEEPER)
    await executor.settle()
    await executor.settle()
    for i in range(20):
        await executor.load(f"u{i}.service", SLEEPER)  # as it is: nothing to do
    await executor.settle()
    assert systemd.calls.count("Reload") == 1
    assert systemd.calls.count("LinkUnitFiles") == 20
