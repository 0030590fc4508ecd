"""A gate over a state machine in memory, certificates, and credentials."""

import base64
import datetime
from collections.abc import Callable
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from core.api.access.gate import Gate
from core.api.access.hashing import Hashing
from core.api.access.passwords import hashed
from core.api.store import Damage
from core.kv import commands as c
from core.kv.keyspace import Keyspace
from core.kv.memory import MemoryStore


class Records:
    """A cluster's state machine without the cluster."""

    def __init__(self) -> None:
        self.keyspace = Keyspace(MemoryStore())
        self._index = 0

    def do(self, *batch: c.Command) -> Any:
        """Apply a batch; the outcome of its last command."""
        self._index += 1
        return self.keyspace.apply(self._index, 1, c.decode(c.encode(c.Batch(0, batch))))[0][-1]

    def admitted(self, command: c.Admissible) -> Any:
        """Apply a command as if it had been allowed just now."""
        return self.do(c.Admitted(self.keyspace.access.switch.revision, command))

    def propose(self, command: c.Command, done: Callable[[Any], None]) -> None:
        """As a store: applied at once."""
        done(self.do(command))

    def restrict(self, root: str = "secret") -> None:
        """Make root and enable."""
        self.do(c.UserCreate("root", cheap(root)))
        self.do(c.AuthSwitch(True))


def open_gate() -> Gate:
    """A gate that restricts nothing."""
    return Gate(Records().keyspace.access, Hashing(), Damage())


def cheap(password: str) -> str:
    """A hash that is good enough for a test, and quick."""
    return hashed(password.encode(), log_n=4)


def basic(user: str, password: str) -> tuple[bytes, bytes]:
    """The header that says who one is."""
    return b"authorization", b"Basic " + base64.b64encode(f"{user}:{password}".encode())


@cache
def certificate(name: str, *organisations: str) -> bytes:
    """A certificate of that common name and those organisations, DER, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, each) for each in organisations]
    subject = x509.Name([*attributes, *([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(start).not_valid_after(start + datetime.timedelta(days=36500))
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
