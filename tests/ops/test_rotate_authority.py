"""`ops/rotate-authority` against a real node that serves only mutual TLS."""

import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from core.tls.authority import load_chain
from core.tls.identity import Role
from tests.ops.test_scripts import OPS, environment, run
from tests.tls.certificates import Workshop

pytestmark = pytest.mark.slow


def test_a_rotation_from_the_beginning_to_the_end(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    copy, certificate = tmp_path / "copy.crt", workshop.server.certificate
    shutil.copy(tmp_path / "ca" / "ca.crt", copy)
    with workshop.node() as node:
        env = environment(workshop, node)
        early = run("rotate-authority", "ca", "--finish", "--trust", copy, env={**env, "WAIT": "1"}, cwd=tmp_path)
        assert (early.returncode, early.stdout) == (0, "rotate-authority: finished; 0 trust files replaced\n")

        words: list[str | Path] = ["ca", "--trust", copy, certificate, tmp_path / "certs" / "alice.crt"]
        for replaced, renewed in ((1, 2), (0, 0)):
            begun = run("rotate-authority", *words, env=env, cwd=tmp_path)
            told = f"rotate-authority: begun; {replaced} trust files replaced, {renewed} of 2 certificates renewed\n"
            assert (begun.returncode, begun.stdout) == (0, told), begun.stderr
        assert len(load_chain(copy)) == 2

        bob = workshop.authority.issue(
            Role.CLIENT, "bob", [], tmp_path / "certs"
        )  # by the old authority, a moment late
        late = run("rotate-authority", "ca", "--finish", "--trust", copy, env={**env, "WAIT": "0"}, cwd=tmp_path)
        assert (late.returncode, late.stdout) == (1, "")
        assert "client bob, serial" in late.stderr
        assert len(load_chain(copy)) == 2

        assert run("rotate-authority", *words[:1], bob.certificate, env=env, cwd=tmp_path).returncode == 0
        for replaced in (1, 0):  # the node may not have taken its new certificate yet: the script waits
            done = run("rotate-authority", "ca", "--finish", "--trust", copy, env=env, cwd=tmp_path)
            assert (done.returncode, done.stdout) == (
                0,
                f"rotate-authority: finished; {replaced} trust files replaced\n",
            )
        assert load_chain(copy) == load_chain(tmp_path / "ca" / "ca.crt")
        assert len(load_chain(copy)) == 1
        assert run("health", node.url, env=env, cwd=tmp_path).returncode == 0


def test_interrupted_it_can_be_repeated(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    with workshop.node() as node:
        env = environment(workshop, node)
        certificates = [str(workshop.issue(Role.CLIENT, f"c{number}").certificate) for number in range(5)]
        copies = [tmp_path / f"copy{number}.crt" for number in range(5)]
        words = [word for copy in copies for word in ("--trust", str(copy))]
        command = [str(OPS / "rotate-authority"), "ca", *words, *certificates]
        with subprocess.Popen(
            command, env=env, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as started:
            deadline = time.monotonic() + 30
            while not copies[0].exists():
                assert time.monotonic() < deadline
                time.sleep(0.005)
            started.send_signal(signal.SIGTERM)
            started.communicate(timeout=30)
            assert started.returncode == 130
        assert not list(tmp_path.glob("copy*.crt.*"))
        again = run("rotate-authority", *command[1:], env=env, cwd=tmp_path)
        assert again.returncode == 0, again.stderr
        assert all(len(load_chain(copy)) == 2 for copy in copies)
        assert all(len(load_chain(Path(certificate))) == 3 for certificate in certificates)
