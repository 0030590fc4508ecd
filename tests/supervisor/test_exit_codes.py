"""What a process that does not come to its own program ends with: the table of systemd.exec(5)."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.supervisor.world import ROOT, world

CASES = [
    ("ExecStart=/no/such/program", "203/EXEC: /no/such/program: No such file or directory"),
    ("ExecStart=no-such-program-anywhere", "203/EXEC: no-such-program-anywhere: No such file or directory"),
    ("ExecStart=/etc/passwd", "203/EXEC: /etc/passwd: Permission denied"),
    ("ExecStart=true\nUser=nobody-of-that-name", "217/USER: there is no user 'nobody-of-that-name' on this host"),
    (
        "ExecStart=true\nGroup=no-group-of-that-name",
        "216/GROUP: there is no group 'no-group-of-that-name' on this host",
    ),
    ("ExecStart=true\nSupplementaryGroups=no-such-one", "216/GROUP: SupplementaryGroups=: "),
    ("ExecStart=true\nWorkingDirectory=/no/such/place", "200/CHDIR: /no/such/place: No such file or directory"),
    ("ExecStart=true\nStandardOutput=append:/no/such/place/log", "209/STDOUT: /no/such/place/log"),
    ("ExecStart=true\nStandardError=file:/no/such/place/log", "222/STDERR: /no/such/place/log"),
    ("ExecStart=true\nLimitNOFILE=2000:1000", "205/LIMITS: LimitNOFILE=: "),
]


@ROOT
@pytest.mark.parametrize(("lines", "ended"), CASES)
async def test_a_step_that_fails_has_systemds_exit_code(lines: str, ended: str, tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.run("a.service", lines)
        down = await w.over("a.service")
        assert down.active == "failed"
        assert down.result.startswith("exit-code " + ended)


@pytest.fixture
def blocking() -> Iterator[Path]:
    """A file where a directory is wanted."""
    path = Path(f"/run/corenode-test-{os.getpid()}")
    path.touch()
    yield path
    path.unlink()


@ROOT
async def test_a_runtime_directory_that_cannot_be(tmp_path: Path, blocking: Path) -> None:
    async with world(tmp_path) as w:
        await w.run("a.service", "ExecStart=true", f"RuntimeDirectory={blocking.name}/below")
        down = await w.over("a.service")
        assert down.result.startswith(f"exit-code 233/RUNTIME_DIRECTORY: {blocking}")


async def test_an_environment_file_that_is_missing_lets_nothing_start(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.run("a.service", "ExecStart=echo no", "EnvironmentFile=/no/such/file", "Restart=no")
        down = await w.over("a.service")
        assert down.result == "resources: EnvironmentFile=/no/such/file: No such file or directory"
        await w.run("b.service", "Type=oneshot", "ExecStart=echo yes", "EnvironmentFile=-/no/such/file")
        assert (await w.over("b.service")).active == "inactive"
        assert await w.log("b.service") == ["yes"]


async def test_a_working_directory_with_a_dash_may_be_missing(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.run("a.service", "Type=oneshot", "ExecStart=pwd", "WorkingDirectory=-/no/such/place")
        await w.over("a.service")
        assert await w.log("a.service") == ["/"]
