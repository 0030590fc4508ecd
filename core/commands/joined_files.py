"""The files of a host that joins: keys first, then certificates, the configuration last.

    DATA-DIR/tls/ca.crt                whom it trusts
    DATA-DIR/tls/peer.crt, .key        a member's; of a worker `host.crt` and `host.key`
    DATA-DIR/tls/server.crt, .key      what clients see
    DATA-DIR/corenode.toml             for `corenode up`; once it is there, the host has joined

Keys are made once and kept, so that whoever was interrupted is the same host when it asks again.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from core.commands.ca import explained
from core.commands.failure import Failure
from core.commands.up import JOINED
from core.tls import enrolment, files
from core.tls.certificates import Key

if TYPE_CHECKING:
    from core.client.joining import Asked, Granted

TLS, CA = "tls", "ca.crt"


class Wanted(msgspec.Struct, frozen=True):
    """What the command line said."""

    role: str
    name: str
    data_dir: Path
    listen_client_urls: tuple[str, ...]
    advertise_client_urls: tuple[str, ...]
    listen_peer_urls: tuple[str, ...]
    advertise_peer_urls: tuple[str, ...]
    machine: str
    """The machine id of a worker; empty for a member."""


class JoinedFiles:
    """`begin`, ask the cluster, `finish`."""

    def __init__(self, wanted: Wanted, identity: Key, server: Key) -> None:
        self._wanted = wanted
        self._identity = identity
        self._server = server

    @classmethod
    def begin(cls, wanted: Wanted) -> "JoinedFiles":
        """Find or make the keys. Failure if the directory is in use already, or cannot be used."""
        configuration = wanted.data_dir / JOINED
        if configuration.exists():
            raise Failure(f"This host has joined already; start it with: corenode up --config {configuration}")
        if (wanted.data_dir / "format").exists():
            raise Failure(f"{wanted.data_dir} has the data of a member already; name another --data-dir, or remove it.")
        with explained():
            wanted.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            tls = wanted.data_dir / TLS
            tls.mkdir(mode=0o700, exist_ok=True)
            identity = enrolment.own_key(tls / f"{_identity(wanted)}.key")
            return cls(wanted, identity, enrolment.own_key(tls / "server.key"))

    def asked(self, token: str) -> "Asked":
        """What to ask the cluster for."""
        from core.client.joining import Asked

        return Asked(
            token,
            self._wanted.role,
            self._wanted.name,
            enrolment.request(self._identity),
            enrolment.request(self._server),
            self._wanted.advertise_client_urls,
            self._wanted.advertise_peer_urls,
            self._wanted.machine,
        )

    def finish(self, granted: "Granted") -> Path:
        """Write what was granted; the configuration file."""
        tls = self._wanted.data_dir / TLS
        configuration = self._wanted.data_dir / JOINED
        with explained():
            try:
                enrolment.check_issued(granted.identity, self._identity)
                enrolment.check_issued(granted.server, self._server)
            except enrolment.EnrolmentError as error:
                raise Failure(f"The certificates cannot be used: {error}.") from None
            _put(tls / CA, granted.root)
            _put(tls / f"{_identity(self._wanted)}.crt", granted.identity)
            _put(tls / "server.crt", granted.server)
            _put(configuration, _toml(self._settings(granted)))
        return configuration

    def _settings(self, granted: "Granted") -> dict[str, str | bool]:
        wanted, tls = self._wanted, self._wanted.data_dir / TLS
        common: dict[str, str | bool] = {
            "name": wanted.name,
            "data-dir": str(wanted.data_dir),
            "listen-client-urls": ",".join(wanted.listen_client_urls),
            "advertise-client-urls": ",".join(wanted.advertise_client_urls),
            "cert-file": str(tls / "server.crt"),
            "key-file": str(tls / "server.key"),
            "trusted-ca-file": str(tls / CA),
            "client-cert-auth": granted.client_cert_auth,
        }
        if wanted.role == "worker":
            members = sorted({url for member in granted.members for url in member.client_urls})
            return {
                **common,
                "role": "worker",
                "members": ",".join(members),
                "machine-id": wanted.machine,
                "peer-cert-file": str(tls / "host.crt"),
                "peer-key-file": str(tls / "host.key"),
                "peer-trusted-ca-file": str(tls / CA),
            }
        cluster = sorted(
            f"{member.name}={url}"
            for member in granted.members
            if member.name and member.name != wanted.name
            for url in member.peer_urls
        )
        own = [f"{wanted.name}={url}" for url in wanted.advertise_peer_urls]
        return {
            **common,
            "initial-cluster-state": "existing",
            "initial-cluster": ",".join([*cluster, *own]),
            "listen-peer-urls": ",".join(wanted.listen_peer_urls),
            "initial-advertise-peer-urls": ",".join(wanted.advertise_peer_urls),
            "peer-cert-file": str(tls / "peer.crt"),
            "peer-key-file": str(tls / "peer.key"),
            "peer-trusted-ca-file": str(tls / CA),
        }


def _identity(wanted: Wanted) -> str:
    return "peer" if wanted.role == "member" else "host"


def _put(path: Path, text: str) -> None:
    """Write a file that all may read, in place of one that an interrupted run left."""
    if path.exists():
        files.replace(path, text.encode())
    else:
        files.write_new(path, text.encode(), files.PUBLIC)


def _toml(settings: dict[str, str | bool]) -> str:
    # A JSON text is a TOML text, but for the one escape that TOML does not have, which JSON does not need.
    lines = [f"{name} = {msgspec.json.encode(value).decode()}" for name, value in settings.items()]
    return "# Made by corenode join.\n" + "\n".join(lines) + "\n"
