"""Every setting of a node, once: its flag, its default, how its text is read, what it means.

The command line, the environment (`CORENODE_` and the name in capitals) and the configuration file are all made
from this table. Names that etcd has are etcd's.
"""

import re
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from core.addresses import Url, parse
from core.machine_id import is_machine_id


class Setting(msgspec.Struct, frozen=True):
    """One setting. `read` turns its text into the value and raises ValueError with a sentence for people."""

    name: str
    """As on the command line, without the dashes in front."""
    group: str
    """The heading it stands under in `corenode up --help`."""
    read: Callable[[str], Any]
    default: str
    """As text; empty: none."""
    help: str
    live: bool = False
    """Whether a reload (SIGHUP) takes up a new value."""
    metavar: str = "TEXT"

    @property
    def field(self) -> str:
        """Its name in `Config`."""
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return f"CORENODE_{self.field.upper()}"

    @property
    def flag(self) -> bool:
        """Whether it is a switch that needs no value."""
        return self.read is boolean


def _list(text: str) -> tuple[str, ...]:
    return tuple(part for part in (piece.strip() for piece in text.split(",")) if part)


def urls(text: str) -> tuple[Url, ...]:
    """A list of URLs, separated by commas."""
    return tuple(parse(part) for part in _list(text))


def initial_cluster(text: str) -> tuple[tuple[str, tuple[Url, ...]], ...]:
    """Members as `NAME=URL`, separated by commas; a name with several URLs stands there several times."""
    members: dict[str, list[Url]] = {}
    for part in _list(text):
        member, mark, url = part.partition("=")
        if not mark:
            raise ValueError(f"{part!r} is no member; write it like node1=https://10.0.0.1:2380")
        members.setdefault(name(member), []).append(parse(url))
    return tuple((member, tuple(sorted(set(found)))) for member, found in members.items())


def discovery(text: str) -> str:
    """A discovery URL: one with a path."""
    parts = urlsplit(text)
    if text and (parts.scheme not in ("http", "https") or not parts.hostname or not parts.path.strip("/")):
        raise ValueError(
            f"{text!r} is no discovery URL; write it like http://10.0.0.1:2379/v2/keys/_etcd/registry/any-new-word"
        )
    return text.rstrip("/")


def boolean(text: str) -> bool:
    """`true` or `false`."""
    if text.lower() in ("true", "1"):
        return True
    if text.lower() in ("false", "0"):
        return False
    raise ValueError(f"{text!r} is neither true nor false")


def path(text: str) -> Path | None:
    """A path; None if empty."""
    return Path(text) if text else None


def name(text: str) -> str:
    """A member's name: it stands before the `=` of --initial-cluster."""
    if not text or len(text) > 255 or not text.isprintable() or any(mark in text for mark in "=,/ "):
        raise ValueError(f"{text!r} is no name: 1 to 255 printable characters without space, comma, slash or =")
    return text


def machine_id(text: str) -> str:
    """The id of a host; empty: to be found."""
    if text and not is_machine_id(text):
        raise ValueError(f"{text!r} is no machine id: 32 hexadecimal digits, in small letters")
    return text


def address(text: str) -> str:
    """An IP address; empty: to be found."""
    if text:
        try:
            return str(ip_address(text))
        except ValueError:
            raise ValueError(f"{text!r} is no IP address") from None
    return text


_KEY = re.compile(r"[A-Za-z0-9_.-]{1,200}")
_VOUCHED = "operator."
"""What a host says under such a key of itself does not count (`core.sched.view`)."""


def metadata(text: str) -> tuple[tuple[str, str], ...]:
    """`KEY=VALUE`, separated by commas."""
    found: dict[str, str] = {}
    for part in _list(text):
        key, _, value = part.partition("=")
        if not _KEY.fullmatch(key) or not value or not value.isprintable():
            raise ValueError(f"{part!r} is no metadata; write it like disk=ssd,zone=b")
        if key.startswith(_VOUCHED):
            raise ValueError(f"{key} is for operators to say, with fleetctl or PATCH /fleet/v1/machines")
        if found.setdefault(key, value) != value:
            raise ValueError(f"{key} is given twice, as {found[key]} and {value}")
    return tuple(found.items())


def presence(text: str) -> int:
    """Seconds that a host may be silent, as `30s` or `2m`, or bare."""
    seconds = float(text) if text.isdecimal() else duration(text)
    if not _PRESENCE[0] <= seconds <= _PRESENCE[1] or seconds != int(seconds):
        raise ValueError(f"{text!r} is not within {_PRESENCE[0]} s and {_PRESENCE[1]} s")
    return int(seconds)


