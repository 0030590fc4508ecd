"""The configuration of a node: flags before `CORENODE_*` variables before the file before defaults.

What is given wrongly is refused with a sentence that names the place it was given at. Nothing is silently ignored.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import msgspec

from core.addresses import Url
from core.settings import BY_NAME, SETTINGS, Setting
from core.update.windows import Window, WindowError
from core.update.windows import parse as parse_window

MAX_SOCKET_PATH = 107
"""Bytes of a unix socket's path that the kernel takes (`sun_path` less its final zero)."""


class ConfigError(Exception):
    """A setting that cannot be used. The text says which, why, and what to do."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of a node, checked. `core.settings` says what each means."""

    name: str
    role: str
    """`member` or `worker`."""
    members: tuple[Url, ...]
    """Of a worker: where to find the members."""
    data_dir: Path
    socket: Path
    machine_id: str
    """Empty: to be found (`core.machine_id`)."""
    listen_client_urls: tuple[Url, ...]
    advertise_client_urls: tuple[Url, ...]
    """Empty: what was bound (see `advertised`)."""
    allow_plain_http: bool
    cors: tuple[str, ...]
    max_request_bytes: int
    cert_file: Path | None
    key_file: Path | None
    trusted_ca_file: Path | None
    client_cert_auth: bool
    tls_min_version: str
    """`1.2` or `1.3`."""
    listen_peer_urls: tuple[Url, ...]
    initial_advertise_peer_urls: tuple[Url, ...]
    initial_cluster: tuple[tuple[str, tuple[Url, ...]], ...]
    """Name and peer URLs of each first member; empty: this member alone."""
    discovery: str
    """Where the founders find each other; empty: nowhere."""
    initial_cluster_state: str
    initial_cluster_token: str
    force_new_cluster: bool
    peer_cert_file: Path | None
    peer_key_file: Path | None
    peer_trusted_ca_file: Path | None
    heartbeat_interval: int
    """Milliseconds, like the next one."""
    election_timeout: int
    executor: str
    """auto, systemd, embedded or none."""
    metadata: tuple[tuple[str, str], ...]
    public_ip: str
    """Empty: to be found."""
    agent_ttl: int
    """Seconds."""
    on_stop: str
    """leave or move."""
    disable_engine: bool
    fleet_socket: Path | None
    update_disk: Path | None
    """None: the one this host runs from, if it has slots."""
    update_slot: Literal["A", "B"] | None
    """None: to be found."""
    update_group: str
    update_root: Path | None
    update_rate_limit: int
    """Bytes a second; 0: none."""
    update_check: tuple[str, ...]
    """Empty: none."""
    update_healthy: float
    """Seconds, like the next two."""
    update_patience: float
    update_drain: float
    reboot_strategy: Literal["lock", "reboot", "off"]
    reboot_window_start: str
    reboot_window_length: str
    reboot_command: tuple[str, ...]
    quota_backend_bytes: int
    auto_compaction_retention: float
    """Seconds; 0: never by age."""
    history_revisions: int
    log_format: str
    log_level: str
    flags: dict[str, str]
    """What the command line gave, so that a reload can put it before the file again."""
    file: Path | None

    def advertised(self, bound: Sequence[Url]) -> tuple[Url, ...]:
        """What to tell clients, once the listening sockets are bound and port 0 has become a number."""
        return self.advertise_client_urls or tuple(bound)

    @property
    def reboot_window(self) -> Window | None:
        """When this host may restart for an update; None: at any time."""
        if not self.reboot_window_start:
            return None
        return parse_window(self.reboot_window_start, self.reboot_window_length)

    def reload(self, environ: Mapping[str, str] = os.environ) -> tuple[Self, list[str]]:
        """Read file and environment again: the configuration to go on with, and the names of changed settings
        that only a restart takes up. ConfigError leaves everything as it was."""
        fresh = load(self.flags, self.file, environ)
        changed = [s for s in SETTINGS if getattr(fresh, s.field) != getattr(self, s.field)]
        taken = {s.field: getattr(fresh, s.field) for s in changed if s.live}
        return msgspec.structs.replace(self, **taken), [s.name for s in changed if not s.live]


class _Given(msgspec.Struct, frozen=True):
    """The text of a setting and the place it was given at."""

    text: str
    place: str


def load(flags: Mapping[str, str], file: Path | None = None, environ: Mapping[str, str] = os.environ) -> Config:
    """The configuration from command line flags (by setting name), environment and file; ConfigError if unusable."""
    given = _from_file(file) if file is not None else {}
    given |= {s.name: _Given(environ[s.variable], s.variable) for s in SETTINGS if s.variable in environ}
    given |= {name: _Given(text, f"--{name}") for name, text in flags.items()}
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        values[setting.field] = _value(setting, given.get(setting.name))
    values["data_dir"] = values["data_dir"] or Path(f"{values['name']}.corenode")
    values["socket"] = values["socket"] or values["data_dir"] / "corenode.sock"
    config = _with_peers(Config(**values, flags=dict(flags), file=file))
    _check_clients(config)
    _check_tls(config)
    _check_updates(config)
    if config.role == "worker":
        _check_worker(config)
        return config
    if config.members:
        raise ConfigError("--members is for workers: add --role worker, or name the members with --initial-cluster.")
    _check_cluster(config)
    _check_peers(config)
    return config


