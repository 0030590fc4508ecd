"""From etcd's flags to this program's settings."""

import socket
from collections.abc import Sequence
from pathlib import Path

import msgspec

from core.addresses import Url
from core.etcd_name.flags import FLAGS
from core.etcd_name.reading import Given, UsageError
from core.setting_texts import urls

_LEVELS = {
    "debug": "debug",
    "info": "info",
    "warn": "warning",
    "warning": "warning",
    **dict.fromkeys(("error", "panic", "fatal", "dpanic"), "error"),
}
_CLIENTS, _PEERS = "http://localhost:2379", "http://localhost:2380"
_SPECIAL = frozenset(
    {"data-dir", "log-level", "debug", "auto-compaction-mode", "quota-backend-bytes", "force-new-cluster"}
)
_ANYWHERE = "192.0.2.1"
"""An address for documentation (RFC 5737): the route to it is the route to anywhere. Nothing is sent there."""


class Translated(msgspec.Struct, frozen=True):
    """Settings as the command line of `corenode up` would give them, and what to warn of."""

    settings: dict[str, str]
    warnings: tuple[str, ...]


def translate(given: Given) -> Translated:
    """UsageError says what cannot be kept, why, and what to do."""
    warnings = list(given.warnings)
    settings: dict[str, str] = {}
    for name, text in given.values.items():
        flag, place = FLAGS.get(name), given.places.get(name, f"--{name}")
        if flag is None or text in flag.unchanged:
            continue
        if flag.refused:
            raise UsageError(f"{place}={text}: {flag.refused}")
        if flag.ignored:
            warnings.append(f"{place} has no effect here: {flag.ignored}")
        elif name not in _SPECIAL and text:
            settings[name] = text
    _complete(settings, given.values, warnings)
    return Translated(settings, tuple(warnings))


def _complete(settings: dict[str, str], values: dict[str, str], warnings: list[str]) -> None:
    """etcd's defaults, and what means the same under another name."""
    name = settings.setdefault("name", "default")
    settings["data-dir"] = values.get("data-dir") or f"{name}.etcd"
    settings.setdefault("initial-cluster-token", "etcd-cluster")
    settings["executor"], settings["disable-engine"] = "none", "true"  # an etcd runs nothing
    settings.setdefault("listen-client-urls", _CLIENTS)
    peers = settings.setdefault("listen-peer-urls", _PEERS)
    own = settings.setdefault("initial-advertise-peer-urls", peers if _reachable(peers) else _PEERS)
    if "discovery" not in settings:
        settings.setdefault("initial-cluster", ",".join(f"{name}={url}" for url in own.split(",")))
    if values.get("force-new-cluster") == "true":
        settings["force-new-cluster"] = "true"
    if values.get("quota-backend-bytes", "0") not in ("0", ""):
        settings["quota-backend-bytes"] = values["quota-backend-bytes"]
    if values.get("debug") == "true":
        settings["log-level"] = "debug"
    elif values.get("log-level"):
        level = _LEVELS.get(values["log-level"].lower())
        if level is None:
            raise UsageError(f"--log-level={values['log-level']}: it is one of debug, info, warn, error, panic, fatal")
        settings["log-level"] = level
    _compaction(settings, values)
    _open_doors(settings, warnings)


def _compaction(settings: dict[str, str], values: dict[str, str]) -> None:
    mode = values.get("auto-compaction-mode") or "periodic"
    kept = values.get("auto-compaction-retention", "")
    if mode not in ("periodic", "revision", "1", "0"):
        raise UsageError(f"--auto-compaction-mode={mode}: it is periodic or revision")
    if mode == "revision" and kept not in ("", "0"):
        settings["history-revisions"] = kept
        settings["auto-compaction-retention"] = "0"


def _open_doors(settings: dict[str, str], warnings: list[str]) -> None:
    """http:// that others reach is what etcd's users write; nobody can be told to connect to 0.0.0.0."""
    listened, advertised = _urls(settings, "listen-client-urls"), _urls(settings, "advertise-client-urls")
    for url in listened:
        if not url.secure and not url.loopback:
            settings["allow-plain-http"] = "true"
            warnings.append(f"other hosts can reach {url}, and without TLS each of them reads and writes every key")
    if any(url.wildcard for url in advertised):
        here = _own_address()
        told = [msgspec.structs.replace(url, host=here) if url.wildcard else url for url in advertised]
        settings["advertise-client-urls"] = ",".join(str(url) for url in told)
        warnings.append(f"nobody can connect to 0.0.0.0, so clients are told {settings['advertise-client-urls']}")


def _urls(settings: dict[str, str], name: str) -> Sequence[Url]:
    try:
        return urls(settings.get(name, ""))
    except ValueError as error:
        raise UsageError(f"--{name}: {error}") from None


def _reachable(text: str) -> bool:
    """Whether others can be told to connect to these URLs."""
    try:
        return not any(url.wildcard or url.port == 0 for url in urls(text))
    except ValueError:
        return True  # what is wrong with them is said where they are read


def _own_address() -> str:
    """The address of this host that others likely reach."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((_ANYWHERE, 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def check_directory(path: Path) -> None:
    """UsageError if it is that of an etcd, which cannot be read here."""
    if (path / "member").is_dir():
        raise UsageError(
            f"{path} is the data directory of an etcd, which this program does not read. Name a new --data-dir, and "
            "copy the keys from the running etcd to this one"
        )
