"""What a host is told about its units: settings, its machine id, what runs units there."""

import os
from pathlib import Path

import pytest
import trio

from core import hosting, machine_id
from core.agent.agent import Agent
from core.agent.presence import DuplicateMachineError
from core.agent.supervisor.executor import Supervisor
from core.client import connect
from core.client.images import Images
from core.config import Config, ConfigError, load
from core.etcd_name.reading import read
from core.etcd_name.translation import translate
from core.hosting import Hosting, executor_of, guarded
from core.machine_id import MachineIdError
from core.sched.records import Machine
from core.service import StartError
from core.this_host import boot_id, machine

ONE = "1" * 32


def config(home: Path, **flags: str) -> Config:
    given = {name.replace("_", "-"): text for name, text in flags.items()}
    return load({"data-dir": str(home / "data"), **given}, environ={})


# Settings


def test_what_a_host_tells_of_itself(tmp_path: Path) -> None:
    (tmp_path / "pem").write_text("")
    given = config(
        tmp_path,
        name="n1",
        metadata="disk=ssd, zone=b",
        public_ip="10.0.0.7",
        listen_client_urls="https://10.0.0.7:2379,http://127.0.0.1:2379",
        cert_file=str(tmp_path / "pem"),
        key_file=str(tmp_path / "pem"),
    )
    found = machine(given, ONE, given.listen_client_urls)
    assert (found.id, found.name, found.address) == (ONE, "n1", "10.0.0.7")
    assert found.metadata == {"disk": "ssd", "zone": "b"}
    assert found.endpoints == ("https://10.0.0.7:2379", f"unix:{tmp_path}/data/corenode.sock")
    assert found.boot_id == boot_id() != ""
    assert found.cpus >= 1
    assert found.memory > 1 << 20
    assert machine(config(tmp_path), ONE, ()).address  # found, whatever it is


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("metadata", "disk", "write it like disk=ssd"),
        ("metadata", "a b=c", "write it like"),
        ("metadata", "a=1,a=2", "given twice"),
        ("metadata", "a=", "write it like"),
        ("public-ip", "here", "no IP address"),
        ("machine-id", "A" * 32, "32 hexadecimal digits"),
        ("agent-ttl", "1s", "not within"),
        ("agent-ttl", "2h", "not within"),
        ("agent-ttl", "2.5s", "not within"),
        ("executor", "docker", "one of"),
        ("on-stop", "die", "one of"),
    ],
)
def test_settings_that_are_none(tmp_path: Path, name: str, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        config(tmp_path, **{name: text})


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("2m", 120), ("45", 45)])
def test_how_long_a_host_may_be_silent(tmp_path: Path, text: str, seconds: int) -> None:
    assert config(tmp_path, agent_ttl=text).agent_ttl == seconds


def test_by_the_name_of_etcd_nothing_is_run() -> None:
    found = translate(read([], {})).settings
    assert (found["executor"], found["disable-engine"]) == ("none", "true")


# The machine id


def test_a_data_directory_keeps_its_id(tmp_path: Path) -> None:
    first = machine_id.machine_id(tmp_path / "a")
    assert first == machine_id.machine_id(tmp_path / "a") != machine_id.machine_id(tmp_path / "b")
    assert machine_id.is_machine_id(first)
    assert machine_id.machine_id(tmp_path / "a", ONE) == ONE


def test_an_installed_host_has_that_of_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = tmp_path / "machine-id"
    monkeypatch.setattr(machine_id, "SYSTEM_DATA", tmp_path / "lib")
    monkeypatch.setattr(machine_id, "SYSTEM_ID", system)
    system.write_text(f"{ONE}\n")
    assert machine_id.machine_id(tmp_path / "lib") == ONE
    assert machine_id.machine_id(tmp_path / "demo") != ONE
    system.write_text("uninitialized\n")
    with pytest.raises(MachineIdError, match="no machine id"):
        machine_id.machine_id(tmp_path / "lib")


def test_an_id_that_cannot_be_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineIdError, match="--machine-id"):
        machine_id.machine_id(tmp_path / "file" / "data")


# What runs units


def test_what_runs_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosting, "SYSTEMD", tmp_path / "systemd")
    assert executor_of(config(tmp_path, executor="none"), ONE) is None
    for kind in ("auto", "embedded"):
        assert isinstance(executor_of(config(tmp_path, executor=kind), ONE), Supervisor)
    with pytest.raises(StartError, match="not the init"):
        executor_of(config(tmp_path, executor="systemd"), ONE)
    (tmp_path / "systemd").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert isinstance(executor_of(config(tmp_path), ONE), Supervisor)  # only root speaks for the host's systemd
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    found = executor_of(config(tmp_path), ONE)
    assert found is not None
    assert type(found).__name__ == "Systemd"


async def test_a_host_that_runs_nothing_waits_for_nothing(tmp_path: Path) -> None:
    found = Hosting(config(tmp_path, executor="none"), None, Machine(ONE), None, Images(list, lambda: None))
    found.stop()
    with trio.fail_after(1):
        await found.run()
    assert list(found.figures()) == []


async def test_a_part_that_fails_ends_the_process_with_a_sentence() -> None:
    async def fails() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            raise LookupError("what it was")

    with pytest.raises(StartError, match="because its agent failed: LookupError: what it was"):
        await guarded("agent", fails)


async def test_a_part_that_is_cancelled_did_not_fail() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(guarded, "agent", trio.sleep_forever)
        await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()


async def test_a_second_host_of_one_machine_id_ends_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Twin(Agent):
        async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            raise DuplicateMachineError("another host has this id")

    monkeypatch.setattr(hosting, "Agent", Twin)
    store = connect("http://127.0.0.1:1")
    found = Hosting(
        config(tmp_path), store, Machine(ONE), Supervisor(tmp_path / "units", ONE), Images(list, lambda: None)
    )
    with pytest.raises(StartError, match="this node ends: another host has this id"):
        await found.run()