def unknown_variables(environ: Mapping[str, str], known: frozenset[str]) -> list[str]:
    """`CORENODE_*` variables that mean nothing: a spelling mistake, or another program's (Kubernetes makes some)."""
    mine = known | {setting.variable for setting in SETTINGS}
    return sorted(name for name in environ if name.startswith("CORENODE_") and name not in mine)


def _value(setting: Setting, given: _Given | None) -> Any:
    if given is None:
        return setting.read(setting.default)
    try:
        return setting.read(given.text)
    except ValueError as error:
        raise ConfigError(f"{given.place}: {error}.") from None


def _from_file(file: Path) -> dict[str, _Given]:
    try:
        content = tomllib.loads(file.read_text())
    except OSError as error:
        raise ConfigError(f"The configuration file {file} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"The configuration file {file} is not valid TOML: {error}.") from None
    return {name: _Given(_text(file, name, value), f"{file}, {name}") for name, value in content.items()}


def _text(file: Path, name: str, value: object) -> str:
    if name not in BY_NAME:
        near = difflib.get_close_matches(name.replace("_", "-").lower(), BY_NAME, n=1)
        hint = f"; did you mean {near[0]}?" if near else "; `corenode up --help` lists them."
        raise ConfigError(f"{file}: there is no setting {name!r}{hint}")
    match value:
        case bool():
            return "true" if value else "false"
        case str() | int():
            return str(value)
        case list() if all(isinstance(part, str) for part in value):
            return ",".join(value)
    raise ConfigError(f"{file}, {name}: a text, a number, true, false or a list of texts is expected.")


def _check_clients(config: Config) -> None:
    if not config.listen_client_urls:
        raise ConfigError("--listen-client-urls is empty; the default is http://127.0.0.1:2379.")
    for url in config.listen_client_urls:
        if not url.bindable:
            raise ConfigError(
                f"--listen-client-urls: {url} has a host name, but a node listens on addresses; "
                "write the address, 0.0.0.0 for all, or localhost."
            )
        if not url.secure and not url.loopback and not config.allow_plain_http:
            raise ConfigError(
                f"--listen-client-urls: other hosts can reach {url}, and without TLS each of them reads and writes "
                "every key. Use https:// with --cert-file and --key-file, or add --allow-plain-http if you mean it."
            )
        if url.port and config.listen_client_urls.count(url) > 1:
            raise ConfigError(f"--listen-client-urls: {url} is there twice.")
        if url.wildcard and not config.advertise_client_urls:
            raise ConfigError(
                f"--listen-client-urls: clients cannot be told to connect to {url}; "
                "add --advertise-client-urls with an address or name of this host."
            )
    for url in config.advertise_client_urls:
        if url.wildcard or url.port == 0:
            raise ConfigError(f"--advertise-client-urls: nobody can connect to {url}; write a real address and port.")
    if len(os.fsencode(config.socket)) > MAX_SOCKET_PATH:
        raise ConfigError(
            f"The socket path {config.socket} is longer than the {MAX_SOCKET_PATH} bytes the kernel takes; "
            "give a shorter one with --socket."
        )


def _check_tls(config: Config) -> None:
    secure = any(url.secure for url in config.listen_client_urls)
    if secure and not (config.cert_file and config.key_file):
        raise ConfigError("An https:// URL needs a certificate and its key: add --cert-file and --key-file.")
    if not secure and (config.cert_file or config.key_file):
        raise ConfigError("--cert-file and --key-file are given, but no --listen-client-urls URL begins with https://.")
    if not secure and config.client_cert_auth:
        raise ConfigError("--client-cert-auth needs an https:// URL in --listen-client-urls.")
    if config.client_cert_auth and not config.trusted_ca_file:
        raise ConfigError("--client-cert-auth needs --trusted-ca-file, the authority that signs the clients.")
    for name in ("cert-file", "key-file", "trusted-ca-file", "peer-cert-file", "peer-key-file", "peer-trusted-ca-file"):
        file: Path | None = getattr(config, BY_NAME[name].field)
        if file is not None:
            try:
                file.open("rb").close()
            except OSError as error:
                raise ConfigError(f"--{name}: {file} cannot be read: {error.strerror}.") from None


def _check_updates(config: Config) -> None:
    if bool(config.reboot_window_start) != bool(config.reboot_window_length):
        raise ConfigError("--reboot-window-start and --reboot-window-length belong together.")
    try:
        _ = config.reboot_window
    except WindowError as error:
        raise ConfigError(f"--reboot-window-start, --reboot-window-length: {error}.") from None
    if not config.reboot_command:
        raise ConfigError("--reboot-command is empty; to have nothing restarted, write --reboot-strategy off.")


def _with_peers(config: Config) -> Config:
    """What follows for this member from the members that are named."""
    advertised = config.initial_advertise_peer_urls or dict(config.initial_cluster).get(config.name, ())
    listened = config.listen_peer_urls
    others = len(config.initial_cluster) > 1 or config.initial_cluster_state == "existing" or config.discovery
    if not listened and others:
        listened = tuple(url for url in advertised if url.bindable)
    return msgspec.structs.replace(
        config, initial_advertise_peer_urls=advertised or listened, listen_peer_urls=listened
    )


def _check_cluster(config: Config) -> None:
    if not config.initial_cluster_token:
        raise ConfigError("--initial-cluster-token is empty; leave the flag out or give a word of your own.")
    members = dict(config.initial_cluster)
    if config.discovery and (members or config.initial_cluster_state == "existing"):
        raise ConfigError("--discovery finds the members of a new cluster; leave it out, or --initial-cluster.")
    if config.discovery and not config.initial_advertise_peer_urls:
        raise ConfigError("--discovery: add --initial-advertise-peer-urls, where the others will reach this member.")
    if config.initial_cluster_state == "existing" and len(members) < 2:
        raise ConfigError(
            "--initial-cluster-state existing: add --initial-cluster with the members of that cluster and this one, "
            "as `corenode member add` printed it."
        )
    if not members:
        return
    if config.name not in members:
        raise ConfigError(
            f"--initial-cluster does not name this member, {config.name}; it has {', '.join(members)}. "
            "Add it, or say with --name which of them this is."
        )
    if set(members[config.name]) != set(config.initial_advertise_peer_urls):
        raise ConfigError(
            f"--initial-cluster says that {config.name} is reached at {_shown(members[config.name])}, "
            f"--initial-advertise-peer-urls at {_shown(config.initial_advertise_peer_urls)}; write the same in both."
        )
    known: dict[Url, str] = {}
    for name, urls in members.items():
        for url in urls:
            if known.setdefault(url, name) != name:
                raise ConfigError(f"--initial-cluster: {url} cannot be both {known[url]} and {name}.")


def _check_peers(config: Config) -> None:
    for url in config.listen_peer_urls:
        if not url.bindable:
            raise ConfigError(
                f"--listen-peer-urls: {url} has a host name, but a node listens on addresses; "
                "write the address, or 0.0.0.0 for all."
            )
    if len(config.initial_cluster) > 1 and not config.listen_peer_urls:
        raise ConfigError("--initial-cluster names others, who could not reach this member; add --listen-peer-urls.")
    if config.listen_peer_urls and not config.initial_advertise_peer_urls:
        raise ConfigError("--listen-peer-urls without --initial-advertise-peer-urls: add where others reach this node.")
    peers = {url for _, urls in config.initial_cluster for url in urls}
    for url in (*config.listen_peer_urls, *config.initial_advertise_peer_urls, *peers):
        if not url.secure and not url.loopback:
            raise ConfigError(
                f"{url}: between hosts, members speak only TLS. Use https:// with --peer-cert-file, --peer-key-file "
                "and --peer-trusted-ca-file; `corenode ca issue --role peer` makes them."
            )
    for url in config.initial_advertise_peer_urls:
        if url.wildcard or url.port == 0:
            raise ConfigError(f"--initial-advertise-peer-urls: nobody can connect to {url}; write a real address.")
    given = [config.peer_cert_file, config.peer_key_file, config.peer_trusted_ca_file]
    secure = any(url.secure for url in (*config.listen_peer_urls, *peers))
    if (secure or any(given)) and not all(given):
        raise ConfigError(
            "Members with https:// URLs need all of --peer-cert-file, --peer-key-file and --peer-trusted-ca-file."
        )
    if config.election_timeout < 5 * config.heartbeat_interval or config.election_timeout > 50_000:
        raise ConfigError(
            f"--election-timeout {config.election_timeout}: it must be at least five times --heartbeat-interval, "
            f"{config.heartbeat_interval}, and at most 50000."
        )


def _check_worker(config: Config) -> None:
    if not config.members:
        raise ConfigError("A worker needs --members, the client URLs of some members of the cluster.")
    if config.fleet_socket is not None:
        raise ConfigError("--fleet-socket is for members: a worker passes on no operations of the cluster.")
    if config.initial_cluster or config.listen_peer_urls:
        raise ConfigError("--role worker: a worker is no member; leave out --initial-cluster and --listen-peer-urls.")
    schemes = {url.secure for url in config.members}
    if len(schemes) > 1:
        raise ConfigError("--members: write either http:// or https:// in all of them.")
    for url in config.members:
        if url.wildcard or url.port == 0:
            raise ConfigError(f"--members: nobody can connect to {url}; write a real address and port.")
        if not url.secure and not url.loopback and not config.allow_plain_http:
            raise ConfigError(
                f"--members: {url} is another host, and without TLS what passes between can be read and changed. Use "
                "https:// with --peer-trusted-ca-file, or add --allow-plain-http if you mean it."
            )
    if bool(config.peer_cert_file) != bool(config.peer_key_file):
        raise ConfigError("--peer-cert-file and --peer-key-file belong together.")


def _shown(urls: Sequence[Url]) -> str:
    return ", ".join(str(url) for url in urls) or "no URL"
