"""A worker between clients and members that all want certificates."""

import subprocess
from pathlib import Path

import pytest

from core.tls.identity import Role
from tests.cli.programs import PROGRAM
from tests.ops.clusters import TlsCluster
from tests.whole.servers import HOST

pytestmark = pytest.mark.slow


def flags(cluster: TlsCluster, certificate: Path) -> list[str]:
    """A worker that shows this to the members."""
    trust = str(cluster.home / "trust.crt")
    shown = ["--peer-cert-file", str(certificate), "--peer-key-file", str(certificate.with_suffix(".key"))]
    return ["--role", "worker", "--members", cluster.clients["n1"], *shown, "--peer-trusted-ca-file", trust]


def test_a_certificate_opens_the_door_of_a_worker_and_gives_no_more(tmp_path: Path) -> None:
    with TlsCluster(tmp_path, "n1") as cluster:
        workshop = cluster.workshop
        own = workshop.issue(Role.CLIENT, "worker1")
        alice = tmp_path / "certs" / "alice"
        with workshop.node(*flags(cluster, own.certificate), "--name", "worker1") as worker:

            def curl(path: str, certificate: Path, *options: str) -> str:
                command = ["curl", "--silent", "--max-time", "10", "--cacert", cluster.env["CORENODE_CACERT"], *options]
                command += ["--cert", f"{certificate}.crt", "--key", f"{certificate}.key", worker.url + path]
                return subprocess.run(command, capture_output=True, text=True, timeout=30).stdout

            assert '"value":"1"' in curl("/v2/keys/a", alice, "--request", "PUT", "--data", "value=1")
            # An admin here, but the members see only the worker.
            assert "is a worker" in curl("/corenode/members", alice)
            assert "a client certificate of the role admin" in curl("/v2/auth/users", alice)
            refused = curl("/v2/keys/a", tmp_path / "peer-n1" / "n1")
            assert refused == "its certificate is that of a peer, and this port is for clients\n"
            told = worker.host.run("status", "--endpoints", f"unix://{worker.file.socket}")
            assert b"worker1  worker" in told.stdout
        for wrong in (alice.with_suffix(".crt"), tmp_path / "peer-n1" / "n1.crt"):
            command = [*PROGRAM, "up", "--data-dir", "other", "--listen-client-urls", f"http://{HOST}:0"]
            done = subprocess.run(
                [*command, *flags(cluster, wrong)], capture_output=True, text=True, cwd=tmp_path, timeout=30
            )
            assert (done.returncode, "is no plain client's certificate" in done.stderr) == (1, True)
