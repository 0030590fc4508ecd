"""Certificates revoked and renewed while clients are at work."""

import contextlib
import os
import shutil
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from http.client import HTTPException, HTTPSConnection
from pathlib import Path

from cryptography import x509

from core.tls.authority import Authority, Pair, load_chain
from core.tls.identity import Role
from tests.cli.programs import Node
from tests.tls.certificates import HOUR, Workshop

PATIENCE = 15.0


def connect(workshop: Workshop, node: Node, pair: Pair) -> HTTPSConnection:
    """A connection that will be kept."""
    context = ssl.create_default_context(cafile=workshop.home / "ca" / "ca.crt")
    context.load_cert_chain(pair.certificate, pair.key)
    host, _, port = node.url.partition("://")[2].rpartition(":")
    return HTTPSConnection(host, int(port), timeout=10, context=context)


class Worker:
    """A client that writes, on kept connections and on new ones in turn, until it is told to stop."""

    def __init__(self, workshop: Workshop, node: Node, pair: Pair) -> None:
        self.good: list[float] = []
        """When each success was answered."""
        self.failed: list[tuple[float, str]] = []
        self._connect: Callable[[], HTTPSConnection] = lambda: connect(workshop, node, pair)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        with contextlib.closing(self._connect()) as connection:
            self._write(connection)

    def _write(self, connection: HTTPSConnection) -> None:
        number = 0
        while not self._stopped.wait(0.002):
            number += 1
            if number % 10 == 0:
                connection.close()  # the next request connects anew
            try:
                connection.request("PUT", f"/v2/keys/{id(self)}", b"value=1", {
                    "Content-Type": "application/x-www-form-urlencoded"})  # fmt: skip
                answer = connection.getresponse()
                answer.read()
                if answer.status in (200, 201):
                    self.good.append(time.monotonic())
                else:
                    self.failed.append((time.monotonic(), str(answer.status)))
            except (OSError, HTTPException) as error:
                connection.close()
                self.failed.append((time.monotonic(), repr(error)))


