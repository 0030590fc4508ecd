"""A new root takes over from the old one under load: nobody who belongs is refused a single request.

Two nodes, and clients of five makes that trust the old root, both, or the new one. What OpenSSL's verifier says of each
certificate in each state is in tests/tls/test_rotation.py.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from core.tls.authority import Authority, Pair, load_chain
from core.tls.identity import Role
from tests.cli.programs import Node
from tests.tls.certificates import HOUR, Workshop
from tests.whole.rotation_clients import KINDS, Client, Curl, Files, KeptConnection, OwnClient, let_write, wait_until


class Cluster:
    """Two nodes with one authority: `first` trusts `ca/ca.crt` itself, `second` a copy of its own."""

    def __init__(self, workshop: Workshop, first: Node, second: Node, second_pair: Pair) -> None:
        self.workshop = workshop
        self.nodes = (first, second)
        self.pairs = (workshop.server, second_pair)
        self.trust = workshop.home / "second.trust"
        self.clients: list[Client] = []

    def start(self, group: str, trust: Path) -> list[Client]:
        """A client of each kind, each at one of the nodes in turn, with a certificate issued now."""
        found: list[Client] = []
        for number, kind in enumerate(KINDS):
            name = f"{group}-{kind.__name__}".lower()
            shown = self.issue(Role.CLIENT, name)
            found.append(kind(name, self.nodes[number % 2].url, Files(trust, shown)))
        self.clients += found
        return found

    def issue(self, role: Role, name: str) -> Pair:
        home = self.workshop.home
        return Authority.open(home / "ca").issue(role, name, [], home / "certs", 24 * HOUR)

    def renew(self, *files: Path) -> None:
        done = self.workshop.host.run("ca", "renew", *map(str, files))
        assert done.returncode == 0, done.stderr

    def finish(self, *words: str) -> tuple[int, str]:
        """`ca rotate --finish`, with both nodes asked through their sockets."""
        sockets = ",".join(f"unix://{node.file.socket}" for node in self.nodes)
        done = self.workshop.host.run("ca", "rotate", "--finish", "--endpoints", sockets, *words)
        return done.returncode, (done.stdout + done.stderr).decode()

    def tls(self) -> list[dict[str, Any]]:
        """What the nodes say of themselves."""
        found = []
        for node in self.nodes:
            text = self.workshop.host.text("status", "-o", "json", "--endpoints", f"unix://{node.file.socket}")
            found.append(json.loads(text)[0]["status"]["tls"])
        return found

    def trusted(self) -> list[list[str]]:
        return [[root["name"] for root in each["trusted"]] for each in self.tls()]

    def give_trust(self) -> None:
        """Copy `ca.crt` for the second node, as an operator should: in one step."""
        part = self.trust.with_suffix(".part")
        shutil.copy(self.workshop.home / "ca" / "ca.crt", part)
        os.replace(part, self.trust)


@contextmanager
def cluster(workshop: Workshop) -> Iterator[Cluster]:
    """It runs, with clients that end before it does."""
    shutil.copy(workshop.home / "ca" / "ca.crt", workshop.home / "second.trust")
    pair = workshop.issue(Role.SERVER, "node2")
    flags = ["--cert-file", str(pair.certificate), "--key-file", str(pair.key), "--client-cert-auth"]
    flags += ["--trusted-ca-file", str(workshop.home / "second.trust"), "--listen-client-urls", "https://127.0.0.1:0"]
    with workshop.node() as first, workshop.host.node(*flags, name="second") as second:
        found = Cluster(workshop, first, second, pair)
        try:
            yield found
        finally:
            for client in found.clients:
                client.stop()


def assert_verb_refused(workshop: Workshop, node: Node, files: Files) -> None:
    """`kv put` fails in words. Which of them depends on whether the alert came before the connection broke."""
    words = ["--endpoints", node.url, "--cacert", str(files.trust)]
    words += ["--cert", str(files.pair.certificate), "--key", str(files.pair.key)]
    done = workshop.host.run("kv", "put", "/refused", "1", *words)
    assert done.returncode == 1
    assert b": TLS: " in done.stderr


OLD, NEW = "test authority", "test authority 2"


def test_from_root_to_root(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    workshop = Workshop(tmp_path)
    live, old, new = tmp_path / "ca" / "ca.crt", tmp_path / "old.crt", tmp_path / "new.crt"
    shutil.copy(live, old)
    with cluster(workshop) as running:
        early = running.start("old", old) + running.start("live", live)
        forgotten = running.issue(Role.CLIENT, "forgotten")
        left_behind: list[Client] = [
            kind(f"left-{kind.__name__}".lower(), node.url, Files(live, forgotten))
            for kind, node in zip((KeptConnection, Curl), running.nodes, strict=True)
        ]
        running.clients += left_behind
        let_write(running.clients)

        workshop.host.run("ca", "rotate")  # the new root is there
        new.write_bytes(load_chain(live)[0].public_bytes(Encoding.PEM))
        running.start("between", old)  # certificates of the new root, for nodes that may not have heard of it
        let_write(running.clients)
        code, told = running.finish()
        assert code == 1
        lines = told.splitlines()
        assert len([line for line in lines if "chains only to the old root" in line]) == 2 + len(early) + 1, told
        assert [line.split()[3].endswith("second/corenode.sock") for line in lines if "trusts only" in line][-1:] == [
            True
        ]

        running.give_trust()
        wait_until(lambda: running.trusted() == [[NEW, OLD]] * 2)
        let_write(running.clients)
        running.renew(*(pair.certificate for pair in running.pairs))
        serials = [f"{load_chain(pair.certificate)[0].serial_number:x}" for pair in running.pairs]
        wait_until(lambda: [each["certificate"]["serial"] for each in running.tls()] == serials)
        running.start("new", new)
        let_write(running.clients)
        for client in early:
            running.renew(client.files.pair.certificate)
        let_write(running.clients)
        code, told = running.finish()
        assert code == 1
        assert [line.split()[1] for line in told.splitlines() if line.startswith("client ")] == ["forgotten,"], told

        for client in left_behind:
            client.stop()
        code, told = running.finish("--force")
        assert code == 0
        assert "forgotten" in told
        running.give_trust()
        wait_until(lambda: running.trusted() == [[NEW]] * 2)
        active = [client for client in running.clients if client not in left_behind]
        let_write(active, 10)
        for client in running.clients:
            client.stop()
        assert [failure for client in running.clients for failure in client.failed] == []

        for kind in KINDS:  # and who has only the old root's certificate is outside, at both nodes
            for number, node in enumerate(running.nodes):
                if kind is OwnClient:
                    assert_verb_refused(workshop, node, Files(old, forgotten))
                    continue
                refused = kind(f"refused-{number}-{kind.__name__}", node.url, Files(old, forgotten))
                running.clients.append(refused)
                let_write([refused], 2)
                refused.stop()
                assert refused.good == 0
        logs = [node.errors.read_text() for node in running.nodes]
        assert all("its certificate is not accepted: " in log for log in logs)
    written = sum(client.good for client in running.clients)
    record_property("checked", f"{written:,} requests of {len(active) + len(left_behind)} clients from root to root")
