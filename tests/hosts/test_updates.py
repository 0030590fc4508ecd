"""Three hosts with systemd update themselves, one at a time; a unit with two instances goes on serving all the while.

A host restarts by `systemctl reboot`. Its disk is a file with two slots: what its boot loader would choose there, the
test does, before it switches the host on again.
"""

import hashlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.images.manifest import Manifest, decode
from core.partitions import choice
from core.partitions.disk import Disk
from core.partitions.slots import Marks, slots_of
from tests.cli.programs import PROGRAM
from tests.hosts.cluster import DATA, Cluster, ask
from tests.hosts.host import Host
from tests.hosts.lab import Lab
from tests.hosts.units import Units, fleet
from tests.partitions.disks import disk_with, two_slots

DISK, RUNNING, ROOT = "/var/disk.img", "/etc/running", "/etc/corenode/root.json"
SECTORS = 32 << 10
REBOOTED = 133
"""How nspawn ends when what is inside has restarted."""
SETTINGS = {
    "AGENT_TTL": "10s",
    "UPDATE_DISK": DISK,
    "UPDATE_ROOT": ROOT,
    "UPDATE_CHECK": f"sh -c '! grep bad {RUNNING}'",
    "UPDATE_HEALTHY": "2s",
    "UPDATE_PATIENCE": "40s",
}
WEB = "[Service]\nExecStart=/usr/bin/python3 -m http.server --directory /etc/systemd 80%i\n"
HEALTH = "Health=http://127.0.0.1:80%i/ interval=1s"
VISITOR = """
import http.client, select, sys
ways, asked, failed = sys.argv[1:], 0, []
while not select.select([sys.stdin], [], [], 0.02)[0]:
    said = []
    for way in list(ways):
        connection = http.client.HTTPConnection(way, timeout=1)
        try:
            connection.request("GET", "/")
            if connection.getresponse().status == 200:
                ways.sort(key=lambda each: each != way)
                break
        except OSError as error:
            said.append(f"{way}: {error}")
        finally:
            connection.close()
    else:
        failed.append((asked, said))
    asked += 1
print(asked, failed)
"""
"""Asks one instance as long as it answers, and then another one, until somebody writes to it."""


