"""The scripts of `ops/` against real nodes that serve only mutual TLS."""

import os
import shlex
import signal
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from core.tls.authority import load_chain
from core.tls.identity import Role
from tests.cli.programs import PROGRAM, Node
from tests.tls.certificates import Workshop

pytestmark = pytest.mark.slow

OPS = Path(__file__).parents[2] / "ops"
SCRIPTS = ("health", "backup", "restore-rehearsal", "certificate-expiry", "renew-certificates", "rotate-authority")


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


@pytest.fixture
def node(workshop: Workshop) -> Iterator[Node]:
    with workshop.node() as node:
        yield node


def environment(workshop: Workshop, node: Node | None = None, name: str = "alice") -> dict[str, str]:
    """As an operator would set it: the program, and a client certificate."""
    program = workshop.home / "program"
    if not program.exists():
        program.write_text(f'#!/bin/sh\nexec {shlex.join(PROGRAM)} "$@"\n')
        program.chmod(0o755)
    found = {**workshop.host.environment, "CORENODE": str(program)}
    if node is not None:
        pair = workshop.issue(Role.ADMIN, name)
        found |= {"CORENODE_ENDPOINTS": node.url, "CORENODE_CACERT": str(workshop.home / "ca" / "ca.crt")}
        found |= {"CORENODE_CERT": str(pair.certificate), "CORENODE_KEY": str(pair.key)}
    return found


def run(script: str, *words: str | Path, env: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [str(OPS / script), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=env, cwd=cwd, timeout=90)


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_and_wrong_usage(script: str, tmp_path: Path) -> None:
    asked = run(script, "--help", env=dict(os.environ), cwd=tmp_path)
    assert (asked.returncode, asked.stderr) == (0, "")
    assert asked.stdout.startswith(f"Usage: ops/{script} ")
    for words in ((), ("--nonsense",)):
        wrong = run(script, *words, env=dict(os.environ), cwd=tmp_path)
        assert (wrong.returncode, wrong.stdout) == (2, "")


def test_health(workshop: Workshop, node: Node) -> None:
    env = environment(workshop, node)
    good = run("health", node.url, env=env, cwd=workshop.home)
    assert (good.returncode, good.stdout) == (0, f"{node.url}/health  healthy\n{node.url}/readyz  healthy\n")
    dead = "https://127.0.0.1:1"
    bad = run("health", dead, node.url, env={**env, "TIMEOUT": "2"}, cwd=workshop.home)
    assert bad.returncode == 1
    assert f"{dead}/health  NOT HEALTHY: curl: (7)" in bad.stdout
    assert f"{node.url}/health  healthy" in bad.stdout
    del env["CORENODE_CERT"]
    assert run("health", node.url, env=env, cwd=workshop.home).returncode == 1


def test_backup_and_rehearsal(workshop: Workshop, node: Node) -> None:
    env = environment(workshop, node)
    for key in ("/a", "/b/c"):
        assert workshop.host.run("kv", "put", key, "1").returncode == 0
    saved = run("backup", "backups", env=env, cwd=workshop.home)
    assert saved.returncode == 0, saved.stderr
    (file,) = (workshop.home / "backups").iterdir()
    assert "whole, revision 3" in saved.stderr
    rehearsed = run("restore-rehearsal", file, env={**env, "TMPDIR": str(workshop.home)}, cwd=workshop.home)
    assert rehearsed.returncode == 0, rehearsed.stderr
    assert "can be restored: revision 3, at the top:\n/a\n/b" in rehearsed.stdout
    assert not [path for path in workshop.home.iterdir() if path.name.startswith("tmp.")]
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    file.write_bytes(damaged)
    refused = run("restore-rehearsal", file, env={**env, "TMPDIR": str(workshop.home)}, cwd=workshop.home)
    assert refused.returncode == 1
    assert not [path for path in workshop.home.iterdir() if path.name.startswith("tmp.")]


def test_backup_keeps_so_many_and_fails_without_a_file(workshop: Workshop, node: Node) -> None:
    env = environment(workshop, node)
    kept = workshop.home / "backups"
    kept.mkdir()
    for day in ("01", "02", "03"):
        (kept / f"2020-01-{day}T000000Z.snapshot").touch()
    (kept / "notes").touch()
    assert run("backup", kept, "--keep", "2", env=env, cwd=workshop.home).returncode == 0
    names = sorted(path.name for path in kept.iterdir())
    assert names[0] == "2020-01-03T000000Z.snapshot"
    assert (len(names), names[-1]) == (3, "notes")
    node.process.send_signal(signal.SIGKILL)
    node.process.wait()
    assert run("backup", kept, "--keep", "1", env=env, cwd=workshop.home).returncode == 1
    assert sorted(path.name for path in kept.iterdir()) == names


def test_expiry_and_renewal(workshop: Workshop) -> None:
    env = environment(workshop)
    short = workshop.issue(Role.CLIENT, "short", timedelta(days=5)).certificate
    long = workshop.issue(Role.CLIENT, "long", timedelta(days=80)).certificate
    serials = [load_chain(file)[0].serial_number for file in (short, long)]
    found = run("certificate-expiry", "30d", short, long, env=env, cwd=workshop.home)
    assert found.returncode == 1
    assert "short" in found.stdout
    assert "long" not in found.stdout
    done = run("renew-certificates", "ca", "30d", short, long, env=env, cwd=workshop.home)
    assert (done.returncode, done.stdout) == (0, "renew-certificates: 1 of 2 renewed\n"), done.stderr
    now = [load_chain(file)[0].serial_number for file in (short, long)]
    assert now[0] != serials[0]
    assert now[1] == serials[1]
    assert run("certificate-expiry", "4d", short, long, env=env, cwd=workshop.home).returncode == 0
    missing = run("renew-certificates", "nowhere", "30d", short, env=env, cwd=workshop.home)
    assert missing.returncode == 1
    assert "no authority in nowhere" in missing.stderr


def test_an_interrupted_rehearsal_leaves_nothing(workshop: Workshop, node: Node) -> None:
    env = {**environment(workshop, node), "TMPDIR": str(workshop.home)}
    assert run("backup", "backups", env=env, cwd=workshop.home).returncode == 0
    (file,) = (workshop.home / "backups").iterdir()
    command = [str(OPS / "restore-rehearsal"), str(file)]
    with subprocess.Popen(
        command, env=env, cwd=workshop.home, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as started:
        if started.stderr is None:
            raise RuntimeError("no pipe")
        started.stderr.readline()  # it has restored, and goes on to start a node
        started.terminate()
        started.communicate(timeout=30)
        assert started.returncode == 130
    assert not [path for path in workshop.home.iterdir() if path.name.startswith("tmp.")]
