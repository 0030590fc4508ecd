"""fleet's functional tests by their names: fleetctl's words, on three real nodes with the embedded supervisor."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.runtime_dir import read_node_file
from tests.cli.programs import PROGRAM
from tests.fleetctl_name.test_process import run
from tests.units.test_demo import Demo

pytestmark = pytest.mark.slow
HOSTS = {"host1", "host2", "host3"}
SLEEPS = "[Service]\nExecStart=/bin/sleep 1000\n"
OTHER = "[Service]\nExecStart=/bin/sleep 2000\n"
FLEET = "/corenode/fleet"


class Three(Demo):
    """A demo's three hosts, and the words of fleetctl. What only looks asks a node itself: a process each is dear."""

    def fleetctl(self, *words: str) -> str:
        code, said, error = run(self.host, *words)
        assert code == 0, error
        return said

    def ask(self, path: str, method: str = "GET", body: bytes | None = None) -> Any:
        node = read_node_file(self.host.environment)
        assert node is not None
        connection = HTTPConnection("localhost", timeout=20)
        connection.sock = socket.socket(socket.AF_UNIX)
        with closing(connection):
            connection.sock.connect(node.socket)
            connection.request(method, FLEET + path, body)
            answer = connection.getresponse()
            said = answer.read()
        assert 200 <= answer.status < 300, (path, answer.status, said)
        return msgspec.json.decode(said or b"{}")

    def machines(self) -> Any:
        return self.ask("/machines")["machines"]

    def units(self) -> Any:
        return self.ask("/units")["units"]

    def write(self, name: str, text: str) -> str:
        (self.home / name).write_text(text)
        return name

    def start(self, name: str, *options: str) -> None:
        """Submit and launch it, without waiting for it."""
        text = SLEEPS + "[X-Fleet]\n" + "".join(f"{option}\n" for option in options)
        self.ask(f"/units/{name}/text?desired=launched", "PUT", text.encode())

    def destroy(self, name: str) -> None:
        self.ask(f"/units/{name}", "DELETE")

    def active(self) -> dict[str, set[str]]:
        """What runs, and on which hosts, by name; as its hosts tell."""
        named = {host["id"]: host["metadata"].get("host", "") for host in self.machines()}
        found: dict[str, set[str]] = {}
        for unit in self.units():
            for place in unit["places"]:
                if place["desired"] and place["state"] and place["state"].get("active") == "active":
                    found.setdefault(unit["name"], set()).add(named[place["machine"]])
        return found

    def status(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ask(f"/units/{name}/status")["properties"]
        return found

    def waits_for(self, name: str) -> str:
        return str(self.ask(f"/units/{name}/explain")["waits_for"])

    def clear(self) -> None:
        for unit in self.units():
            if not unit["of"]:
                self.destroy(unit["name"])
        self.until("nothing is left", lambda: self.units() == [])

    def all_there(self) -> bool:
        return {host["metadata"].get("host") for host in self.machines() if host["present"]} == HOSTS


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Three]:
    three = Three(tmp_path_factory.mktemp("three"))
    try:
        (three.home / "fleetctl").symlink_to(PROGRAM[1])
        three.until("three hosts", lambda: three.present() == HOSTS)
        yield three
    finally:
        three.process.send_signal(signal.SIGTERM)
        three.process.communicate(timeout=60)


@pytest.fixture
def three(cluster: Three) -> Iterator[Three]:
    yield cluster
    cluster.clear()


@pytest.mark.parametrize("verb", ["load", "start"])
def test_a_unit_is_replaced(three: Three, verb: str) -> None:
    """[UnitLoadReplace, UnitStartReplace]"""
    name = three.write("hello.service", SLEEPS)
    three.fleetctl(verb, name)
    before = three.status(name).get("MainPID")
    three.write(name, OTHER)
    three.fleetctl(verb, "--replace", name)
    assert three.fleetctl("cat", name) == OTHER
    if verb == "load":
        assert before is None or before == "0"
        assert three.active() == {}
    else:
        pid = three.status(name)["MainPID"]
        assert pid != before
        assert Path(f"/proc/{pid}/cmdline").read_bytes() == b"/bin/sleep\x002000\x00"


def test_a_unit_is_restarted_by_the_verb(three: Three) -> None:
    """[UnitRestart]"""
    three.fleetctl("start", three.write("hello.service", SLEEPS))
    before, where = three.status("hello.service")["MainPID"], three.active()
    assert three.fleetctl("restart", "hello.service") == "Unit hello.service restarted\n"
    three.until("another process", lambda: three.status("hello.service").get("MainPID", "0") not in ("0", before))
    three.until("it runs where it ran", lambda: three.active() == where)


