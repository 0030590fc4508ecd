"""What operators do with units on three hosts: drain, replace texts, ask why, read logs from elsewhere."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.cluster import Cluster, ask, ask_text
from tests.hosts.host import Host
from tests.hosts.lab import Lab
from tests.hosts.units import SLEEPS, Units, fleet

OWN = "/corenode/fleet"


@pytest.fixture(scope="module")
def cluster(lab: Lab, program: Path) -> Iterator[Cluster]:
    with Cluster(lab, program) as made:
        units = Units(made)
        made.until(lambda: len(units.machines()) == 3, "all hosts are present")
        yield made


@pytest.fixture
def units(cluster: Cluster) -> Iterator[Units]:
    made = Units(cluster)
    yield made
    made.clear()


def submit(host: Host, name: str, text: str, desired: str = "launched") -> None:
    answer = ask(host, f"{OWN}/units/{name}/text?desired={desired}", "PUT", text)
    assert answer is not None, f"{name} was not accepted"


def test_a_drained_host_gives_its_units_away_and_none_is_ever_missing(cluster: Cluster, units: Units) -> None:
    names = [f"drained@{i}.service" for i in range(6)]
    for name in names:
        units.want(name, SLEEPS)
    places = {name: units.runs(name)[0] for name in names}
    host = places[names[0]]
    other = next(one for one in cluster.hosts if one is not host)
    assert ask(other, f"{OWN}/machines/{host.machine_id}/drain", "POST", {"seconds": 60, "at_once": 1}) is not None
    cluster.until(lambda: not any(units.on(name, [host]) for name in names), "nothing runs there any more")
    for name in names:
        assert units.runs(name) != [host]
        if places[name] is not host:
            assert units.runs(name) == [places[name]], "those of other hosts stay where they are"
    units.want("late.service", SLEEPS)
    assert units.runs("late.service") != [host]
    assert ask(other, f"{OWN}/machines/{host.machine_id}/uncordon", "POST") is not None
    units.want("here.service", SLEEPS + fleet(f"MachineID={host.machine_id}"))
    assert units.runs("here.service") == [host]


def test_a_new_text_rolls_over_all_hosts_one_at_a_time(cluster: Cluster, units: Units) -> None:
    submit(units.any_host(), "web.service", SLEEPS + fleet("Global=true"))
    units.runs("web.service", times=3)
    new = SLEEPS.replace("100000", "200000") + fleet("Global=true")
    assert ask(units.any_host(), f"{OWN}/rollouts/web.service?max_parallel=1&healthy_after=2", "POST", new) is not None
    least = 3

    def done() -> bool:
        nonlocal least
        least = min(least, len(units.on("web.service")))
        return bool(ask(units.any_host(), f"{OWN}/rollouts/web.service")["state"] == "done")

    cluster.until(done, "the rollout is done", 120)
    assert least >= 2
    for host in units.runs("web.service", times=3):
        assert "200000" in host.do("systemctl", "show", "--property=ExecStart", "web.service")


def test_a_new_text_that_does_not_run_is_taken_back(cluster: Cluster, units: Units) -> None:
    old = SLEEPS + fleet("Global=true")
    submit(units.any_host(), "web.service", old)
    units.runs("web.service", times=3)
    bad = old.replace("/bin/sleep", "/nowhere/at/all")
    assert ask(units.any_host(), f"{OWN}/rollouts/web.service", "POST", bad) is not None
    least = 3

    def returned() -> bool:
        nonlocal least
        least = min(least, len(units.on("web.service")))
        return bool(ask(units.any_host(), f"{OWN}/rollouts/web.service")["state"] == "returned")

    cluster.until(returned, "it has returned", 120)
    units.runs("web.service", times=3)
    assert least >= 2
    assert ask_text(units.any_host(), f"{OWN}/units/web.service/text") == old.encode()


def test_logs_and_status_of_a_unit_are_shown_on_every_host(cluster: Cluster, units: Units) -> None:
    """[UnitStatus, UnitSSHActions]: without SSH."""
    text = "[Service]\nExecStart=/bin/sh -c 'echo said on the first line; exec sleep 100000'\n"
    submit(units.any_host(), "talks.service", text)
    units.runs("talks.service")
    for host in cluster.hosts:
        cluster.until(
            lambda host=host: b"said on the first line" in (ask_text(host, f"{OWN}/units/talks.service/logs") or b""),  # type: ignore[misc]
            f"{host.name} shows its logs",
        )
        assert b"MainPID" in (ask_text(host, f"{OWN}/units/talks.service/status") or b"")


def test_why_a_unit_waits_is_explained_for_every_host(cluster: Cluster, units: Units) -> None:
    submit(units.any_host(), "picky.service", SLEEPS + fleet("MachineMetadata=disk=ssd"))
    cluster.until(
        lambda: "disk" in str(ask(units.any_host(), f"{OWN}/units/picky.service/explain")), "the reason is given"
    )
    said = str(ask(units.any_host(), f"{OWN}/units/picky.service/explain"))
    assert all(host.machine_id in said for host in cluster.hosts), said
    assert units.on("picky.service") == []
    change = [{"op": "add", "path": f"/{cluster.hosts[2].machine_id}/metadata/disk", "value": {"value": "ssd"}}]
    assert ask(units.any_host(), "/fleet/v1/machines", "PATCH", change) is not None
    assert units.runs("picky.service") == [cluster.hosts[2]]
