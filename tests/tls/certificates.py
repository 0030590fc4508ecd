"""Certificates that no authority should make, for tests; and a node with its authority."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from core.tls.authority import Authority, Pair, create
from core.tls.certificates import Key, new_key
from core.tls.identity import Role
from tests.cli.programs import Host, Node

HOUR = timedelta(hours=1)


class Workshop:
    """A host with an authority in `ca`, certificates in `certs`, and a server's certificate among them."""

    def __init__(self, home: Path) -> None:
        self.host = Host(home)
        self.home = home
        home.mkdir(exist_ok=True)
        create(home / "ca", "test authority")
        self.authority = Authority.open(home / "ca")
        self.server = self.issue(Role.SERVER, "node1")

    def issue(self, role: Role, name: str, life: timedelta = 24 * HOUR) -> Pair:
        """As `corenode ca issue`."""
        names = ["127.0.0.1", "localhost"] if role.serves else []
        return self.authority.issue(role, name, names, self.home / "certs", life)

    def forge(self, name: str, begin: timedelta, end: timedelta, *, self_signed: bool = False) -> Pair:
        """A client's certificate valid between two moments from now, as a wrong clock or a stranger would make it."""
        key = new_key()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = self.authority.certificate
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder().subject_name(subject).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now + begin)
        builder = builder.not_valid_after(now + end).issuer_name(subject if self_signed else issuer.subject)
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = builder.add_extension(usage, critical=False)
        signed = builder.sign(key if self_signed else self._issuing_key(), hashes.SHA256())
        pair = Pair(self.home / "certs" / f"{name}.crt", self.home / "certs" / f"{name}.key")
        pem = serialization.Encoding.PEM
        pair.certificate.write_bytes(signed.public_bytes(pem) + issuer.public_bytes(pem))
        form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        pair.key.write_bytes(key.private_bytes(pem, form, plain))
        pair.key.chmod(0o600)
        return pair

    def _issuing_key(self) -> Key:
        key = serialization.load_pem_private_key((self.home / "ca" / "issuing.key").read_bytes(), None)
        if not isinstance(key, Key):
            raise TypeError("the issuing key is of another kind")
        return key

    def flags(self) -> list[str]:
        """What makes a node serve only mutual TLS."""
        files = ["--cert-file", str(self.server.certificate), "--key-file", str(self.server.key)]
        return [*files, "--trusted-ca-file", str(self.home / "ca" / "ca.crt"), "--client-cert-auth"]

    @contextmanager
    def node(self, *more: str, urls: str = "https://127.0.0.1:0") -> Iterator[Node]:
        """A node that does."""
        with self.host.node("--listen-client-urls", urls, *self.flags(), *more) as node:
            yield node

    def curl(self, node: Node, path: str, pair: Pair | None, *options: str) -> list[str]:
        """The command line of a foreign client."""
        shown = [] if pair is None else ["--cert", str(pair.certificate), "--key", str(pair.key)]
        command = ["curl", "--silent", "--show-error", "--max-time", "10", "--cacert", str(self.home / "ca" / "ca.crt")]
        return [*command, *shown, *options, node.url + path]
