"""Health checks by commands: as whom, where and with what they run, and that nothing of them is left."""

import os
import pwd
import time
from pathlib import Path

import pytest
import trio

from core.agent.executor import ExecutorError
from tests.supervisor.world import ROOT, World, alive, no_cgroups, until_file, world

NOBODY = pwd.getpwnam("nobody")
SLEEP = "ExecStart=/bin/sleep 600"
SH = "/bin/sh"


async def check(units: World, script: str, seconds: float = 20.0) -> str:
    return await units.supervisor.check("a.service", (SH, "-c", script), seconds)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("true", ""),
        ("echo fine; true", ""),
        ("exit 3", "/bin/sh: exit status 3"),
        ("echo first; echo 'no connection' >&2; exit 3", "/bin/sh: exit status 3: no connection"),
        ("kill -9 $$", "/bin/sh: ended by signal 9"),
        ("printf 'a\\033[2Jb\\n'; exit 1", "/bin/sh: exit status 1: a[2Jb"),
    ],
)
async def test_why_a_check_fails(tmp_path: Path, script: str, why: str) -> None:
    async with world(tmp_path) as units:
        await units.run("a.service", SLEEP)
        await units.until_sub("a.service", "running")
        assert await check(units, script) == why


async def test_a_command_that_is_none_and_a_unit_that_is_none(tmp_path: Path) -> None:
    async with world(tmp_path) as units:
        await units.run("a.service", SLEEP)
        assert "No such file" in await units.supervisor.check("a.service", ("/nowhere/at/all",), 20)
        with pytest.raises(ExecutorError, match="could not check b"):
            await units.supervisor.check("b.service", ("/bin/true",), 20)


@ROOT
async def test_a_check_is_what_the_units_own_programs_are(tmp_path: Path) -> None:
    files = tmp_path / "variables"
    files.write_text("FROM_FILE='a b'\n")
    own_directory = f"corenode-check-{os.getpid()}"
    out = trio.Path("/run", own_directory, "out")
    words = (
        *("User=nobody", "Group=daemon", "WorkingDirectory=/usr/share", "UMask=0077", "LimitNOFILE=123:456", "Nice=5"),
        *(
            "Environment=FROM_UNIT=1",
            f"EnvironmentFile={files}",
            "NoNewPrivileges=yes",
            "Type=exec",
            f"RuntimeDirectory={own_directory}",
        ),
        *("StandardOutput=truncate:/dev/null", SLEEP),
    )
    async with world(tmp_path) as units:
        await units.run("a.service", *words)
        actual = await units.until_sub("a.service", "running")
        show = "id -un; id -gn; pwd; umask; ulimit -Sn; ulimit -Hn; nice; env; grep NoNewPrivs /proc/self/status; "
        assert await check(units, f"({show} cat /proc/self/cgroup; readlink /proc/self/fd/0) > {out}") == ""
        own = (await trio.Path(f"/proc/{actual.pid}/cgroup").read_text()).splitlines()
        invocation = (await units.supervisor.properties("a.service"))["InvocationID"]
        found = (await out.read_text()).splitlines()
    assert found[:7] == ["nobody", "daemon", "/usr/share", "0077", "123", "456", "5"]
    for line in (
        *("FROM_UNIT=1", "FROM_FILE=a b", f"MAINPID={actual.pid}", f"INVOCATION_ID={invocation}", "USER=nobody"),
        *(f"HOME={NOBODY.pw_dir}", f"RUNTIME_DIRECTORY=/run/{own_directory}", "NoNewPrivs:\t1", "/dev/null", *own),
    ):
        assert line in found
    assert not [line for line in found if line.startswith(("XDG_", "PYTHON", "VIRTUAL_ENV"))]


@ROOT
async def test_a_user_that_is_none_fails_the_check_alone(tmp_path: Path) -> None:
    async with world(tmp_path) as units:
        await units.run("a.service", SLEEP)
        await units.until_sub("a.service", "running")
        await units.load("a.service", "User=nobody-at-all", SLEEP)  # holds from the next start on
        assert "217/USER" in await check(units, "true")


@pytest.mark.parametrize("with_cgroups", [True, False])
async def test_what_a_check_leaves_is_killed_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_cgroups: bool
) -> None:
    if not with_cgroups:
        no_cgroups(monkeypatch)
    pids = tmp_path / "pids"
    escape = f"setsid sh -c 'setsid sleep 500 & echo $! >> {pids}; echo $$ >> {pids}; exec sleep 501' & "
    waits = f"while [ ! -e {pids} ] || [ $(wc -l < {pids}) -lt 2 ]; do sleep 0.01; done; "
    async with world(tmp_path) as units:
        await units.run("a.service", SLEEP)
        main = (await units.until_sub("a.service", "running")).pid
        assert await check(units, escape + waits) == ""
        assert "no answer within 0.3 s" in await check(units, escape + "trap '' TERM; while :; do sleep 1; done", 0.3)
        found = [int(line) for line in pids.read_text().split()]
        assert len(found) >= 2
        assert not [pid for pid in found if alive(pid)]
        assert alive(main)


async def test_a_check_that_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    async with world(tmp_path) as units:
        await units.run("a.service", SLEEP)
        await units.until_sub("a.service", "running")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(check, units, f"echo $$ > {pid}.part; mv {pid}.part {pid}; exec sleep 500", 400.0)
            found = int(await until_file(pid))
            assert alive(found)
            nursery.cancel_scope.cancel()
        assert not alive(found)


async def test_output_without_end_is_not_kept(tmp_path: Path) -> None:
    async with world(tmp_path) as units:
        await units.run("a.service", SLEEP)
        await units.until_sub("a.service", "running")
        began = time.monotonic()
        why = await check(units, "exec yes 'not well' 2>&1", 20)
        assert time.monotonic() - began < 15
        assert len(why) < 300
        assert why
        assert len(await check(units, "head -c 100000 /dev/zero | tr '\\0' x; exit 1")) < 300


async def test_a_stop_of_the_unit_ends_its_checks(tmp_path: Path) -> None:
    """Where there are cgroups; without them the agent gives the check up."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    async with world(tmp_path) as units:
        await units.run("a.service", SLEEP)
        await units.until_sub("a.service", "running")
        ended: list[str] = []

        async def run() -> None:
            ended.append(await check(units, f"touch {tmp_path}/begun; exec sleep 500", 100))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            with trio.fail_after(30):
                while not (tmp_path / "begun").exists():  # noqa: ASYNC110 - another process writes it
                    await trio.sleep(0.01)
                await units.supervisor.stop("a.service")
                while not ended:  # noqa: ASYNC110
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    assert "signal" in ended[0] or "exit status" in ended[0]
