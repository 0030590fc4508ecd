"""Hosts update themselves from their cluster, one at a time, while a unit goes on serving; what is bad goes back."""

import http.client
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.update.rig import Hosts, missing
from tests.whole.servers import HOST, free_port

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing())]


class Visitor(threading.Thread):
    """Asks a unit with two instances all the time: the other one, when one does not answer."""

    def __init__(self, ports: list[int]) -> None:
        super().__init__()
        self.asked = 0
        self.failed: list[str] = []
        self._ports = ports
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(0.02):
            self.asked += 1
            said = [self._ask(port) for port in self._ports]
            if "" not in said:
                self.failed.append(f"request {self.asked}: {said}")

    def stop(self) -> None:
        self._ended.set()
        self.join()

    def serves(self) -> bool:
        return all(self._ask(port) == "" for port in self._ports)

    def _ask(self, port: int) -> str:
        connection = http.client.HTTPConnection(HOST, port, timeout=2)
        try:
            connection.request("GET", "/")
            return "" if connection.getresponse().status == 200 else "no success"
        except (OSError, http.client.HTTPException) as error:
            return repr(error)
        finally:
            connection.close()


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    with Hosts(tmp_path, "n1", "n2", "n3") as made:
        yield made


def test_three_hosts_take_turns_and_a_bad_image_stops_them(hosts: Hosts) -> None:
    base = free_port() // 10
    unit = hosts.home / "web@.service"
    unit.write_text(
        f"[Service]\nExecStart=/usr/bin/python3 -m http.server --bind {HOST} --directory {hosts.home} {base}%i\n"
        "Restart=always\n[X-Fleet]\nReplicas=2\nConflicts=web@*.service\n"
    )
    visitor = Visitor([base * 10 + 1, base * 10 + 2])
    hosts.await_(lambda: len(hosts.said("machine", "list")) == 3, "all are machines")
    hosts.good("unit", "start", str(unit))
    hosts.await_(visitor.serves, "both instances serve")
    visitor.start()
    try:
        # All may update at once, as far as their group is concerned: it is the lock that has them take turns.
        hosts.good("update", "group", "set", "default", "--channel", "stable", "--at-once", "3", "--all-alike")
        hosts.release("1.0.0")
        hosts.good("update", "channel", "set", "stable", "--version", "1.0.0")
        hosts.await_(lambda: hosts.settled("1.0.0"), "all run 1.0.0")
        assert sorted(hosts.starts) == [("n1", "1.0.0"), ("n2", "1.0.0"), ("n3", "1.0.0")]
        hosts.release("2.bad")
        hosts.good("update", "channel", "set", "stable", "--version", "2.bad")
        hosts.await_(lambda: any(hosts.status(name).get("stage") == "failed" for name in hosts.names), "one fails")
        hosts.await_(lambda: hosts.settled("1.0.0"), "all run 1.0.0 again")
    finally:
        visitor.stop()
    assert visitor.asked > 100
    assert visitor.failed == []
    names = [name for name, version in hosts.starts if version == "2.bad"]
    assert len(names) == 1, f"{names} tried the bad image"
    group = hosts.said("update", "group", "show", "default")
    assert "did not prove itself" in group["group"]["why"]
    assert [report.get("stage") for report in group["hosts"].values()].count("failed") == 1


DIES = (sys.executable, "-m", "tests.update.dies")
STEPS = {"installing", "waiting", "locking", "draining", "rebooting", "proving", "good", "settling"}


def test_a_node_that_is_killed_in_each_step_goes_on(tmp_path: Path) -> None:
    with Hosts(tmp_path, "n1", program=DIES) as hosts:
        hosts.good("update", "group", "set", "default", "--channel", "stable")
        hosts.release("1.0.0")
        hosts.good("update", "channel", "set", "stable", "--version", "1.0.0")
        hosts.await_(lambda: hosts.settled("1.0.0"), "it runs 1.0.0")
        assert {path.name for path in (tmp_path / "died").iterdir()} == STEPS
        hosts.release("2.bad")
        hosts.good("update", "channel", "set", "stable", "--version", "2.bad")
        hosts.await_(lambda: any(hosts.status(name).get("stage") == "failed" for name in hosts.names), "one fails")
        hosts.await_(lambda: hosts.settled("1.0.0"), "it is back at 1.0.0")
        assert {path.name for path in (tmp_path / "died").iterdir()} == {*STEPS, "returning"}


def test_a_worker_updates_itself_through_the_members(tmp_path: Path) -> None:
    with Hosts(tmp_path, "n1", workers=("w1",)) as hosts:
        hosts.good("update", "group", "set", "default", "--channel", "stable", "--at-once", "2", "--all-alike")
        hosts.release("1.0.0")
        hosts.good("update", "channel", "set", "stable", "--version", "1.0.0")
        hosts.await_(lambda: hosts.settled("1.0.0"), "both run 1.0.0")
        assert sorted(hosts.starts) == [("n1", "1.0.0"), ("w1", "1.0.0")]