_PRESENCE = 2, 3600
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def duration(text: str) -> float:
    """Seconds in a duration such as `24h`, `1h30m` or `500ms`; a bare number counts hours, as in etcd."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text) * 3600
    if not re.fullmatch(rf"(?:{_DURATION.pattern})+", text):
        raise ValueError(f"{text!r} is no duration; write it like 24h, 1h30m or 90s")
    return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION.findall(text))


_SIZES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def size(text: str) -> int:
    """Bytes in a size such as `8589934592`, `512MiB` or `8GiB`; at least 1."""
    match = re.fullmatch(r"(\d+)\s*(?:([kmgt])i?b?)?", text.lower())
    if match is None or int(match[1]) == 0:
        raise ValueError(f"{text!r} is no size; write the number of bytes, or like 512MiB or 8GiB")
    return int(match[1]) * _SIZES[match[2] or ""]


def count(text: str) -> int:
    """A whole number of at least 1."""
    if not re.fullmatch(r"\d+", text) or int(text) == 0:
        raise ValueError(f"{text!r} is not a whole number above 0")
    return int(text)


def tls_version(text: str) -> str:
    """`1.2` or `1.3`; etcd writes `TLS1.2`."""
    version = text.upper().removeprefix("TLS")
    if version not in ("1.2", "1.3"):
        raise ValueError(f"{text!r} is neither 1.3 nor 1.2")
    return version


def _choice(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"{text!r} is not one of {', '.join(words)}")
        return text.lower()

    return read


_NODE, _CLIENTS, _TLS = "Node", "Client traffic", "TLS for clients"
_CLUSTER, _PEERS, _STORE, _LOG = "Cluster", "Peer traffic", "Store", "Log"
_UNITS = "Units"

SETTINGS = (
    Setting("name", _NODE, name, "default", "Name of this member."),
    Setting(
        "role",
        _NODE,
        _choice("member", "worker"),
        "member",
        "member, or worker: no member and without data of its own, it passes requests on to --members.",
        metavar="ROLE",
    ),
    Setting(
        "members",
        _NODE,
        urls,
        "",
        "A worker's way to the cluster: client URLs of members, separated by commas. They name the others.",
        metavar="URLS",
    ),
    Setting("data-dir", _NODE, path, "", "Directory of the data.  [default: NAME.corenode]", metavar="DIR"),
    Setting(
        "socket",
        _NODE,
        path,
        "",
        "Unix socket for root and the node's own user.  [default: DATA-DIR/corenode.sock]",
        metavar="PATH",
    ),
    Setting(
        "machine-id",
        _NODE,
        machine_id,
        "",
        "Id of this host, 32 hexadecimal digits.  [default: that of the host, or of a data directory of your own]",
        metavar="ID",
    ),
    Setting(
        "listen-client-urls",
        _CLIENTS,
        urls,
        "http://127.0.0.1:2379",
        "Where to listen for clients, separated by commas. Port 0 takes any free port; add port 4001 for old clients.",
        metavar="URLS",
    ),
    Setting(
        "advertise-client-urls",
        _CLIENTS,
        urls,
        "",
        "What clients are told to connect to.  [default: the listening URLs]",
        metavar="URLS",
    ),
    Setting(
        "allow-plain-http",
        _CLIENTS,
        boolean,
        "false",
        "Allow http:// URLs that other hosts can reach: anyone there reads and writes every key.",
    ),
    Setting("cors", _CLIENTS, _list, "", "Origins whose web pages may call, or *.", live=True, metavar="ORIGINS"),
    Setting("max-request-bytes", _CLIENTS, size, "1572864", "Largest keys and values of a request.", metavar="BYTES"),
    Setting("cert-file", _TLS, path, "", "Certificate for https:// URLs, PEM.", metavar="FILE"),
    Setting("key-file", _TLS, path, "", "Private key of the certificate, PEM.", metavar="FILE"),
    Setting("trusted-ca-file", _TLS, path, "", "Authority that signs client certificates, PEM.", metavar="FILE"),
    Setting("client-cert-auth", _TLS, boolean, "false", "Refuse clients without a certificate of that authority."),
    Setting("tls-min-version", _TLS, tls_version, "1.3", "Oldest version of TLS: 1.3 or 1.2.", metavar="VERSION"),
    Setting(
        "initial-cluster",
        _CLUSTER,
        initial_cluster,
        "",
        "NAME=URL of each first member, separated by commas, alike on all of them.  [default: this member alone]",
        metavar="MEMBERS",
    ),
    Setting(
        "initial-cluster-state",
        _CLUSTER,
        _choice("new", "existing"),
        "new",
        "existing: join a cluster that has added this member already.",
        metavar="STATE",
    ),
    Setting(
        "initial-cluster-token",
        _CLUSTER,
        str,
        "corenode",
        "Goes into the ids of a new cluster: give each its own where clusters have the same peer URLs.",
    ),
    Setting(
        "discovery",
        _CLUSTER,
        discovery,
        "",
        "Instead of --initial-cluster: where the founders find each other, a directory of keys with _config/size.",
        metavar="URL",
    ),
    Setting(
        "initial-advertise-peer-urls",
        _CLUSTER,
        urls,
        "",
        "Where other members reach this one.  [default: its URLs in --initial-cluster]",
        metavar="URLS",
    ),
    Setting(
        "force-new-cluster",
        _CLUSTER,
        boolean,
        "false",
        "When most members are lost for good: go on alone with what this member has. Once, then leave it out.",
    ),
    Setting(
        "listen-peer-urls",
        _PEERS,
        urls,
        "",
        "Where to listen for members.  [default: --initial-advertise-peer-urls; no port while there are no others]",
        metavar="URLS",
    ),
    Setting("peer-cert-file", _PEERS, path, "", "Certificate of the role peer, PEM.", metavar="FILE"),
    Setting("peer-key-file", _PEERS, path, "", "Private key of that certificate, PEM.", metavar="FILE"),
    Setting("peer-trusted-ca-file", _PEERS, path, "", "Authority that signs peer certificates, PEM.", metavar="FILE"),
    Setting(
        "heartbeat-interval",
        _PEERS,
        count,
        "100",
        "Milliseconds between the leader's signs of life: about the time a message takes to the farthest member.",
        metavar="MS",
    ),
    Setting(
        "election-timeout",
        _PEERS,
        count,
        "1000",
        "Milliseconds of silence after which another leader is elected: at least five heartbeats.",
        metavar="MS",
    ),
    Setting(
        "executor",
        _UNITS,
        _choice("auto", "systemd", "embedded", "none"),
        "auto",
        "What runs units on this host: systemd, the embedded supervisor, or none: no unit comes here. auto: systemd if "
        "it is init and this is root, else embedded.",
        metavar="NAME",
    ),
    Setting(
        "metadata",
        _UNITS,
        metadata,
        "",
        "What units can ask of this host by MachineMetadata=: KEY=VALUE, separated by commas.",
        metavar="PAIRS",
    ),
    Setting(
        "public-ip",
        _UNITS,
        address,
        "",
        "Address of this host as `machine list` shows it.  [default: the one on the way to everywhere]",
        metavar="IP",
    ),
    Setting(
        "agent-ttl",
        _UNITS,
        presence,
        "30s",
        "How long this host may be silent before its units are started elsewhere.",
        metavar="TIME",
    ),
    Setting(
        "on-stop",
        _UNITS,
        _choice("leave", "move"),
        "leave",
        "What becomes of units when this node is stopped: they stay and run on, or move to other hosts.",
        metavar="WHAT",
    ),
    Setting("disable-engine", _UNITS, boolean, "false", "Let other members decide where units run."),
    Setting(
        "fleet-socket",
        _UNITS,
        path,
        "",
        "A further unix socket, where programs written for fleet look for it: /var/run/fleet.sock.",
        metavar="PATH",
    ),
    Setting("quota-backend-bytes", _STORE, size, "8589934592", "Above this size new data is refused.", metavar="BYTES"),
    Setting(
        "auto-compaction-retention",
        _STORE,
        duration,
        "24h",
        "How long history is kept; 0 keeps it whatever its age. A bare number counts hours.",
        metavar="TIME",
    ),
    Setting("history-revisions", _STORE, count, "1000000", "How many revisions are kept.", metavar="NUMBER"),
    Setting(
        "log-format",
        _LOG,
        _choice("text", "json", "auto"),
        "auto",
        "text, json, or auto: text in the form that suits where standard error goes.",
        metavar="FORMAT",
    ),
    Setting(
        "log-level",
        _LOG,
        _choice("debug", "info", "warning", "error"),
        "info",
        "debug, info, warning or error.",
        live=True,
        metavar="LEVEL",
    ),
)
BY_NAME = {setting.name: setting for setting in SETTINGS}
