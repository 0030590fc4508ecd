"""Type= and what each calls started."""

from pathlib import Path

import pytest

from core.agent.executor import ExecutorError
from tests.supervisor.world import alive, until_file, world

NOTIFY = """
import os, socket, sys, time
def tell(text):
    address = os.environ["NOTIFY_SOCKET"].replace("@", "\\0", 1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.sendto(text.encode(), address)
"""


def script(directory: Path, text: str) -> str:
    path = directory / "script.py"
    path.write_text(NOTIFY + text)
    return f"/usr/bin/env python3 -I {path}"


async def test_simple_runs_at_once_and_is_stopped(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.run("a.service", "ExecStart=sleep 1000")
        up = await w.until_sub("a.service", "running")
        assert up.active == "active"
        assert alive(up.pid)
        await w.supervisor.start("a.service")  # asking for what is so does nothing
        assert (await w.supervisor.adopt())["a.service"].pid == up.pid
        await w.supervisor.stop("a.service")
        down = (await w.supervisor.adopt())["a.service"]
        assert (down.active, down.sub, down.result, down.pid) == ("inactive", "dead", "", 0)
        assert not alive(up.pid)


async def test_oneshot_runs_its_commands_in_order_and_is_then_inactive(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.run(
            "a.service",
            "Type=oneshot",
            "ExecStartPre=echo before",
            "ExecStart=echo one ; echo two",
            "ExecStart=-false",
            "ExecStart=echo three",
            "ExecStartPost=echo after",
            "ExecStop=echo stop",
            "ExecStopPost=echo last",
        )
        assert (await w.over("a.service")).active == "inactive"
        assert await w.log("a.service") == ["before", "one", "two", "three", "after", "stop", "last"]
        assert not any(actual.active == "active" for actual in w.told["a.service"])


async def test_oneshot_stops_at_the_first_failure(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.run(
            "a.service", "Type=oneshot", "ExecStart=false", "ExecStart=echo no", "ExecStopPost=echo $SERVICE_RESULT"
        )
        down = await w.over("a.service")
        assert (down.active, down.result) == ("failed", "exit-code 1")
        assert await w.log("a.service") == ["exit-code"]


async def test_remain_after_exit(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.run("a.service", "Type=oneshot", "RemainAfterExit=yes", "ExecStart=echo up", "ExecStop=echo down")
        assert (await w.until_sub("a.service", "exited")).active == "active"
        await w.supervisor.stop("a.service")
        assert (await w.supervisor.adopt())["a.service"].active == "inactive"
        assert await w.log("a.service") == ["up", "down"]


async def test_exec_is_started_when_the_program_runs_and_not_when_there_is_none(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.run("a.service", "Type=exec", "ExecStart=/usr/bin/sleep 1000")
        await w.until_sub("a.service", "running")
        await w.run("b.service", "Type=exec", "ExecStart=/no/such/program", "ExecStartPost=echo no")
        down = await w.over("b.service")
        assert down.result == "exit-code 203/EXEC: /no/such/program: No such file or directory"
        assert await w.log("b.service") == []
        assert not any(actual.active == "active" for actual in w.told["b.service"])


async def test_forking_with_a_pid_file_follows_the_process_it_names(tmp_path: Path) -> None:
    pids = tmp_path / "pid"
    async with world(tmp_path) as w:
        await w.run(
            "a.service",
            "Type=forking",
            f"PIDFile={pids}",
            f"ExecStart=/bin/sh -c 'sleep 999 & (exec setsid sleep 1000) & echo $! >{pids}'",
        )
        up = await w.until_sub("a.service", "running")
        assert up.pid == int(pids.read_text())
        await w.supervisor.stop("a.service")
        assert not alive(up.pid)
        assert not pids.exists()


async def test_forking_without_a_pid_file_follows_the_one_process_left(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.run("a.service", "Type=forking", "ExecStart=/bin/sh -c 'setsid sh -c \"sleep 0.3; exit 7\" & exit 0'")
        up = await w.until_sub("a.service", "running")
        assert up.pid
        assert (await w.over("a.service")).result == "exit-code 7"


async def test_forking_whose_pid_file_names_a_stranger_fails(tmp_path: Path) -> None:
    (tmp_path / "pid").write_text("1")
    async with world(tmp_path) as w:
        await w.run("a.service", "Type=forking", f"PIDFile={tmp_path}/pid", "ExecStart=true")
        assert (await w.over("a.service")).result.startswith("protocol: ")


async def test_notify_is_started_when_it_says_so(tmp_path: Path) -> None:
    go = tmp_path / "go"
    text = f"""
print(os.environ["NOTIFY_SOCKET"][0], flush=True)
while not os.path.exists("{go}"): time.sleep(0.01)
tell("READY=1\\nSTATUS=all well")
time.sleep(1000)
"""
    async with world(tmp_path) as w:
        await w.run("a.service", "Type=notify", f"ExecStart={script(tmp_path, text)}", "ExecStartPost=echo post")
        waiting = await w.until("a.service", lambda actual: actual.pid > 0)
        assert waiting.active == "activating"
        go.touch()
        await w.until_sub("a.service", "running")
        assert (await w.supervisor.properties("a.service"))["StatusText"] == "all well"
        assert await w.log("a.service") == ["@", "post"]


async def test_notify_that_ends_before_it_is_ready_has_broken_the_protocol(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.run("a.service", "Type=notify", "ExecStart=true")
        assert (await w.over("a.service")).result.startswith("protocol")


async def test_notify_from_another_process_counts_only_if_access_is_given(tmp_path: Path) -> None:
    text = """
if os.fork() == 0: tell("READY=1"); time.sleep(1000)
time.sleep(1000)
"""
    async with world(tmp_path) as w:
        command = f"ExecStart={script(tmp_path, text)}"
        await w.run("a.service", "Type=notify", command, "TimeoutStartSec=1")
        assert (await w.over("a.service")).result.startswith("timeout")
        await w.run("b.service", "Type=notify", command, "NotifyAccess=all")
        await w.until_sub("b.service", "running")


async def test_notify_may_name_another_main_process(tmp_path: Path) -> None:
    text = f"""
child = os.fork()
if child == 0:
    open("{tmp_path}/child", "w").write(str(os.getpid())); time.sleep(1000)
tell(f"READY=1\\nMAINPID={{child}}")
while True: time.sleep(1)
"""
    async with world(tmp_path) as w:
        await w.run("a.service", "Type=notify", f"ExecStart={script(tmp_path, text)}")
        up = await w.until_sub("a.service", "running")
        assert str(up.pid) == await until_file(tmp_path / "child")


async def test_a_watchdog_that_hears_nothing_aborts(tmp_path: Path) -> None:
    text = """
tell("READY=1")
for _ in range(3): time.sleep(0.2); tell("WATCHDOG=1")
print(os.environ["WATCHDOG_USEC"], flush=True)
time.sleep(1000)
"""
    async with world(tmp_path) as w:
        await w.run(
            "a.service", "Type=notify", "WatchdogSec=500ms", "LimitCORE=0", f"ExecStart={script(tmp_path, text)}"
        )
        down = await w.over("a.service")
        assert down.result.startswith("watchdog")
        assert await w.log("a.service") == ["500000"]
        assert (await w.supervisor.properties("a.service"))["ExecMainStatus"] == "signal ABRT"


async def test_a_start_that_takes_too_long_fails_and_is_killed(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.run("a.service", "Type=oneshot", "TimeoutStartSec=200ms", "ExecStart=sleep 1000")
        down = await w.over("a.service")
        assert (down.active, down.pid) == ("failed", 0)
        assert down.result.startswith("timeout")


async def test_stopping_while_it_starts(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.run("a.service", "ExecStartPre=sleep 1000", "ExecStart=echo no", "ExecStop=echo no")
        await w.until_sub("a.service", "start-pre")
        await w.supervisor.stop("a.service")
        assert (await w.supervisor.adopt())["a.service"].active == "inactive"
        assert await w.log("a.service") == []


async def test_a_condition_that_says_no_is_no_failure(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.run("a.service", "ExecCondition=false", "ExecStart=echo no", "Restart=always")
        down = await w.over("a.service")
        assert (down.active, await w.log("a.service")) == ("inactive", [])


async def test_reload(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.run(
            "a.service",
            "ExecStart=/bin/sh -c 'trap \"echo again\" HUP; echo up; while :; do sleep 0.05; done'",
            "ExecReload=/bin/kill -HUP $MAINPID",
            "ExecReload=test ${MAINPID} -gt 1",
        )
        await w.until_sub("a.service", "running")
        await w.until_log("a.service", lambda lines: lines == ["up"])
        await w.supervisor.reload("a.service")
        await w.until_sub("a.service", "reload")
        await w.until_log("a.service", lambda lines: lines == ["up", "again"])
        await w.run("b.service", "ExecStart=sleep 1000", "ExecReload=false")
        await w.until_sub("b.service", "running")
        with pytest.raises(ExecutorError, match="exit-code 1"):
            await w.supervisor.reload("b.service")
        assert (await w.supervisor.adopt())["b.service"].active == "active"
        await w.run("c.service", "ExecStart=sleep 1000")
        with pytest.raises(ExecutorError, match="no ExecReload"):
            await w.supervisor.reload("c.service")


async def test_targets_are_what_was_asked_of_them(tmp_path: Path) -> None:
    async with world(tmp_path, keep=True) as w:
        await w.supervisor.load("a.target", b"[Unit]\nDescription=x\n")
        assert (await w.supervisor.adopt())["a.target"].active == "inactive"
        await w.supervisor.start("a.target")
        assert (await w.supervisor.adopt())["a.target"].active == "active"
    async with world(tmp_path) as w:
        assert (await w.supervisor.adopt())["a.target"].active == "active"
        await w.supervisor.stop("a.target")
        assert (await w.supervisor.adopt())["a.target"].active == "inactive"


async def test_new_text_holds_from_the_next_start_on(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.run("a.service", "ExecStart=/bin/sh -c 'echo old; exec sleep 1000'")
        old = await w.until_sub("a.service", "running")
        await w.load("a.service", "ExecStart=/bin/sh -c 'echo new; exec sleep 1000'")
        now = (await w.supervisor.adopt())["a.service"]
        assert now.pid == old.pid
        assert now.text != old.text
        await w.until_log("a.service", lambda lines: lines == ["old"])
        await w.supervisor.stop("a.service")
        await w.supervisor.start("a.service")
        await w.until_log("a.service", lambda lines: lines == ["old", "new"])
