"""Debian's kernel for the guest, and those of its modules that the guest needs: fetched once, and kept.

They lie where the hosts' file system lies, under the name of the package. It is taken apart, not installed: this
machine keeps the kernel it has. Its signed build is used, since its build for clouds has no driver of the watchdog.
"""

import fcntl
import hashlib
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.hosts.image import cache

_NAMED = ("virtio_pci", "virtio_blk", "squashfs", "vfat", "nls_cp437", "nls_ascii", "i6300esb", "efivarfs")
_PATHS = (
    "drivers/virtio/*.ko",
    "drivers/block/virtio_blk.ko",
    "drivers/watchdog/watchdog.ko",
    "drivers/watchdog/i6300esb.ko",
    "fs/squashfs/*.ko",
    "fs/efivarfs/*.ko",
    "fs/fat/*.ko",
    "fs/nls/nls_cp437.ko",
    "fs/nls/nls_ascii.ko",
)


def kernel() -> Path:
    """A directory with `vmlinuz` and `modules/`, made now if it is not there: a download of 70 MB."""
    name = _newest()
    made = cache() / f"{name}-{hashlib.sha256(repr(_PATHS).encode()).hexdigest()[:16]}"
    with (cache() / "kernel-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            _make(name, made)
    return made


def modules(directory: Path) -> list[Path]:
    """What the guest loads, each behind those it needs."""
    files = {path.stem: path for path in (directory / "modules").iterdir()}
    ordered: list[Path] = []

    def add(name: str) -> None:
        path = files[name]
        found = re.search(rb"\0?depends=([^\0]*)\0", path.read_bytes())
        for needed in found[1].decode().split(",") if found and found[1] else ():
            add(needed)
        if path not in ordered:
            ordered.append(path)

    for name in _NAMED:
        add(name)
    return ordered


def _newest() -> str:
    """The package that Debian's package of the present kernel stands for."""
    told = subprocess.run(
        ["apt-cache", "depends", "linux-image-amd64"], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    found = re.search(r"Depends: (linux-image-\S+)", told)
    if found is None:
        raise RuntimeError("apt knows no kernel; run apt-get update")
    return found[1]


def _make(name: str, made: Path) -> None:
    with tempfile.TemporaryDirectory(dir=cache(), prefix=".kernel-") as scratch:
        # as root apt would hand the download to a user who may not write here
        download = ["apt-get", "-o", "APT::Sandbox::User=root", "download", "-q", name]
        subprocess.run(download, cwd=scratch, check=True, capture_output=True, timeout=600)
        package = next(Path(scratch).glob("*.deb"))
        tree = Path(scratch) / "tree"
        tree.mkdir()
        wanted = ["./boot/vmlinuz-*", *(f"./lib/modules/*/kernel/{path}" for path in _PATHS)]
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as unpacked:
            subprocess.run(["tar", "-x", "-C", tree, "--wildcards", *wanted], stdin=unpacked.stdout, check=True)
        part = Path(scratch) / "part"
        (part / "modules").mkdir(parents=True)
        shutil.copy(next((tree / "boot").glob("vmlinuz-*")), part / "vmlinuz")
        for module in tree.rglob("*.ko"):
            shutil.copy(module, part / "modules")
        part.rename(made)
