"""Restart= and its limits, against the table of systemd.service(5)."""

from pathlib import Path

import pytest

from core.agent.supervisor.shim.results import restarts
from tests.supervisor.world import World, world

POLICIES = ("no", "always", "on-success", "on-failure", "on-abnormal", "on-abort", "on-watchdog")
TABLE = {  # exit causes of the manual's table, and the policies under which each restarts
    "success": {"always", "on-success"},
    "exit-code": {"always", "on-failure"},
    "signal": {"always", "on-failure", "on-abnormal", "on-abort"},
    "core-dump": {"always", "on-failure", "on-abnormal", "on-abort"},
    "timeout": {"always", "on-failure", "on-abnormal"},
    "watchdog": {"always", "on-failure", "on-abnormal", "on-watchdog"},
    "exec-condition": set(),
}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("result", TABLE)
def test_the_table_of_the_manual(policy: str, result: str) -> None:
    assert restarts(policy, result) == (policy in TABLE[result])


async def ended(w: World, *lines: str) -> tuple[str, str, int]:
    await w.run("a.service", *lines)
    down = await w.over("a.service")
    return down.active, down.result, down.restarts


async def test_restarting_is_limited(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        lines = ("ExecStart=/bin/sh -c 'echo run; exit 1'", "Restart=always", "RestartSec=10ms", "StartLimitBurst=3")
        active, result, count = await ended(w, *lines)
        assert (active, count) == ("failed", 2)
        assert result.startswith("start-limit-hit")
        assert await w.log("a.service") == ["run"] * 3
        w.forget()
        await w.supervisor.start("a.service")  # somebody asks: the limit begins anew
        assert (await w.over("a.service")).restarts == 2
        assert await w.log("a.service") == ["run"] * 6


async def test_a_clean_end_is_no_failure(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        assert await ended(w, "ExecStart=true", "Restart=on-failure") == ("inactive", "", 0)


async def test_what_counts_as_success(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        lines = ("ExecStart=/bin/sh -c 'exit 75'", "Restart=on-failure", "SuccessExitStatus=TEMPFAIL 250")
        assert await ended(w, *lines) == ("inactive", "", 0)


async def test_what_prevents_a_restart(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        lines = (
            "ExecStart=/bin/sh -c 'kill -QUIT $$$$'",
            "Restart=always",
            "RestartPreventExitStatus=1 SIGQUIT",
            "LimitCORE=0",
        )
        active, result, count = await ended(w, *lines)
        assert (active, count) == ("failed", 0)
        assert result.endswith(" QUIT")


async def test_a_restart_runs_everything_again_and_keeps_count(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.run(
            "a.service",
            "ExecStartPre=echo pre",
            f"WorkingDirectory={tmp_path}",
            "ExecStart=/bin/sh -c 'test -e second && exec sleep 1000; touch second; kill -KILL $$$$'",
            "ExecStopPost=echo post",
            "Restart=on-failure",
            "RestartSec=20ms",
        )
        up = await w.until("a.service", lambda actual: actual.active == "active" and actual.restarts == 1)
        assert up.sub == "running"
        assert await w.log("a.service") == ["pre", "post", "pre"]


async def test_stopping_while_it_waits_for_its_restart(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.run("a.service", "ExecStart=false", "Restart=always", "RestartSec=1000")
        await w.until_sub("a.service", "auto-restart")
        await w.supervisor.stop("a.service")
        assert (await w.supervisor.adopt())["a.service"].active == "inactive"
