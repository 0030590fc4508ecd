"""The verbs over TLS, against a node that asks for client certificates."""

import datetime
import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.cli.programs import Host, Node

pytestmark = pytest.mark.slow


class Authority:
    """Signs certificates and writes them as `NAME.pem` and `NAME.key`."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        builder = self._builder(self._name, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self.file = self._write(name, builder.sign(self._key, hashes.SHA256()))

    def issue(self, name: str, organisation: str = "") -> tuple[str, str]:
        """The certificate and the key for `name` on this host."""
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]
        if organisation:
            attributes.append(x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, organisation))
        subject = x509.Name(attributes)
        here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        builder = self._builder(subject, key.public_key()).add_extension(here, critical=False)
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        key_file = self._directory / f"{name}.key"
        form = serialization.PrivateFormat.PKCS8
        key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
        key_file.chmod(0o600)
        return self._write(name, builder.sign(self._key, hashes.SHA256())), str(key_file)

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        day = datetime.timedelta(days=1)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key)
        return builder.serial_number(x509.random_serial_number()).not_valid_before(now - day).not_valid_after(now + day)

    def _write(self, name: str, certificate: x509.Certificate) -> str:
        file = self._directory / f"{name}.pem"
        file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return str(file)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "authority")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Node]:
    certificate, key = authority.issue("node")
    flags = ["--cert-file", certificate, "--key-file", key, "--trusted-ca-file", authority.file, "--client-cert-auth"]
    host = Host(tmp_path_factory.mktemp("host"))
    with host.node("--listen-client-urls", "https://127.0.0.1:0", *flags) as running:
        yield running


def _kv(node: Node, *options: str) -> tuple[int, str]:
    done = node.host.run("kv", "put", "/a", "1", "--endpoints", node.url, *options)
    return done.returncode, done.stderr.decode()


def test_with_a_certificate_everything_is_open(node: Node, authority: Authority) -> None:
    certificate, key = authority.issue("client", "corenode:admin")
    options = ["--cacert", authority.file, "--cert", certificate, "--key", key]
    assert _kv(node, *options)[0] == 0
    variables: dict[str, Any] = {"CORENODE_CACERT": authority.file, "CORENODE_CERT": certificate, "CORENODE_KEY": key}
    assert node.host.run("status", "--endpoints", node.url, **variables).returncode == 0


def test_without_a_certificate(node: Node, authority: Authority) -> None:
    code, told = _kv(node, "--cacert", authority.file)
    assert code == 1
    assert "TLS" in told
    assert "Traceback" not in told


def test_a_certificate_of_another_authority(node: Node, authority: Authority, tmp_path: Path) -> None:
    certificate, key = Authority(tmp_path, "other").issue("stranger")
    code, told = _kv(node, "--cacert", authority.file, "--cert", certificate, "--key", key)
    assert code == 1
    assert "Traceback" not in told


def test_an_authority_that_did_not_sign_the_node(node: Node, tmp_path: Path) -> None:
    code, told = _kv(node, "--cacert", Authority(tmp_path, "other").file)
    assert code == 1
    assert "TLS: " in told
    assert "issuer" in told or "self-signed" in told


def test_plain_http_to_a_tls_port(node: Node) -> None:
    code, told = _kv(node, "--endpoints", node.url.replace("https", "http"))
    assert code == 1
    assert "Traceback" not in told


def test_on_its_own_host_no_certificate_is_needed(node: Node) -> None:
    assert node.host.run("kv", "put", "/a", "1").returncode == 0
