"""The file system that every host starts from: a small Debian with systemd, made by debootstrap once and kept.

It lies under the directory that CORENODE_TEST_CACHE names, else /var/cache/corenode-tests, under a name that holds a
hash of its recipe: another recipe makes another image, and nothing is ever changed in one that is there. Its packages
come from where this machine's apt has its own, through apt's proxy or that of the environment.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

MIRROR = "http://deb.debian.org/debian"
"""If apt names none for the suite."""
SUITE = "bookworm"
PACKAGES = ("systemd", "systemd-sysv", "dbus", "python3", "procps", "iproute2", "nftables")
NEEDS = {"debootstrap": "debootstrap", "systemd-nspawn": "systemd-container", "nft": "nftables", "ip": "iproute2"}
"""Programs the hosts cannot do without, and Debian's packages of them."""

_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_FINISH = """
set -e
: >/etc/machine-id
rm -f /etc/hostname /var/lib/dbus/machine-id
mkdir -p /var/log/journal /etc/systemd/network
systemctl --quiet enable systemd-networkd.service
systemctl --quiet set-default multi-user.target
systemctl --quiet mask systemd-logind.service getty.target console-getty.service systemd-update-utmp.service \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
    systemd-networkd-wait-online.service
rm -rf /var/cache/apt /var/lib/apt/lists /usr/share/doc /usr/share/man /usr/share/locale
"""


def missing() -> str:
    """Why no host can be booted here; empty if one can."""
    if os.geteuid() != 0:
        return "needs root: hosts are booted"
    absent = sorted(package for program, package in NEEDS.items() if shutil.which(program) is None)
    return f"needs Debian's packages {' '.join(absent)}" if absent else ""


def cache() -> Path:
    """Where images and what else outlives a run are kept."""
    path = Path(os.environ.get("CORENODE_TEST_CACHE", "/var/cache/corenode-tests"))
    path.mkdir(parents=True, exist_ok=True)
    return path


def image() -> Path:
    """The root of the image, made now if it is not there: that takes about a minute and the network."""
    recipe = hashlib.sha256("\n".join((SUITE, *PACKAGES, _FINISH)).encode()).hexdigest()
    made = cache() / f"{SUITE}-{recipe[:16]}"
    with (cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            _make(made)
    return made


def mirror() -> str:
    """Where apt has Debian's own packages from, by network; Debian's mirror if it names none."""
    form = "$(COMPONENT) $(RELEASE) $(REPO_URI)"
    told = _told("apt-get", "indextargets", "--no-release-info", "--format", form, "Created-By: Packages")
    for component, suite, address in (line.split() for line in told.splitlines()):
        if (
            component == "main"
            and suite in (SUITE, "stable", "oldstable")
            and address.startswith(("http://", "https://"))
        ):
            return address
    return MIRROR


def proxies() -> dict[str, str]:
    """Variables for debootstrap's downloads: those of our environment, else what apt is told."""
    found = {}
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        value = os.environ.get(name) or os.environ.get(name.upper())
        if value is None and name != "no_proxy":
            value = _told(
                "apt-config", "dump", "--format", "%v%n", f"Acquire::{name.removesuffix('_proxy')}::Proxy"
            ).strip()
        if value and value != "DIRECT":
            found[name] = value
    return found


def _told(*command: str) -> str:
    """What a program prints; nothing if it fails or there is none."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def _make(made: Path) -> None:
    part = made.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    include = f"--include={','.join(PACKAGES)}"
    try:
        _run(["debootstrap", "--variant=minbase", include, SUITE, str(part), mirror()], 900)
        _run(["chroot", str(part), "/bin/sh", "-c", _FINISH], 60)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    part.rename(made)


def _run(command: list[str], seconds: float) -> None:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        env={"PATH": _PATH, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", **proxies()},
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command[:2])} failed:\n{done.stdout[-4000:]}")
