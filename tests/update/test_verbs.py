"""`corenode lock` and the name `locksmithctl`, against a node."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.goflags import FlagError, parse
from tests.cli.programs import PROGRAM, Host

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    host = Host(tmp_path_factory.mktemp("host"))
    (host.home / "locksmithctl").symlink_to(PROGRAM[1])
    with host.node():
        yield host


def locksmithctl(host: Host, *words: str, **environment: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [PROGRAM[0], host.home / "locksmithctl", *words],
        env={**host.environment, "PYTHONPATH": str(Path(PROGRAM[1]).parent), **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_life_of_a_lock(host: Host) -> None:
    taken = host.run("lock", "acquire", "a", "--group", "one")
    assert (taken.returncode, taken.stderr) == (0, b"a holds the lock\n")
    refused = host.run("lock", "acquire", "b", "--group", "one")
    assert refused.returncode == 1
    assert b"semaphore is at 0" in refused.stderr
    assert b"corenode lock status" in refused.stderr
    shown = json.loads(host.text("lock", "status", "--group", "one", "-o", "json"))
    assert (shown["available"], shown["max"], [each["id"] for each in shown["holders"]]) == (0, 1, ["a"])
    table = host.run("lock", "status", "--group", "one").stdout.decode().splitlines()
    assert table[0].split() == ["MACHINE", "SINCE", "STATE"]
    assert table[1].startswith("a ")
    assert b"it was 1" in host.run("lock", "set-max", "2", "--group", "one").stderr
    assert host.run("lock", "set-expiry", "60", "--group", "one").returncode == 0
    assert host.run("lock", "acquire", "b", "--group", "one").returncode == 0
    assert host.run("lock", "release", "a", "--group", "one").returncode == 0
    assert host.run("lock", "release", "a", "--group", "one").returncode == 1


def test_locksmithctl_says_what_locksmithctl_says(host: Host) -> None:
    assert locksmithctl(host, "status") == (0, "Available: 1\nMax: 1\n", "")
    assert locksmithctl(host, "lock", "b") == (0, "", "")
    assert locksmithctl(host, "lock", "a") == (1, "", "Error locking: semaphore is at 0\n")
    assert locksmithctl(host, "set-max", "4") == (0, "Old-Max: 1\nMax: 4\n", "")
    assert locksmithctl(host, "lock", "a") == (0, "", "")
    assert locksmithctl(host, "status") == (0, "Available: 2\nMax: 4\n\nMACHINE ID\na\nb\n", "")
    assert locksmithctl(host, "unlock", "a") == (0, "", "")
    assert locksmithctl(host, "unlock", "a") == (1, "", "Error unlocking: holder does not exist\n")
    assert json.loads(host.text("kv", "get", "/coreos.com/updateengine/rebootlock/semaphore")) == {
        "semaphore": 3,
        "max": 4,
        "holders": ["b"],
    }


def test_groups_by_flag_and_by_variable(host: Host) -> None:
    assert locksmithctl(host, "-group=two", "lock", "a")[0] == 0
    assert "MACHINE ID\na\n" in locksmithctl(host, "status", LOCKSMITHCTL_GROUP="two")[1]
    assert "MACHINE ID" not in locksmithctl(host, "--group", "three", "status")[1]


@pytest.mark.parametrize(
    "words", [("lock", "a", "b"), ("set-max", "x"), ("nothing",), ("-nothing", "status"), ("status", "-group", "x")]
)
def test_wrong_usage(host: Host, words: tuple[str, ...]) -> None:
    code, output, error = locksmithctl(host, *words)
    assert (code, output) == (2, "")
    assert "Help: locksmithctl -help" in error


def test_without_a_store_it_says_so(host: Host) -> None:
    code, _, error = locksmithctl(host, "-endpoint", "http://127.0.0.1:1", "status")
    assert code == 1
    assert "No node answers" in error


def test_flags_are_read_as_go_reads_them() -> None:
    flags = {"a": False, "b": True}
    assert parse(["-a", "1", "--a=2", "-b", "word", "-a"], flags) == (
        {"a": ["1", "2"], "b": ["true"]},
        ["word", "-a"],
    )
    assert parse(["-b=F", "--", "-a"], flags) == ({"b": ["false"]}, ["-a"])
    assert parse(["-", "x"], flags) == ({}, ["-", "x"])
    for wrong, why in (("-x", "not defined"), ("-a", "needs an argument"), ("---a", "bad flag"), ("-b=2", "boolean")):
        with pytest.raises(FlagError, match=why):
            parse([wrong], flags)


def test_what_locksmithctl_has_no_use_for_here_is_said(host: Host) -> None:
    code, _, said = locksmithctl(host, "send-need-reboot")
    assert code == 1
    assert "it told locksmithd by D-Bus" in said