def test_a_node_reads_its_settings_anew_and_keeps_its_doors_and_units(three: Three) -> None:
    """[ReconfigureServer]"""
    three.fleetctl("start", three.write("hello.service", SLEEPS))
    before, where = three.status("hello.service")["MainPID"], three.active()
    nodes = [
        int(pid) for pid in Path(f"/proc/{three.process.pid}/task/{three.process.pid}/children").read_text().split()
    ]
    assert len(nodes) == len(HOSTS)
    for pid in nodes:
        os.kill(pid, signal.SIGHUP)
    three.until("all answer", lambda: three.all_there() and three.active() == where)
    assert three.status("hello.service")["MainPID"] == before


def test_a_conflict_counts_also_for_the_unit_that_says_nothing_of_it(three: Three) -> None:
    """[ScheduleOneWayConflict]"""
    three.start("conflicts-with-hello.service", "MachineMetadata=host=host1", "Conflicts=hello.service")
    three.until("the first runs", lambda: "conflicts-with-hello.service" in three.active())
    three.start("hello.service", "MachineMetadata=host=host1")
    three.until("a reason", lambda: "conflict" in three.waits_for("hello.service"))
    assert set(three.active()) == {"conflicts-with-hello.service"}
    three.destroy("conflicts-with-hello.service")
    three.until("the other runs", lambda: three.active() == {"hello.service": {"host1"}})


def test_units_with_several_conflicts_each_have_a_machine(three: Three) -> None:
    """[ScheduleMultipleConflicts]"""
    names = [f"multiple.{number}.service" for number in range(3)]
    for name in names:
        three.start(name, *(f"Conflicts={other}" for other in names if other != name))
    three.until("all run", lambda: set(three.active()) == set(names))
    assert set.union(*three.active().values()) == HOSTS


def test_a_unit_takes_the_place_of_another_which_goes_elsewhere(three: Three) -> None:
    """[ScheduleReplace]"""
    three.start("replace.0.service")
    three.until("the first runs", lambda: "replace.0.service" in three.active())
    old = three.active()["replace.0.service"]
    (host,) = old
    three.start("kick.service", f"MachineMetadata=host={host}", "Replaces=replace.0.service")
    three.until(
        "both run, the first elsewhere",
        lambda: (
            three.active().get("kick.service") == old and len(three.active().get("replace.0.service", old) - old) == 1
        ),
    )


def test_units_that_replace_each_other_leave_each_other_alone(three: Three) -> None:
    """[ScheduleCircularReplace]: neither drives the other away, as in fleet's engine."""
    three.start("replace.0.service", "Replaces=replace.1.service")
    three.until("the first runs", lambda: "replace.0.service" in three.active())
    before, where = three.status("replace.0.service")["MainPID"], three.active()["replace.0.service"]
    three.start("replace.1.service", "Replaces=replace.0.service")
    three.until("both run", lambda: set(three.active()) == {"replace.0.service", "replace.1.service"})
    assert three.active()["replace.0.service"] == where
    assert three.status("replace.0.service")["MainPID"] == before


def test_of_two_global_units_in_conflict_the_first_runs_everywhere(three: Three) -> None:
    """[ScheduleGlobalConflicts]"""
    three.start("global.0.service", "Global=true", "Conflicts=global.1.service")
    three.until("it runs everywhere", lambda: three.active() == {"global.0.service": HOSTS})
    three.start("global.1.service", "Global=true", "Conflicts=global.0.service")
    three.start("witness.service")
    three.until("a plan later", lambda: "witness.service" in three.active())
    assert three.active()["global.0.service"] == HOSTS
    assert "global.1.service" not in three.active()


def test_instances_run_where_their_name_says(three: Three) -> None:
    """[TemplatesWithSpecifiersInMetadata]"""
    three.write("metadata@.service", SLEEPS + "[X-Fleet]\nMachineMetadata=host=%i\n")
    three.fleetctl("submit", "metadata@.service")
    for host in sorted(HOSTS, reverse=True):
        three.fleetctl("start", f"metadata@{host}.service")
    assert three.active() == {f"metadata@{host}.service": {host} for host in HOSTS}
    code, _, error = run(three.host, "start", "--block-attempts=1", "metadata@nowhere.service")
    assert (code, "is not launched" in error) == (1, True)
