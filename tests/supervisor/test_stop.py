"""Stopping: KillMode=, signals, timeouts, and processes that do not want to go."""

import os
import signal
from pathlib import Path

import pytest
import trio

from tests.supervisor.world import World, alive, no_cgroups, until_file, world

STUBBORN = "ExecStart=/bin/sh -c 'trap \"\" TERM; echo up; while :; do sleep 0.05; done'"


@pytest.fixture(params=["cgroups", "no-cgroups"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what the host gives, and without."""
    if request.param == "no-cgroups":
        no_cgroups(monkeypatch)


async def kill(pid: int) -> None:
    """Kill what a unit was to leave behind, and wait until it is gone."""
    pidfd = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    await trio.lowlevel.wait_readable(pidfd)
    os.close(pidfd)


async def down(w: World, name: str) -> tuple[str, str]:
    actual = (await w.supervisor.adopt())[name]
    return actual.active, actual.result


@pytest.mark.usefixtures("either")
async def test_what_ignores_sigterm_is_killed_after_its_timeout(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.run("a.service", STUBBORN, "TimeoutStopSec=300ms", "Restart=always")
        up = await w.until_sub("a.service", "running")
        await w.until_log("a.service", lambda lines: lines == ["up"])
        before = trio.current_time()
        await w.supervisor.stop("a.service")
        assert trio.current_time() - before >= 0.3
        assert not alive(up.pid)
        assert await down(w, "a.service") == ("failed", "timeout: it did not stop in its time")


@pytest.mark.usefixtures("either")
async def test_what_forks_twice_into_its_own_session_is_stopped_with_the_rest(tmp_path: Path) -> None:
    escaped = tmp_path / "escaped"
    async with world(tmp_path) as w:
        start = (
            f"ExecStart=/bin/sh -c '(setsid sh -c \"setsid sleep 1000 & echo \\\\$! >{escaped}\" &); exec sleep 1000'"
        )
        await w.run("a.service", start)
        pid = int(await until_file(escaped))
        assert alive(pid)
        await w.supervisor.stop("a.service")
        assert not alive(pid)
        assert await down(w, "a.service") == ("inactive", "")


@pytest.mark.usefixtures("either")
async def test_what_forks_all_the_time_is_stopped(tmp_path: Path) -> None:
    bomb = "import os, signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True:\n if os.fork(): os._exit(0)\n"
    (tmp_path / "bomb.py").write_text(bomb)
    async with world(tmp_path) as w:
        await w.run(
            "a.service",
            "Type=forking",
            "GuessMainPID=no",
            f"ExecStart=/usr/bin/env python3 -I {tmp_path}/bomb.py",
            "TimeoutStopSec=5",
            "Nice=19",
        )
        await w.until_sub("a.service", "running")
        with trio.fail_after(40):
            await w.supervisor.stop("a.service")
        assert await down(w, "a.service") == ("failed", "timeout: it did not stop in its time")


async def test_mixed_asks_the_main_process_and_kills_the_others(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.run(
            "a.service",
            "KillMode=mixed",
            "TimeoutStopSec=20",
            'ExecStart=/bin/sh -c \'(trap "echo asked" TERM; while :; do sleep 0.05; done) &'
            ' trap "echo main; exit" TERM; echo up; while :; do sleep 0.05; done\'',
        )
        await w.until_log("a.service", lambda lines: lines == ["up"])
        before = trio.current_time()
        await w.supervisor.stop("a.service")
        assert trio.current_time() - before < 10
        written = await w.log("a.service")
        assert "main" in written
        assert "asked" not in written
        assert await down(w, "a.service") == ("inactive", "")


async def test_process_leaves_the_others_alone(tmp_path: Path) -> None:
    other = tmp_path / "other"
    async with world(tmp_path) as w:
        await w.run(
            "a.service", "KillMode=process", f"ExecStart=/bin/sh -c 'sleep 7 & echo $! >{other}; exec sleep 1000'"
        )
        pid = int(await until_file(other))
        await w.supervisor.stop("a.service")
        assert alive(pid)
        assert await down(w, "a.service") == ("inactive", "")
        await kill(pid)


async def test_commands_to_stop_know_of_the_main_process(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.run(
            "a.service",
            "ExecStart=/bin/sh -c 'trap \"exit 3\" USR1; echo up; while :; do sleep 0.05; done'",
            "ExecStop=/bin/sh -c 'kill -USR1 $MAINPID; while kill -0 $MAINPID; do sleep 0.01; done 2>/dev/null'",
            "ExecStopPost=/bin/echo ${SERVICE_RESULT} ${EXIT_CODE} ${EXIT_STATUS}",
            "SuccessExitStatus=4",
        )
        await w.until_log("a.service", lambda lines: lines == ["up"])
        await w.supervisor.stop("a.service")
        assert (await w.log("a.service"))[-1] == "exit-code exited 3"
        assert await down(w, "a.service") == ("failed", "exit-code 3")


async def test_the_signal_is_the_units_choice_and_its_status_may_be_success(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.run("a.service", "KillSignal=SIGUSR1", "SuccessExitStatus=SIGUSR1", "ExecStart=sleep 1000")
        await w.until_sub("a.service", "running")
        await w.supervisor.stop("a.service")
        assert await down(w, "a.service") == ("inactive", "")


async def test_a_unit_that_must_not_be_killed_is_left_after_its_timeout(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.run("a.service", "SendSIGKILL=no", "TimeoutStopSec=200ms", "KillMode=process", STUBBORN)
        up = await w.until_sub("a.service", "running")
        await w.until_log("a.service", lambda lines: lines == ["up"])
        await w.supervisor.stop("a.service")
        assert await down(w, "a.service") == ("failed", "timeout: it did not stop in its time")
        assert alive(up.pid)
        await kill(up.pid)


async def test_what_is_down_can_be_stopped_and_what_is_not_there_can_be_unloaded(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.load("a.service", "ExecStart=sleep 1")
        await w.supervisor.stop("a.service")
        await w.supervisor.unload("a.service")
        await w.supervisor.unload("a.service")
        assert await w.supervisor.adopt() == {}
