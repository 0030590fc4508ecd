"""A worker between clients and members that all want certificates."""

import subprocess
from collections.abc import Awaitable, Callable
from contextlib import closing
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import TypeVar

import pytest
import trio

from core.client import Store, connect, prefix
from core.client.errors import RefusedError
from core.kv.reserved import FLEET_PREFIX
from core.tls.authority import Pair
from core.tls.identity import Role
from tests.cli.programs import PROGRAM
from tests.ops.clusters import TlsCluster
from tests.whole.servers import HOST
from tests.whole.test_tls_revocation import connect as connection_to

pytestmark = pytest.mark.slow

T = TypeVar("T")


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
            assert "its certificate is that of a peer" in refused
            told = worker.host.run("status", "--endpoints", f"unix://{worker.file.socket}")
            assert b"worker1  worker" in told.stdout
        for wrong in (alice.with_suffix(".crt"), tmp_path / "peer-n1" / "n1.crt"):
            command = [*PROGRAM, "up", "--data-dir", "other", "--listen-client-urls", f"http://{HOST}:0"]
            done = subprocess.run(
                [*command, *flags(cluster, wrong)], capture_output=True, text=True, cwd=tmp_path, timeout=30
            )
            assert (done.returncode, "is neither a host's nor a plain client's certificate" in done.stderr) == (1, True)


def test_the_certificate_of_a_host_is_for_its_agent_and_not_for_whoever_comes_by(tmp_path: Path) -> None:
    with TlsCluster(tmp_path, "n1") as cluster:
        workshop, machine = cluster.workshop, "0123456789abcdef" * 2
        own = workshop.issue(Role.HOST, machine)
        alice, trust = tmp_path / "certs" / "alice", cluster.env["CORENODE_CACERT"]
        placed = FLEET_PREFIX + b"placements/%b/" % machine.encode()
        unit, state = placed + b"a.service", FLEET_PREFIX + b"states/%b/a.service" % machine.encode()
        admin = Path(cluster.env["CORENODE_CERT"]), Path(cluster.env["CORENODE_KEY"])

        async def as_(pair: tuple[Path, Path], url: str, use: Callable[[Store], Awaitable[T]]) -> T:
            async with connect(url, cacert=trust, cert=pair[0], key=pair[1]) as store:
                return await use(store)

        async def host(store: Store) -> None:
            assert [kv.key for kv in (await store.range(prefix(placed))).kvs] == [unit]
            async with store.lease(10) as lease, store.watch(prefix(placed)) as watch:
                await store.put(state, b"1", lease=lease.id)
                with trio.fail_after(10):
                    await as_(admin, cluster.clients["n1"], lambda other: other.put(unit, b"2"))
                    assert [event.kv.value for event in (await anext(watch)).events] == [b"2"]
                found = await store.get(state)
                assert found is not None
                with pytest.raises(RefusedError):
                    await store.put(unit, b"3")

        async def stranger(store: Store) -> None:
            assert await store.get(unit) is None
            with pytest.raises(RefusedError):
                await store.put(state, b"2")
            await store.put(b"/ordinary", b"1")

        async def main(url: str) -> None:
            await as_(admin, cluster.clients["n1"], lambda store: store.put(unit, b"1"))
            await as_((own.certificate, own.key), cluster.clients["n1"], host)
            for pair in ((own.certificate, own.key), (alice.with_suffix(".crt"), alice.with_suffix(".key"))):
                await as_(pair, url, stranger)

        with workshop.node(*flags(cluster, own.certificate), "--name", "worker1") as worker:
            trio.run(main, worker.url)


def test_a_worker_turns_away_who_is_revoked_also_when_no_member_can_be_asked(tmp_path: Path) -> None:
    with TlsCluster(tmp_path, "n1") as cluster:
        workshop = cluster.workshop
        own, bob = workshop.issue(Role.HOST, "0123456789abcdef" * 2), workshop.issue(Role.CLIENT, "bob")
        with workshop.node(*flags(cluster, own.certificate), "--name", "worker1") as worker:

            def served(connection: HTTPSConnection) -> bool:
                try:
                    connection.request("GET", "/livez")
                    answer = connection.getresponse()
                    answer.read()
                except (OSError, HTTPException):
                    return False
                return answer.status == 200

            def lets_in(pair: Pair) -> bool:
                with closing(connection_to(workshop, worker, pair)) as connection:
                    return served(connection)

            kept = connection_to(workshop, worker, bob)
            assert served(kept)
            assert cluster.run("ca", "revoke", str(bob.certificate)).returncode == 0
            cluster.until(lambda: not served(kept), "the open connection is closed")
            assert not lets_in(bob)
            assert lets_in(own)
            kept_file = Path(worker.file.data_dir) / "revoked.json"
            cluster.until(kept_file.exists, "the list is kept")
            kept.close()
        cluster.kill("n1")
        with workshop.node(
            *flags(cluster, own.certificate), "--name", "worker1", "--data-dir", str(kept_file.parent)
        ) as worker:
            assert not lets_in(bob)
            assert lets_in(own)
