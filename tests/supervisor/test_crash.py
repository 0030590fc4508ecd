"""Daemon, shim and host go away at bad times; what runs is found again, what happened meanwhile is known."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio

from core.agent.executor import ExecutorError
from core.agent.supervisor import executor, shims, unit
from core.agent.supervisor.shim import processes
from core.agent.supervisor.shim.main import TAKEN
from core.agent.supervisor.shim.status import Status, read
from core.agent.supervisor.shims import Shim
from tests.supervisor.world import World, alive, no_cgroups, until_file, world

Daemon = Callable[[int, str], None]
UNITS = 50


@pytest.fixture
def killed_daemon(tmp_path: Path) -> Daemon:
    """Runs units from a daemon of its own, which is then killed."""

    def run(count: int, text: str) -> None:
        command = [sys.executable, "-m", "tests.supervisor.daemon", str(tmp_path / "units"), str(count), text]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            try:
                assert process.stdout.readline() == "up\n"
            finally:
                process.kill()

    return run


def page(tmp_path: Path, name: str) -> dict[str, str]:
    said = read(str(tmp_path / "units" / name / "status"))
    assert said is not None
    return said


async def shim_of(w: World, name: str) -> int:
    return int((await w.supervisor.properties(name))["SupervisorPID"])


@pytest.mark.slow
async def test_a_killed_daemon_costs_nothing(tmp_path: Path, killed_daemon: Daemon) -> None:
    killed_daemon(
        UNITS, "[Service]\nExecStart=/bin/sh -c 'echo run; exec sleep 1000'\nRestart=on-failure\nRestartSec=10ms\n"
    )
    names = [f"u{number}.service" for number in range(UNITS)]
    before = {name: int(page(tmp_path, name)["main"]) for name in names}
    assert all(alive(pid) for pid in before.values())
    clean, failed = names[:5], names[5:10]
    for name in clean:
        os.kill(before[name], signal.SIGTERM)
    for name in failed:
        os.kill(before[name], signal.SIGKILL)
    async with world(tmp_path) as w:
        found = await w.supervisor.adopt()
        assert sorted(found) == sorted(names)
        w.told |= {name: [actual] for name, actual in found.items()}  # before what comes while one is waited for
        for name in clean:
            assert (await w.over(name)).active == "inactive"
        for name in failed:
            up = await w.until(name, lambda actual: actual.active == "active" and actual.restarts == 1)
            assert up.pid != before[name]
        for name in names[10:]:
            assert (found[name].active, found[name].pid, found[name].restarts) == ("active", before[name], 0)
            assert await w.log(name) == ["run"]
            await w.supervisor.stop(name)
            assert not alive(before[name])


async def test_an_end_nobody_saw_is_known_with_its_status(tmp_path: Path, killed_daemon: Daemon) -> None:
    text = f"[Service]\nExecStart=/bin/sh -c 'until test -e {tmp_path}/go; do sleep 0.01; done; exit 42'\n"
    killed_daemon(1, text)
    (tmp_path / "go").touch()
    shim = Shim.find(tmp_path / "units" / "u0.service")
    if shim is not None:
        await shim.ended()
        shim.close()
    async with world(tmp_path) as w:
        found = (await w.supervisor.adopt())["u0.service"]
        assert (found.active, found.result) == ("failed", "exit-code 42")


@pytest.mark.parametrize("cgroups", [True, False])
async def test_a_killed_shim_takes_all_with_it(tmp_path: Path, cgroups: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not cgroups:
        no_cgroups(monkeypatch)
    other = tmp_path / "other"
    async with world(tmp_path) as w:
        await w.run("a.service", f"ExecStart=/bin/sh -c 'setsid sleep 1000 & echo $! >{other}; exec sleep 1000'")
        up = await w.until_sub("a.service", "running")
        pid = int(await until_file(other))
        os.kill(await shim_of(w, "a.service"), signal.SIGKILL)
        down = await w.until("a.service", lambda actual: actual.active == "failed")
        assert down.result.startswith("supervisor: ")
        assert not alive(up.pid)
        assert not alive(pid)
        w.forget()
        await w.supervisor.start("a.service")
        assert (await w.until_sub("a.service", "running")).pid != up.pid


async def test_daemon_and_shim_killed_together(tmp_path: Path, killed_daemon: Daemon) -> None:
    killed_daemon(
        1, f"[Service]\nExecStart=/bin/sh -c 'setsid sleep 1000 & echo $! >{tmp_path}/other; exec sleep 1000'\n"
    )
    other = int(await until_file(tmp_path / "other"))
    os.kill(int(page(tmp_path, "u0.service")["pid"]), signal.SIGKILL)
    async with world(tmp_path) as w:
        await w.supervisor.adopt()
        down = await w.until("u0.service", lambda actual: actual.active == "failed")
        assert down.result.startswith("supervisor: ")
        assert not alive(other)


async def test_a_hung_shim_is_killed_when_its_unit_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit, "SPARE", 0.2)
    async with world(tmp_path) as w:
        await w.run("a.service", "ExecStart=sleep 1000", "TimeoutStopSec=10ms")
        up = await w.until_sub("a.service", "running")
        os.kill(await shim_of(w, "a.service"), signal.SIGSTOP)
        await w.supervisor.stop("a.service")
        assert not alive(up.pid)


@pytest.fixture
def stranger() -> Iterator[int]:
    """A process that is not ours."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process.pid
        assert process.poll() is None
        process.kill()


