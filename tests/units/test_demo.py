"""The first session with units, as README has it: three hosts, a unit, its host killed, the unit elsewhere."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.cli.programs import Host
from tests.whole.servers import NO_UNITS

pytestmark = pytest.mark.slow
HELLO = (
    b"[Unit]\nDescription=Says hello\n\n[Service]\nExecStart=/bin/sh -c 'while true; do echo hello; sleep 1; done'\n"
)
PATIENCE = 90.0


class Demo:
    """A running demo, and the verbs that its user types."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.host = Host(home)
        for setting in NO_UNITS:
            self.host.environment.pop(setting, None)
        self.process = self.host.start("demo")

    def json(self, *words: str) -> Any:
        done = self.host.run(*words, "-o", "json")
        return msgspec.json.decode(done.stdout) if done.returncode == 0 else []

    def until(self, what: str, look: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not look():
            assert self.process.poll() is None, self.process.communicate()
            logs = "".join((self.home / "demo" / f"host{n}" / "log").read_text()[-3000:] for n in (1, 2, 3))
            assert time.monotonic() < end, f"{what} in vain; {logs}"
            time.sleep(0.2)

    def present(self) -> set[str]:
        """The hosts that are there, by name."""
        return {host["metadata"]["host"] for host in self.json("machine", "list") if host["present"]}

    def running_on(self) -> set[str]:
        """The hosts that hello runs on, by name."""
        names = {host["id"]: host["metadata"].get("host", "") for host in self.json("machine", "list")}
        places = [place for unit in self.json("unit", "list") for place in unit["places"]]
        return {
            names[place["machine"]]
            for place in places
            if place["desired"] and place["state"] and place["state"]["active"] == "active"
        }


def test_ctrl_c_ends_the_hosts_and_their_units(tmp_path: Path) -> None:
    demo = Demo(tmp_path)
    try:
        demo.until("waited for three hosts", lambda: demo.present() == {"host1", "host2", "host3"})
        marked = HELLO.replace(b"echo hello", b"echo hello from " + bytes(demo.home / "demo"))
        (demo.home / "hello.service").write_bytes(marked)
        assert demo.host.run("unit", "start", "hello.service").returncode == 0
        assert "echo hello" in left_of(demo), "the unit's own shell would be seen"
        demo.process.send_signal(signal.SIGINT)
        _, said = demo.process.communicate(timeout=60)
    finally:
        demo.process.kill()
    assert (demo.process.returncode, b"all hosts have ended" in said, b"Traceback" in said) == (0, True, False)
    assert left_of(demo) == "", "a demo leaves nothing behind"


def left_of(demo: Demo) -> str:
    """The processes that still name its directory."""
    mark = str(demo.home / "demo")
    return subprocess.run(["pgrep", "-af", mark], capture_output=True, text=True, check=False).stdout


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    demo = Demo(tmp_path)
    try:
        yield demo
    finally:
        demo.process.send_signal(signal.SIGTERM)
        demo.process.communicate(timeout=60)
    assert left_of(demo) == "", "a demo leaves nothing behind"


def test_a_unit_survives_its_host(demo: Demo) -> None:
    demo.until("waited for three hosts", lambda: demo.present() == {"host1", "host2", "host3"})
    (demo.home / "hello.service").write_bytes(HELLO)
    started = demo.host.run("unit", "start", "hello.service")
    assert started.returncode == 0, started.stderr
    assert b"hello.service runs on" in started.stderr
    assert demo.host.run("unit", "cat", "hello.service").stdout == HELLO
    demo.until("waited for a line", lambda: b"hello" in demo.host.run("unit", "logs", "hello.service").stdout)
    (first,) = demo.running_on()
    explained = demo.host.run("unit", "explain", "hello.service").stdout.decode()
    assert explained.count("is here") == 1
    assert explained.count("would do") == 2

    assert demo.host.run("demo", "kill", first).returncode == 0
    demo.until("waited for another host", lambda: len(demo.running_on() - {first}) == 1)
    demo.until("waited for its death", lambda: first not in demo.present())
    (second,) = demo.running_on()
    assert b"hello" in demo.host.run("unit", "logs", "hello.service").stdout

    assert demo.host.run("demo", "start", first).returncode == 0
    demo.until("waited for its return", lambda: first in demo.present())
    assert demo.running_on() == {second}, "what runs well is left where it is"
    assert demo.host.run("unit", "destroy", "hello.service").returncode == 0
    demo.until("waited for the end", lambda: not demo.running_on())