class Operator:
    """Somebody with the keys, at a machine that is no host of the cluster."""

    def __init__(self, home: Path, cluster: Cluster) -> None:
        self.home = home
        self.cluster = cluster
        self.manifests: dict[str, Manifest] = {}
        (home / "usr").write_bytes(os.urandom(1_000_000))

    def do(self, *words: str) -> str:
        done = subprocess.run(
            [*PROGRAM, *words], cwd=self.home, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
        return done.stdout

    def tell(self, *words: str) -> str:
        """A verb for the cluster."""
        host = self.cluster.up()[0]
        return self.do(*words, "--endpoints", f"unix:///proc/{host.leader}/root{DATA}/corenode.sock")

    def release(self, version: str) -> None:
        with (self.home / "usr").open("r+b") as file:
            file.write(os.urandom(50_000))
        self.do("image", "build", "usr", "--out", version, "--version", version)
        self.do("image", "sign", version, "--repo", "repo", "--keys", "keys")
        self.tell("image", "publish", version)
        self.do("image", "publish", version, "repo", "--online", "online")
        self.manifests[version] = decode((self.home / version / "manifest.json").read_bytes())
        self.tell("update", "channel", "set", "stable", "--version", version)


class Power(threading.Thread):
    """Switches hosts on again that have restarted, in the slot that is next."""

    def __init__(self, operator: Operator) -> None:
        super().__init__()
        self.starts: list[tuple[str, str]] = []
        """Host, and version."""
        self.trouble = ""
        self._operator = operator
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(0.05):
            for host in self._operator.cluster.hosts:
                if host.rebooted(REBOOTED):
                    try:
                        self._start(host)
                    except (AssertionError, RuntimeError, OSError) as error:
                        self.trouble = f"{host.name}: {error}"
                        return

    def stop(self) -> None:
        self._ended.set()
        self.join()

    def _start(self, host: Host) -> None:
        with Disk.open(host.path(DISK), writable=True) as disk:
            chosen = choice.choose(disk.table)
            assert chosen is not None, "nothing may start"
            if chosen.table != disk.table:
                disk.change(chosen.table)
            letter = "AB"[[slot.number for slot in slots_of(disk.table)].index(chosen.number)]
            with disk.read_only(chosen.number) as area:
                held = [
                    version
                    for version, manifest in self._operator.manifests.items()
                    if hashlib.sha256(area.read(0, manifest.usr.size)).hexdigest() == manifest.usr.sha256
                ]
                assert held, f"slot {letter} is not whole"
        host.write(RUNNING, held[-1])
        self._operator.cluster.configure(host, **SETTINGS, UPDATE_SLOT=letter)
        self.starts.append((host.name, held[-1]))
        host.boot()


@pytest.fixture
def operator(lab: Lab, program: Path, tmp_path: Path) -> Iterator[Operator]:
    cluster = Cluster(lab, program)
    made = Operator(tmp_path, cluster)
    made.do("image", "trust", "init", "repo", "--keys", "keys", "--online", "online", "--no-passphrase")
    disk = disk_with(two_slots(Marks(1, 0, True), Marks(0, 0, False), SECTORS)).data
    for host in cluster.hosts:
        host.write(DISK, bytes(disk))
        host.write(ROOT, (tmp_path / "repo/metadata/1.root.json").read_bytes())
        host.write(RUNNING, "0")
    with cluster:
        for host in cluster.hosts:
            cluster.configure(host, **SETTINGS, UPDATE_SLOT="A")
            host.do("systemctl", "restart", "corenode")
        yield made


def test_three_hosts_update_in_turn_and_a_unit_goes_on_serving(
    operator: Operator, lab: Lab, record_property: Callable[[str, object], None]
) -> None:
    cluster = operator.cluster
    cluster.until(lambda: all(status(host).get("cluster_known") for host in cluster.hosts), "their updaters run")
    operator.tell("image", "trust", "upload", "repo", "--online", "online")
    units = Units(cluster)
    units.want("web@.service", WEB + fleet("Replicas=2", "Conflicts=web@*.service", HEALTH))
    cluster.until(lambda: all(serves(lab, cluster, instance) for instance in (1, 2)), "both instances serve")
    operator.tell("update", "group", "set", "default", "--channel", "stable", "--at-once", "3", "--all-alike")
    ways = [f"{host.address}:80{instance}" for instance in (1, 2) for host in cluster.hosts]
    power = Power(operator)
    power.start()
    command = [*lab.enter(), "python3", "-c", VISITOR, *ways]
    visitor = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    began = time.monotonic()
    try:
        operator.release("1.0.0")
        cluster.until(lambda: settled(cluster, power, "1.0.0"), "all run 1.0.0", 90)
        took = time.monotonic() - began
        operator.release("2.bad")
        cluster.until(lambda: failed(cluster, power), "a host failed", 90)
        cluster.until(lambda: settled(cluster, power, "1.0.0"), "all run 1.0.0 again", 90)
    finally:
        power.stop()
        asked, _, said = visitor.communicate("\n", 30)[0].partition(" ")
    assert sorted(power.starts[:3]) == [(host.name, "1.0.0") for host in cluster.hosts]
    assert [version for _, version in power.starts[3:]] == ["2.bad", "1.0.0"], "one host tried the bad one"
    assert said.strip() == "[]"
    assert int(asked) > 100
    record_property("checked", f"{asked} requests while three hosts restarted in {took:.0f} s, none of which failed")


def serves(lab: Lab, cluster: Cluster, instance: int) -> bool:
    """Whether it does on one of the hosts."""
    asked = [["curl", "--silent", "--max-time", "2", f"http://{host.address}:80{instance}/"] for host in cluster.hosts]
    return any(subprocess.run([*lab.enter(), *each], capture_output=True).returncode == 0 for each in asked)


def status(host: Host) -> dict[str, Any]:
    """What a host's node says of its updates; empty if it does not."""
    return (ask(host, "/corenode/host/update") if host.leader else None) or {}


def settled(cluster: Cluster, power: Power, version: str) -> bool:
    assert not power.trouble, power.trouble
    found = [status(host) for host in cluster.hosts]
    if not all((each.get("version"), each.get("step")) == (version, "idle") for each in found):
        return False
    done = [
        cluster.hosts[0].run("corenode", "lock", "status", "--group", name, "-o", "json") for name in ("", "voters")
    ]
    return all(each.returncode == 0 and json.loads(each.stdout)["holders"] == [] for each in done)


def failed(cluster: Cluster, power: Power) -> bool:
    assert not power.trouble, power.trouble
    return any(status(host).get("stage") == "failed" for host in cluster.hosts)
