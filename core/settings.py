"""Every setting of a node, once: its flag, its default, how its text is read, what it means.

The command line, the environment (`CORENODE_` and the name in capitals) and the configuration file are all made
from this table. Names that etcd has are etcd's.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from core.setting_texts import (
    address,
    boolean,
    choice,
    command,
    count,
    discovery,
    duration,
    group,
    initial_cluster,
    machine_id,
    metadata,
    name,
    path,
    presence,
    rate,
    seconds,
    size,
    slot,
    strategy,
    tls_version,
    urls,
    words,
)


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


_NODE, _CLIENTS, _TLS = "Node", "Client traffic", "TLS for clients"
_CLUSTER, _PEERS, _STORE, _LOG = "Cluster", "Peer traffic", "Store", "Log"
_UNITS, _UPDATES = "Units", "Updates"

SETTINGS = (
    Setting("name", _NODE, name, "default", "Name of this member."),
    Setting(
        "role",
        _NODE,
        choice("member", "worker"),
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
    Setting("cors", _CLIENTS, words, "", "Origins whose web pages may call, or *.", live=True, metavar="ORIGINS"),
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
        choice("new", "existing"),
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
        choice("auto", "systemd", "embedded", "none"),
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
        choice("leave", "move"),
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
    Setting(
        "update-disk",
        _UPDATES,
        path,
        "",
        "Disk, or file with the image of one, whose two slots are updated.  [default: the disk this host runs from]",
        metavar="PATH",
    ),
    Setting("update-slot", _UPDATES, slot, "", "Slot this host runs from: A or B.  [default: asked of the kernel]"),
    Setting("update-group", _UPDATES, group, "default", "Hosts it updates with, and takes turns.", metavar="NAME"),
    Setting(
        "update-root",
        _UPDATES,
        path,
        "/usr/share/corenode/root.json",
        "Root of trust of images: metadata/1.root.json of their repository.",
        metavar="FILE",
    ),
    Setting("update-rate-limit", _UPDATES, rate, "", "Bytes a second to fetch.  [default: no limit]", metavar="SIZE"),
    Setting(
        "update-check",
        _UPDATES,
        command,
        "",
        "Command of your own that has to succeed before a new slot counts as good.",
        metavar="COMMAND",
    ),
    Setting("update-healthy", _UPDATES, seconds, "60s", "How long a new slot must be well to be good.", metavar="TIME"),
    Setting(
        "update-patience",
        _UPDATES,
        seconds,
        "10m",
        "How long it may take to become well before the host goes back to the other slot.",
        metavar="TIME",
    ),
    Setting("update-drain", _UPDATES, seconds, "5m", "How long units may take to leave first.", metavar="TIME"),
    Setting(
        "reboot-strategy",
        _UPDATES,
        strategy,
        "lock",
        "When it restarts for an update: lock, with the reboot lock; reboot, at once; off, when somebody does it.",
        metavar="WORD",
    ),
    Setting(
        "reboot-window-start",
        _UPDATES,
        str,
        "",
        "When it may restart, local time: 'Thu 23:00' each week, 04:00 each day.  [default: always]",
        metavar="TIME",
    ),
    Setting("reboot-window-length", _UPDATES, str, "", "For how long from then on: 1h30m.", metavar="TIME"),
    Setting(
        "reboot-command",
        _UPDATES,
        command,
        "systemctl reboot",
        "What restarts this host.",
        metavar="COMMAND",
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
        choice("text", "json", "auto"),
        "auto",
        "text, json, or auto: text in the form that suits where standard error goes.",
        metavar="FORMAT",
    ),
    Setting(
        "log-level",
        _LOG,
        choice("debug", "info", "warning", "error"),
        "info",
        "debug, info, warning or error.",
        live=True,
        metavar="LEVEL",
    ),
)
BY_NAME = {setting.name: setting for setting in SETTINGS}
