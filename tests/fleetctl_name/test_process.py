"""The name `fleetctl` against a node that runs units: its words, its tables, its exit codes."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.programs import PROGRAM, Host
from tests.whole.servers import NO_UNITS

pytestmark = pytest.mark.slow
HELLO = (
    b"# byte for byte\n[Unit]\nDescription=Says  hello\n[Service]\nExecStart=/bin/sh -c 'echo hello; exec sleep 1000'\n"
)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    host = Host(tmp_path_factory.mktemp("host"))
    for setting in NO_UNITS:
        host.environment.pop(setting, None)
    (host.home / "fleetctl").symlink_to(PROGRAM[1])
    (host.home / "hello.service").write_bytes(HELLO)
    with host.node("--metadata", "az=b,disk=ssd", "--public-ip", "192.0.2.7"):
        yield host
        run(host, "destroy", "hello.service")


def run(host: Host, *words: str, **environment: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [PROGRAM[0], host.home / "fleetctl", "--request-timeout=20", *words],
        cwd=host.home,
        env={**host.environment, "PYTHONPATH": str(Path(PROGRAM[1]).parent), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def cells(text: str) -> list[list[str]]:
    return [[cell for cell in line.split("\t") if cell] for line in text.splitlines()]


def test_a_unit_from_submission_to_its_end(host: Host) -> None:
    (machine,) = json.loads(host.text("machine", "list", "-o", "json"))
    where = f"{machine['id'][:8]}.../192.0.2.7"

    assert run(host, "submit", "hello.service") == (0, "Unit hello.service inactive\n", "")
    assert run(host, "cat", "hello.service") == (0, HELLO.decode(), "")
    files = cells(run(host, "list-unit-files", "--fields=unit,dstate,state,target,desc")[1])
    assert files == [
        ["UNIT", "DSTATE", "STATE", "TARGET", "DESC"],
        ["hello.service", "inactive", "inactive", "-", "Says  hello"],
    ]
    assert cells(run(host, "list-units")[1]) == [["UNIT", "MACHINE", "ACTIVE", "SUB"]]

    assert run(host, "start", "hello.service") == (0, f"Unit hello.service launched on {where}\n", "")
    assert cells(run(host, "list-units", "--no-legend")[1]) == [["hello.service", where, "active", "running"]]
    assert cells(run(host, "list-unit-files", "--no-legend", "--fields=unit,dstate,state,target")[1]) == [
        ["hello.service", "launched", "launched", where]
    ]
    code, shown, _ = run(host, "status", "hello")
    assert code == 0
    assert shown.startswith("* hello.service - Says  hello\n")
    assert "Active: active (running)" in shown
    assert run(host, "journal", "--lines", "100", "hello.service")[1].endswith("hello\n")

    assert run(host, "stop", "hello.service") == (
        0,
        f"Unit hello.service loaded on {where}\n",
        "Successfully stopped units [hello.service].\n",
    )
    assert run(host, "unload", "hello.service") == (0, "Unit hello.service inactive\n", "")
    code, _, error = run(host, "stop", "hello.service")
    assert (code, "Unable to stop unit hello.service in state inactive" in error) == (1, True)
    assert run(host, "destroy", "hello.service") == (0, "Destroyed hello.service\n", "")
    assert cells(run(host, "list-unit-files", "--no-legend")[1]) == []


def test_machines(host: Host) -> None:
    (machine,) = json.loads(host.text("machine", "list", "-o", "json"))
    assert cells(run(host, "list-machines")[1]) == [
        ["MACHINE", "IP", "METADATA"],
        [machine["id"][:8] + "...", "192.0.2.7", "az=b,disk=ssd"],
    ]
    assert cells(run(host, "list-machines", "-l", "--no-legend", "--fields=machine")[1]) == [[machine["id"]]]


def test_a_changed_file_is_warned_of_and_replaced_when_told_to(host: Host) -> None:
    file = host.home / "other.service"
    file.write_bytes(HELLO)
    assert run(host, "submit", "other.service")[0] == 0
    file.write_bytes(HELLO + b"# changed\n")
    code, _, error = run(host, "submit", "other.service")
    assert (code, "Add --replace to override" in error) == (0, True)
    assert run(host, "cat", "other.service")[1] == HELLO.decode()
    assert run(host, "submit", "--replace", "other.service")[0] == 0
    assert run(host, "cat", "other.service")[1].endswith("# changed\n")
    assert run(host, "destroy", "other.service", "absent.service") == (
        0,
        "Destroyed other.service\nDestroyed absent.service\n",
        "",
    )


def test_an_instance_is_made_of_its_template(host: Host) -> None:
    (host.home / "web@.service").write_bytes(HELLO)
    assert run(host, "start", "--no-block", "web@1.service")[1] == (
        "Unit web@1.service inactive\nTriggered unit web@1.service start\n"
    )
    assert run(host, "cat", "web@1.service")[1] == HELLO.decode()
    assert run(host, "destroy", "web@1.service")[0] == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("frobnicate",), 2, "unknown command"),
        (("start",), 1, "no units given"),
        (("start", "absent.service"), 1, "Unable to find"),
        (("cat", "absent.service"), 1, "absent.service"),
        (("cat", "../etc/passwd"), 1, "passwd"),
        (("--driver=etcd", "list-units"), 1, "no driver etcd"),
        (("list-units", "--fields=nothing"), 1, "Invalid key 'nothing'"),
        (("--endpoint=http://127.0.0.1:1", "list-units"), 1, "No node answers"),
        (("journal", "--lines=x", "hello.service"), 1, "invalid value 'x'"),
    ],
)
def test_what_goes_wrong_is_said(host: Host, words: tuple[str, ...], code: int, said: str) -> None:
    found, output, error = run(host, *words)
    assert (found, output) == (code, "")
    assert said in error
    assert "Traceback" not in error


def test_version_and_help(host: Host) -> None:
    """[ClientVersionFlag, ClientVersionHelpOutput, ClientHelpFlag]"""
    code, version, _ = run(host, "--version")
    assert (code, version.startswith("fleetctl version 1.0.0 ")) == (0, True)
    assert run(host, "version") == (0, version, "")
    for words in (("help",), ("--help",), ("-h",)):
        code, said, _ = run(host, *words)
        assert (code, "list-unit-files" in said) == (0, True)


def test_a_variable_names_the_node(host: Host) -> None:
    """[FleetctlWithEnv]"""
    code, _, error = run(host, "list-machines", FLEETCTL_ENDPOINT="http://127.0.0.1:1")
    assert (code, "No node answers (http://127.0.0.1:1" in error) == (1, True)
    here = f"unix://{host.home}/data/corenode.sock"
    assert run(host, "list-machines", FLEETCTL_ENDPOINT=here) == run(host, "list-machines")


def test_a_socket_is_carried_over_standard_input_and_output(host: Host) -> None:
    done = subprocess.run(
        [PROGRAM[0], host.home / "fleetctl", "fd-forward", str(host.home / "data" / "corenode.sock")],
        input=b"GET /fleet/v1/machines HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        env={**host.environment, "PYTHONPATH": str(Path(PROGRAM[1]).parent)},
        capture_output=True,
        timeout=30,
        check=True,
    )
    assert done.stdout.startswith(b"HTTP/1.1 200")
    assert b'"primaryIP":"192.0.2.7"' in done.stdout


def test_a_unit_that_ends_at_once_is_not_waited_for(host: Host) -> None:
    (host.home / "once.service").write_text("[Service]\nType=oneshot\nExecStart=/bin/true\n")
    assert run(host, "start", "--block-attempts=60", "once.service")[0] == 0
    assert run(host, "destroy", "once.service")[0] == 0
