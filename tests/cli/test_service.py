"""What systemd hears, over a real datagram socket; and what it says to the unit file."""

import math
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from core.service import Notifier
from tests.cli.logged import first_record

UNIT = Path(__file__).parents[2] / "ops" / "corenode.service"


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        if request.param == "path":
            heard.bind(str(tmp_path / "notify"))
            address = str(tmp_path / "notify")
        else:
            heard.bind("")  # the kernel chooses a free abstract address
            address = "@" + heard.getsockname()[1:].decode()
        heard.settimeout(5)
        yield heard, address


def test_what_is_said(manager: tuple[socket.socket, str]) -> None:
    heard, address = manager
    environ = {"NOTIFY_SOCKET": address, "HOME": "/"}
    notifier = Notifier(environ)
    assert environ == {"HOME": "/"}, "a child could speak for us"
    notifier.ready("serving")
    assert heard.recv(999) == f"READY=1\nSTATUS=serving\nMAINPID={os.getpid()}".encode()
    notifier.reloading()
    first, second, _ = heard.recv(999).split(b"\n")
    assert first == b"RELOADING=1"
    name, _, value = second.partition(b"=")
    assert name == b"MONOTONIC_USEC"
    assert abs(int(value) / 1e6 - time.clock_gettime(time.CLOCK_MONOTONIC)) < 5
    notifier.stopping()
    assert heard.recv(999).startswith(b"STOPPING=1")
    notifier.close()


async def test_signs_of_life(manager: tuple[socket.socket, str]) -> None:
    heard, address = manager
    environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "40000", "WATCHDOG_PID": str(os.getpid())}
    notifier = Notifier(environ)
    assert notifier.watchdog_seconds == 0.04
    alive = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(notifier.feed_watchdog, lambda: alive)
        for _ in range(3):
            assert await trio.to_thread.run_sync(heard.recv, 999) == b"WATCHDOG=1"
        with first_record("core.service") as first, trio.fail_after(5):
            alive = False
            await first.made.wait()
        assert first.fields["cause"] == "watchdog"
        nursery.cancel_scope.cancel()
    notifier.close()


@pytest.mark.parametrize(
    "environ",
    [{}, {"WATCHDOG_USEC": "1000"}, {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}],
)
async def test_nobody_asks_for_signs_of_life(environ: dict[str, str]) -> None:
    notifier = Notifier(environ)
    assert math.isinf(notifier.watchdog_seconds)
    with trio.fail_after(5):
        await notifier.feed_watchdog()


def test_without_systemd_nothing_is_said() -> None:
    Notifier({}).ready("serving")


def test_a_deaf_manager_is_logged_not_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    notifier.ready("serving")
    notifier.close()
    [record] = caplog.records
    assert record.__dict__["why"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    text = UNIT.read_text()
    assert "/usr/local/bin/corenode" in text
    unit = tmp_path / "corenode.service"  # verify looks for the program as well
    unit.write_text(text.replace("/usr/local/bin/corenode", "/bin/true"))
    verify = ["systemd-analyze", "verify", "--man=no", str(unit)]
    done = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
