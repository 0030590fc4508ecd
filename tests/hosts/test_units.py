"""Units across three hosts with systemd, and what power cuts, partitions and operators do to them.

fleet's functional tests are the checklist; the names in brackets are theirs.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hosts.cluster import Cluster
from tests.hosts.host import Host
from tests.hosts.lab import Lab
from tests.hosts.units import SLEEPS, Units, files, fleet, pid

TTL = 3
Record = Callable[[str, object], None]


@pytest.fixture(scope="module")
def cluster(lab: Lab, program: Path) -> Iterator[Cluster]:
    with Cluster(lab, program, settings=f"CORENODE_AGENT_TTL={TTL}s\n") as made:
        yield made


@pytest.fixture
def units(cluster: Cluster) -> Iterator[Units]:
    """Of a whole cluster, before and afterwards."""
    made = Units(cluster)
    whole(cluster, made)
    yield made
    whole(cluster, made)
    made.clear()


def whole(cluster: Cluster, units: Units) -> None:
    cluster.lab.mend()
    for host in cluster.hosts:
        if not host.leader:
            host.boot()
    everyone = {host.machine_id for host in cluster.hosts}
    for host in cluster.hosts:
        cluster.until(lambda host=host: units.machines(host).keys() == everyone, f"{host.name} sees all three")  # type: ignore[misc]


def others(cluster: Cluster, host: Host) -> list[Host]:
    return [other for other in cluster.hosts if other is not host]


def test_a_unit_runs_on_one_host_until_it_is_stopped(cluster: Cluster, units: Units) -> None:
    """[UnitRunnable, UnitStart, UnitLoad, SystemdUnitFlow, InstallUnit]"""
    units.want("hello.service", SLEEPS + "[Install]\nWantedBy=multi-user.target\n")
    (host,) = units.runs("hello.service")
    assert host.do("systemctl", "is-enabled", "hello.service") == "enabled-runtime\n"
    units.set("hello.service", "loaded")
    cluster.until(lambda: set(units.states("hello.service").values()) == {"inactive/dead"}, "it is stopped")
    assert units.on("hello.service") == []
    assert files(host) == ["hello.service"]
    units.set("hello.service", "inactive")
    cluster.until(lambda: units.states("hello.service") == {} and not files(host), "it is unloaded")
    assert host.run("systemctl", "is-enabled", "hello.service").returncode != 0
    assert units.names() == ["hello.service"]


def test_the_unit_of_a_host_that_dies_runs_elsewhere(cluster: Cluster, units: Units, record_property: Record) -> None:
    """[DynamicClusterNewMemberUnitMigration, NodeShutdown]"""
    units.want("hello.service", SLEEPS)
    (host,) = units.runs("hello.service")
    rest = others(cluster, host)
    host.kill()
    took = cluster.until(lambda: len(units.on("hello.service", rest)) == 1, "it runs elsewhere")
    (now,) = units.runs("hello.service", rest)
    record_property("checked", f"running elsewhere {took:.1f} s after the power was cut, presence TTL {TTL} s")
    host.boot()
    cluster.until(lambda: host.machine_id in units.machines(now), "the host is back")
    assert units.runs("hello.service") == [now], "a host that comes back takes nothing away from others"


def test_every_unit_runs_again_after_all_power_was_cut(cluster: Cluster, units: Units) -> None:
    """[DynamicClusterMemberReboot]"""
    names = [f"sleeps@{i}.service" for i in range(6)]
    for name in names:
        units.want(name, SLEEPS)
    for name in names:
        units.runs(name)
    for host in cluster.hosts:
        host.kill()
    for host in cluster.hosts:
        host.boot()
    for name in names:
        units.runs(name)


def test_a_host_that_is_cut_off_keeps_its_units_and_in_the_end_each_runs_once(cluster: Cluster, units: Units) -> None:
    """[SingleNodeConnectivityLoss]"""
    units.want("hello.service", SLEEPS)
    (host,) = units.runs("hello.service")
    first = pid(host, "hello.service")
    rest = others(cluster, host)
    host.isolate(rest)
    units.runs("hello.service", rest)
    assert pid(host, "hello.service") == first, "nobody told this host to stop anything"
    cluster.lab.mend()
    cluster.until(lambda: len(units.on("hello.service")) == 1, "one of the two has ended")
    units.runs("hello.service")


def test_the_daemon_goes_and_comes_and_units_do_not_notice(cluster: Cluster, units: Units) -> None:
    """[Shutdown, ShutdownVsMonitor]: stopped in order, killed, and started again each time."""
    host = cluster.hosts[1]
    cluster.configure(host, AGENT_TTL="60s")  # a start takes longer than the others' few seconds on a busy machine
    host.do("systemctl", "restart", "corenode")
    units.want("hello.service", SLEEPS + fleet(f"MachineID={host.machine_id}"))
    units.runs("hello.service")
    first = pid(host, "hello.service")
    for words in (("restart",), ("kill", "--signal=KILL")):
        host.do("systemctl", *words, "corenode")
        cluster.until(lambda: bool(units.machines(host)), "its node answers")
        assert units.runs("hello.service") == [host]
        assert pid(host, "hello.service") == first
    host.do("systemctl", "stop", "corenode")
    assert units.on("hello.service") == [host]
    cluster.configure(host)
    host.do("systemctl", "start", "corenode")


def test_a_global_unit_runs_on_every_host_also_on_one_that_comes_back(cluster: Cluster, units: Units) -> None:
    """[ScheduleGlobalUnits]"""
    units.want("everywhere.service", SLEEPS + fleet("Global=true"))
    units.runs("everywhere.service", times=3)
    host = cluster.hosts[1]
    host.kill()
    host.boot()
    units.runs("everywhere.service", times=3)


def test_of_five_units_in_conflict_three_run_and_two_wait(cluster: Cluster, units: Units) -> None:
    """[ScheduleConflicts]"""
    names = [f"conflict@{i}.service" for i in range(5)]
    for name in names:
        units.want(name, SLEEPS + fleet("Conflicts=conflict@*.service"))

    def running() -> list[str]:
        return [name for name in names for _ in units.on(name)]

    cluster.until(lambda: len(running()) == 3, "three of them run")
    assert len({units.on(name)[0].name for name in running()}) == 3
    units.set(running()[0], "inactive")
    cluster.until(lambda: len(running()) == 3, "one that waited has taken the place")


def test_a_unit_follows_the_one_it_is_to_be_with(cluster: Cluster, units: Units) -> None:
    """[ScheduleMachineOf]"""
    units.want("lead.service", SLEEPS)
    units.want("follow.service", SLEEPS + fleet("MachineOf=lead.service"))
    (host,) = units.runs("lead.service")
    assert units.runs("follow.service") == [host]
    host.kill()
    rest = others(cluster, host)
    assert units.runs("lead.service", rest) == units.runs("follow.service", rest)


def test_a_unit_runs_on_the_machine_it_names(cluster: Cluster, units: Units) -> None:
    """[ScheduleConditionMachineID, DetectMachineId]"""
    for host in cluster.hosts:
        units.want(f"at-{host.name}.service", SLEEPS + fleet(f"MachineID={host.machine_id}"))
    for host in cluster.hosts:
        assert units.runs(f"at-{host.name}.service") == [host]