async def test_a_pid_used_again_deceives_nobody(tmp_path: Path, stranger: int) -> None:
    """The page names a process that lives, and is another one."""
    place = tmp_path / "units/a.service"
    async with world(tmp_path, keep=True) as w:
        await w.load("a.service", "ExecStart=sleep 1000")
    started = processes.started(stranger)
    status = Status(str(place / "status"), str(tmp_path / "units/events"), "a.service")
    said = {"boot": processes.boot(), "pid": str(stranger), "active": "active", "sub": "running", "start": started}
    status.write(**said)
    shim = Shim.find(place)
    assert shim is not None
    shim.close()
    for key, value in (("start", str(int(started) - 1)), ("boot", "another"), ("pid", "4999999")):
        status.write(**{**said, key: value})
        assert Shim.find(place) is None
    async with world(tmp_path) as w:
        await w.supervisor.adopt()
        assert (await w.until("a.service", lambda actual: actual.active == "failed")).pid == 0
    status.close()


async def test_there_are_never_two_shims(tmp_path: Path) -> None:
    async with world(tmp_path, keep=True) as w:
        await w.run("a.service", "ExecStart=sleep 1000")
        up = await w.until_sub("a.service", "running")
        second = Shim.start(tmp_path / "units/a.service")
        await second.ended()
        second.close()
        assert second.exit_code == TAKEN
        assert (await w.supervisor.adopt())["a.service"].pid == up.pid
    async with world(tmp_path) as w:  # a daemon that does not know of the shim yet, and asks for a start
        await w.run("a.service", "ExecStart=sleep 1000")
        assert (await w.supervisor.adopt())["a.service"].pid == up.pid
        await w.supervisor.stop("a.service")
        assert not alive(up.pid)


async def test_a_shim_that_cannot_begin_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shims, "ROOT", "/no/such/place")
    async with world(tmp_path) as w:
        await w.load("a.service", "ExecStart=sleep 1000")
        with pytest.raises(ExecutorError, match="No module named 'core'"):
            await w.supervisor.start("a.service")
        with contextlib.suppress(ExecutorError):
            await w.supervisor.stop("a.service")


async def test_pages_that_are_no_pages(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.load("a.service", "ExecStart=sleep 1000")
        for nonsense in (b"", b"\0" * 4096, b"garbage\n" * 512, b"00000000 99999\nx"):
            (tmp_path / "units/a.service/status").write_bytes(nonsense)
            assert (await w.supervisor.adopt())["a.service"].active == "inactive"
        await w.supervisor.start("a.service")
        await w.until_sub("a.service", "running")


async def test_a_page_the_disk_does_not_take_is_written_when_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = Status(str(tmp_path / "status"), str(tmp_path / "events"), "a.service")
    status.write(active="active")

    def refuse(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(os, "pwrite", refuse)
        status.write(active="failed")
        assert (status.stale, status.unsaid) == (True, True)
        status.ring()
        assert (status.stale, status.unsaid) == (True, True)
    assert read(str(tmp_path / "status")) == {"active": "active"}
    status.ring()
    assert (status.stale, status.unsaid) == (False, False)
    assert read(str(tmp_path / "status")) == {"active": "failed"}
    status.close()


async def test_changes_that_nobody_takes_end_in_a_request_to_list_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = 8
    monkeypatch.setattr(executor, "CHANGES", room)
    async with world(tmp_path) as w:
        for number in range(room + 10):
            await w.load(f"{number}.service", "ExecStart=true")
        told = []
        with contextlib.suppress(trio.WouldBlock):
            while True:
                told.append(w.supervisor.changes().receive_nowait())
        assert len(told) == room + 1
        assert told[-1] is None
        assert len(await w.supervisor.adopt()) == room + 10
        await w.load("again.service", "ExecStart=true")
        assert w.supervisor.changes().receive_nowait() is not None
