"""What a unit points its supervising process at, or tells it, to make that wait for ever or end."""

import os
from pathlib import Path

import pytest
import trio

from core.agent.supervisor.shim.places import read_regular
from tests.supervisor.world import world

NOTIFY = """exec python3 -c '
import os, socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
to = os.environ["NOTIFY_SOCKET"].replace("@", chr(0), 1)
for text in ("EXTEND_TIMEOUT_USEC=" + "9" * 4000, "EXTEND_TIMEOUT_USEC=" + "9" * 19, "READY=1"):
    s.sendto(text.encode(), to)
import time; time.sleep(60)'"""


@pytest.mark.parametrize("kind", ["fifo", "device", "large"])
async def test_a_file_of_variables_that_is_none_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "variables"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    else:
        path.write_bytes(b"A=" + b"x" * (1 << 20))
    async with world(tmp_path) as units:
        with trio.fail_after(10):
            await units.run("a.service", f"EnvironmentFile={path}", "ExecStart=/bin/true")
            found = await units.until("a.service", lambda actual: actual.active == "failed")
    assert str(path) in found.result


async def test_a_pid_file_that_is_a_fifo_holds_up_nothing(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    os.mkfifo(path)
    async with world(tmp_path) as units:
        with trio.fail_after(20):
            lines = ("Type=forking", f"PIDFile={path}", "TimeoutStartSec=1", "ExecStart=/bin/sh -c 'sleep 60 &'")
            await units.run("a.service", *lines)
            found = await units.until("a.service", lambda actual: actual.active == "failed")
    assert "names no process" in found.result


async def test_a_huge_extension_of_the_start_timeout_ends_nothing(tmp_path: Path) -> None:
    script = tmp_path / "run"
    script.write_text(f"#!/bin/sh\n{NOTIFY}\n")
    script.chmod(0o755)
    async with world(tmp_path) as units:
        with trio.fail_after(20):
            await units.run("a.service", "Type=notify", "NotifyAccess=all", f"ExecStart={script}")
            found = await units.until("a.service", lambda actual: actual.active in ("active", "failed"))
            assert found.active == "active", found


def test_only_regular_files_of_some_size_are_read(tmp_path: Path) -> None:
    good = tmp_path / "good"
    good.write_text("abc")
    assert read_regular(str(good), 3) == b"abc"
    for bad, most in ((good, 2), (tmp_path, 9), (Path("/dev/zero"), 9), (tmp_path / "none", 9)):
        with pytest.raises(OSError, match=r"regular|more than|No such"):
            read_regular(str(bad), most)