def wait_until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_revoked_under_load(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    workshop = Workshop(tmp_path)
    alice, mallory = workshop.issue(Role.CLIENT, "alice"), workshop.issue(Role.ADMIN, "mallory")
    with workshop.node() as node:
        good, bad = Worker(workshop, node, alice), Worker(workshop, node, mallory)
        watch = subprocess.Popen(
            workshop.curl(node, "/v2/keys/nothing?wait=true", mallory), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        try:
            wait_until(lambda: len(good.good) > 50 and len(bad.good) > 50)
            done = workshop.host.run("ca", "revoke", str(mallory.certificate))
            answered = time.monotonic()
            assert done.returncode == 0, done.stderr
            watch.wait(PATIENCE)  # a long poll that was open ends as well
            ended = time.monotonic() - answered
            wait_until(lambda: len(bad.failed) > 50)
            count = len(good.good)
            wait_until(lambda: len(good.good) > count + 50)
        finally:
            watch.kill()
            watch.communicate()
            good.stop()
            bad.stop()
        assert good.failed == []
        late = [moment - answered for moment in bad.good if moment > answered]
        assert max(late, default=0.0) < 3
        first_new = min(moment for moment, _ in bad.failed)
        assert not [moment for moment in bad.good if moment > first_new + 3]
        assert ended < 5
        log = node.errors.read_text()
        assert "its certificate is revoked: mallory, serial" in log
        node.process.kill()
    with workshop.node() as node:  # and it is still revoked after a crash
        answer = connect(workshop, node, mallory)
        answer.request("GET", "/version")
        assert answer.getresponse().status == 403
        answer.close()
    told = f"{len(good.good):,} writes of a valid client, none failed"
    gone = f"the revoked one out after {max(late, default=0):.1f} s, its long poll after {ended:.1f} s"
    record_property("checked", f"{told}; {gone}")


def test_only_an_admin_or_the_operator_on_the_socket_revokes(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    victim = workshop.issue(Role.CLIENT, "victim")
    number = f"{serial(victim):x}"
    with workshop.node() as node:
        trust = ["--endpoints", node.url, "--cacert", str(workshop.home / "ca" / "ca.crt")]
        for role in (Role.CLIENT, Role.READER, Role.OPERATOR, Role.ADMIN):
            pair = workshop.issue(role, f"one-{role}")
            own = [*trust, "--cert", str(pair.certificate), "--key", str(pair.key)]
            done = workshop.host.run("ca", "revoke", number, *own)
            assert (done.returncode == 0) is (role is Role.ADMIN), done.stderr
        done = workshop.host.run("ca", "revoke", number)
        assert b"was revoked before" in done.stderr
        assert workshop.host.run("ca", "revoke", "no-such-file").returncode == 1


def fingerprint(workshop: Workshop, node: Node, pair: Pair) -> int:
    """The serial number a node shows to a new client."""
    connection = connect(workshop, node, pair)
    with contextlib.closing(connection):
        connection.connect()
        shown: bytes = connection.sock.getpeercert(binary_form=True) or b""
        return x509.load_der_x509_certificate(shown).serial_number


def serial(pair: Pair) -> int:
    return load_chain(pair.certificate)[0].serial_number


def test_renewed_under_load_without_a_restart(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    workshop = Workshop(tmp_path)
    alice = workshop.issue(Role.CLIENT, "alice")
    with workshop.node() as node:
        worker = Worker(workshop, node, alice)
        seen = {fingerprint(workshop, node, alice)}
        try:
            for wake in (False, True):
                workshop.authority.renew(workshop.server.certificate)
                if wake:
                    node.process.send_signal(signal.SIGHUP)
                    node.wait_for("READY=1")
                wait_until(lambda: fingerprint(workshop, node, alice) == serial(workshop.server))
                seen.add(serial(workshop.server))
        finally:
            worker.stop()
        assert len(seen) == 3
        assert worker.failed == []
        assert worker.good
    record_property("checked", f"{len(worker.good):,} writes while two certificates were taken, none failed")


def give_authority(workshop: Workshop, node: Node) -> None:
    """Put the issuing authority into a node's data directory."""
    own = Path(node.file.data_dir) / "authority"
    own.mkdir(mode=0o700)
    for name in ("issuing.crt", "issuing.key"):
        shutil.copy(workshop.home / "ca" / name, own)


def test_a_node_with_the_issuing_authority_renews_itself(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    alice = workshop.issue(Role.CLIENT, "alice")
    workshop.server = workshop.issue(Role.SERVER, "brief", timedelta(seconds=15))  # so it is renewed after 5 s
    with workshop.node() as node:
        first = fingerprint(workshop, node, alice)
        give_authority(workshop, node)
        wait_until(lambda: fingerprint(workshop, node, alice) != first)
        assert fingerprint(workshop, node, alice) == serial(workshop.server)
        log = node.errors.read_text()
        assert log.count("own certificate renewed") == log.count("certificates taken anew") == 1
        assert "not renewed" not in log
    with workshop.node() as again:
        assert fingerprint(workshop, again, alice)


def test_a_renewal_that_fails_is_said_once_and_the_old_certificate_goes_on(tmp_path: Path) -> None:
    workshop, other = Workshop(tmp_path), Workshop(tmp_path / "other")
    alice = workshop.issue(Role.CLIENT, "alice")
    workshop.server = workshop.issue(Role.SERVER, "brief", timedelta(seconds=60))
    workshop.authority.renew(workshop.server.certificate, timedelta(seconds=9))
    with workshop.node() as node:
        give_authority(other, node)
        wait_until(lambda: "own certificate not renewed" in node.errors.read_text())
        assert "was not made by the authority" in node.errors.read_text()
        assert fingerprint(workshop, node, alice) == serial(workshop.server)


def test_what_cannot_be_used_leaves_the_old_certificate(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    alice = workshop.issue(Role.CLIENT, "alice")
    with workshop.node() as node:
        before = fingerprint(workshop, node, alice)
        kept = tmp_path / "kept.key"
        shutil.copy(workshop.server.key, kept)
        workshop.server.key.write_bytes(alice.key.read_bytes())
        wait_until(lambda: "new certificates not taken" in node.errors.read_text())
        assert fingerprint(workshop, node, alice) == before
        assert "does not belong to" in node.errors.read_text()
        os.replace(kept, workshop.server.key)
        wait_until(lambda: "certificates taken anew" in node.errors.read_text())
        assert node.errors.read_text().count("not taken") == 1


def test_three_commands_and_the_same_from_a_file(tmp_path: Path) -> None:
    """As the README has it."""
    workshop = Workshop(tmp_path)
    alice = workshop.issue(Role.CLIENT, "alice", 2 * HOUR)
    config = tmp_path / "corenode.toml"
    config.write_text(
        'cert-file = "certs/node1.crt"\nkey-file = "certs/node1.key"\n'
        'trusted-ca-file = "ca/ca.crt"\nclient-cert-auth = true\n'
    )
    assert Authority.open(tmp_path / "ca").made(load_chain(alice.certificate)[0])
    with workshop.host.node("--listen-client-urls", "https://127.0.0.1:0", "--config", str(config)) as node:
        served = subprocess.run(workshop.curl(node, "/version", alice), capture_output=True)
        assert served.returncode == 0
        assert subprocess.run(workshop.curl(node, "/version", None), capture_output=True).returncode != 0
