"""A real node under the name `etcd`, started exactly as Debian's etcd is in other tests, and driven by its etcdctl."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.whole.servers import DIES_WITH_PARENT, HOST, ROOT, command_line, free_port, is_healthy

pytestmark = pytest.mark.slow


@pytest.fixture
def link(tmp_path: Path) -> Path:
    made = tmp_path / "bin" / "etcd"
    made.parent.mkdir()
    made.symlink_to(ROOT / "cli.py")
    return made


def run(link: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(link), *words],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=link.parent,
        env={"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(link.parent), **environ},
    )


@contextmanager
def running(
    link: Path, port: int, words: Sequence[str], environ: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """The process, healthy at its port; killed at the end."""
    with (link.parent / "output").open("wb") as output:
        process = subprocess.Popen(
            [*DIES_WITH_PARENT, sys.executable, str(link), *words],
            stdout=output,
            stderr=output,
            cwd=link.parent,
            env={"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(link.parent), **environ},
        )
    try:
        end = time.monotonic() + 20
        while not is_healthy(port):
            assert process.poll() is None, (link.parent / "output").read_text()
            assert time.monotonic() < end
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


def etcdctl(port: int, *words: str) -> str:
    done = subprocess.run(
        ["etcdctl", "--endpoints", f"http://{HOST}:{port}", *words],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
        env={**os.environ, "ETCDCTL_API": "2"},
    )
    return done.stdout


def test_the_flags_of_debians_etcd(link: Path, tmp_path: Path) -> None:
    port = free_port()
    _, *words = command_line("etcd", tmp_path / "data", port)
    with running(link, port, words, {}) as process:
        etcdctl(port, "set", "/greeting", "hello")
        assert etcdctl(port, "get", "/greeting") == "hello\n"
        assert "cluster is healthy" in etcdctl(port, "cluster-health")
        member = etcdctl(port, "member", "list")
        assert "name=judged" in member
        assert f"clientURLs=http://{HOST}:{port}" in member
        assert f"peerURLs={words[words.index('--initial-advertise-peer-urls') + 1]}" in member
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        assert children == ""  # it stays one process
        assert "kv put" not in (link.parent / "output").read_text()  # these verbs need the other name
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_variables_and_systemd_as_debians_unit_has_them(link: Path, tmp_path: Path) -> None:
    port, peer = free_port(), f"http://{HOST}:{free_port()}"
    client = f"http://{HOST}:{port}"
    environ = {
        "ETCD_NAME": "host1",
        "ETCD_DATA_DIR": str(tmp_path / "default"),
        "DAEMON_ARGS": "",
        "ETCD_LISTEN_CLIENT_URLS": client,
        "ETCD_ADVERTISE_CLIENT_URLS": client,
        "ETCD_LISTEN_PEER_URLS": peer,
        "ETCD_INITIAL_ADVERTISE_PEER_URLS": peer,
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
    }
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(environ["NOTIFY_SOCKET"])
        notified.settimeout(20)
        with running(link, port, [], environ):
            assert b"READY=1" in notified.recv(4096)
            assert "name=host1" in etcdctl(port, "member", "list")
    assert (tmp_path / "default" / "format").exists()


def test_a_file_and_a_listener_that_others_reach(link: Path, tmp_path: Path) -> None:
    port, peer = free_port(), f"http://{HOST}:{free_port()}"
    file = tmp_path / "etcd.yml"
    file.write_text(
        f"name: filed\ndata-dir: {tmp_path / 'data'}\nlisten-client-urls: http://0.0.0.0:{port}\n"
        f"advertise-client-urls: http://0.0.0.0:{port}\nlisten-peer-urls: {peer}\n"
        f"initial-advertise-peer-urls: {peer}\nsnapshot-count: 10000\n"
    )
    with running(link, port, ["--config-file", str(file)], {}):
        etcdctl(port, "set", "/a", "1")
        told = (link.parent / "output").read_text()
    assert "reads and writes every key" in told
    assert "snapshot-count has no effect here" in told


def test_its_version_is_in_etcds_form(link: Path) -> None:
    first, *rest = run(link, "--version").stdout.splitlines()
    assert first == "etcd Version: 3.4.23"
    assert [line.split(":")[0] for line in rest] == ["Git SHA", "Go Version", "Go OS/Arch"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--nonsense"], "flag provided but not defined: -nonsense"),
        (["gateway", "start"], "there is no proxy here"),
        (["--proxy", "on"], "there is no proxy here"),
        (["--listen-peer-urls", "http://10.0.0.1:2380"], "members speak only TLS"),
    ],
)
def test_what_it_refuses(link: Path, words: list[str], why: str) -> None:
    done = run(link, *words)
    assert done.returncode == 2
    assert why in done.stderr
    assert "Traceback" not in done.stderr


def test_its_help(link: Path) -> None:
    done = run(link, "--help")
    assert done.returncode == 0
    assert "--initial-cluster" in done.stdout
