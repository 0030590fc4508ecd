"""Three hosts that become a cluster under systemd, and what losing one of them does to it."""

from collections.abc import Callable
from pathlib import Path

from tests.hosts.cluster import Cluster
from tests.hosts.lab import Lab


def test_members_are_services_that_survive_power_cuts_and_partitions(
    lab: Lab, program: Path, record_property: Callable[[str, object], None]
) -> None:
    with Cluster(lab, program) as cluster:
        leader = cluster.leader()
        one, two = (host for host in cluster.hosts if host is not leader)
        one.do("corenode", "kv", "put", "/a", "1")

        leader.kill()
        took = cluster.until(lambda: one.run("corenode", "kv", "put", "/a", "2").returncode == 0, "a new leader")
        leader.boot()
        read = ("corenode", "kv", "get", "--quorum", "/a")
        back = cluster.until(lambda: leader.run(*read).stdout == "2\n", "it is back after a power cut")

        isolated = cluster.leader()
        others = [host for host in cluster.hosts if host is not isolated]
        isolated.isolate(others)
        cluster.until(lambda: others[0].run("corenode", "kv", "put", "/a", "3").returncode == 0, "the majority goes on")
        assert isolated.run(*read).returncode != 0
        lab.mend()
        cluster.until(lambda: isolated.run(*read).stdout == "3\n", "it has caught up")

        two.do("systemctl", "stop", "corenode")
        assert two.do("systemctl", "show", "--property=Result", "corenode") == "Result=success\n"
        two.do("systemctl", "start", "corenode")
        assert two.do(*read) == "3\n"
        record_property(
            "checked", f"writable {took:.1f} s after the leader's power was cut, it was back after {back:.1f} s"
        )
