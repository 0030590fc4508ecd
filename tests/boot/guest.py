"""The operating system of the guest: Debian's /usr with systemd, Python and `corenode`, as images to install.

`old` and `good` run the program as a node, and their slots are marked by the units that are shipped, with the EFI
system partition mounted. `bare` is `old` without all that. `panics` has a /usr without an init, so its kernel panics.
`hangs` is as good as `good` until systemd holds the watchdog; then nothing runs any more.
"""

import gzip
import os
import shutil
import subprocess
from pathlib import Path
from typing import Literal

import msgspec

from core.images.build import CHUNKS, MANIFEST, Parts, Release, build, load
from core.images.manifest import encode
from tests.boot.kernel import kernel, modules
from tests.hosts.image import image as debian
from tests.whole.servers import ROOT

Kind = Literal["old", "bare", "good", "panics", "hangs"]
PARTS = Path(__file__).parent / "parts"
"""What is put into the guest as it is: its first process, and units of the tests."""
SHIPPED = ("corenode.service", "corenode-healthy.service", "corenode-mark-good.service")
_PROGRAMS = "bash sh dash env python3 python3.11 systemctl cat echo sleep mount umount mkdir grep sync"
_UNITS = ("*.target", "*.slice", "systemd-journald*", "systemd-reboot.service", "systemd-poweroff.service")
# an emulated timer may be late, which a kernel takes for a broken one
_WORDS = "console=ttyS0 quiet no_timer_check systemd.show_status=0"
# it carries out systemd.wants= and systemd.mask=
_GENERATOR = "lib/systemd/system-generators/systemd-debug-generator"
_LEFT_OUT = shutil.ignore_patterns(
    "gconv", "perl*", "libperl*", "libapt*", "libstdc++*", "libgnutls*", "libp11*", "libunistring*", "libdb-*",
    "libsqlite*", "tc", "security", "test", "pydoc_data", "idlelib", "tkinter", "lib2to3", "ensurepip",
    "*.opt-?.pyc", "valgrind", "__phello__",
)  # fmt: skip


class Made(msgspec.Struct, frozen=True):
    """A directory with images, made once."""

    home: Path

    def image(self, kind: Kind) -> Path:
        """The directory of an image: `old` is version 1.0.0, the others are 2.0.0."""
        return self.home / kind

    def offer(self, kind: Kind) -> Path:
        """A file system with this image in it, as a second disk of the guest."""
        made = self.home / f"{kind}.squashfs"
        command = ["mksquashfs", str(self.image(kind)), str(made), "-noI", "-noD", "-noF", "-noX", "-quiet"]
        if not made.exists():
            subprocess.run([*command, "-no-progress"], check=True, capture_output=True)
        return made


def make(home: Path, program: Path, watchdog: str) -> Made:
    """All of them. `watchdog`: words for the kernel of the one that hangs."""
    linux = kernel()
    initrd = home / "initrd"
    initrd.write_bytes(gzip.compress(_archive(_first_files(linux)), mtime=0))
    tree = home / "root/usr"
    _copy_usr(tree, program)
    made = Made(home)

    def built(kind: Kind, version: str, usr: Path) -> None:
        release = Release("guest", version, "x86_64", cmdline=_WORDS)
        build(Parts(usr, linux / "vmlinuz", initrd), release, made.image(kind))

    def varied(kind: Kind, of: Kind, more: str) -> None:
        """The same bytes with another command line."""
        manifest, store = load(made.image(of))
        shutil.copytree(store.path, made.image(kind) / CHUNKS, copy_function=os.link)
        fresh = msgspec.structs.replace(manifest, cmdline=f"{_WORDS} {more}")
        (made.image(kind) / MANIFEST).write_bytes(encode(fresh))

    versions: tuple[tuple[Kind, str], ...] = (("old", "1.0.0"), ("good", "2.0.0"))
    for kind, version in versions:
        (tree / "lib/os-release").write_text(f"ID=guest\nVERSION_ID={version}\n")
        built(kind, version, tree)
    varied("bare", "old", " ".join(f"systemd.mask={unit}" for unit in (*SHIPPED, "efi.service")))
    varied("hangs", "good", f"systemd.wants=hang.service {watchdog}".strip())
    (home / "empty").mkdir()
    built("panics", "2.0.0", home / "empty")
    return made


def _copy_usr(tree: Path, program: Path) -> None:
    """What a small system needs of Debian's /usr, the program, and its units, enabled as their comments say."""
    source = debian() / "usr"
    for directory in ("lib/x86_64-linux-gnu", "lib/python3.11", "lib64"):
        shutil.copytree(source / directory, tree / directory, symlinks=True, ignore=_LEFT_OUT)
    units = tree / "lib/systemd/system"
    for fresh in (units, tree / "lib/systemd/system-generators", tree / "bin", tree / "sbin", tree / "local/bin"):
        fresh.mkdir(parents=True)
    wanted = [source / "bin" / name for name in _PROGRAMS.split()]
    wanted += [path for path in (source / "lib/systemd").iterdir() if path.is_file()]
    wanted += [path for name in _UNITS for path in (source / "lib/systemd/system").glob(name) if not path.is_dir()]
    for path in (*wanted, source / _GENERATOR):
        shutil.copy2(path, tree / path.relative_to(source), follow_symlinks=False)
    for path in (*(ROOT / "ops" / name for name in SHIPPED), *PARTS.glob("*.service")):
        shutil.copy(path, units)
    shutil.copy(program, tree / "local/bin/corenode")
    shutil.copy(PARTS / "prove", tree / "local/bin")
    enable = ["systemctl", f"--root={tree.parent}", "enable", "--quiet", *SHIPPED, "efi.service", "prove.service"]
    subprocess.run(enable, check=True, capture_output=True)
    etc = tree.parent / "etc"
    (etc / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (etc / "group").write_text("root:x:0:\ntty:x:5:\n")
    (tree / "share/factory").mkdir(parents=True)
    etc.rename(tree / "share/factory/etc")


def _first_files(linux: Path) -> dict[str, bytes]:
    """Of the initrd: path to bytes, all of them executable."""
    root = debian()
    libraries = ("libc.so.6", "libblkid.so.1", "libuuid.so.1", "libmount.so.1", "libselinux.so.1", "libpcre2-8.so.0")
    found = {f"lib/x86_64-linux-gnu/{name}": root / "usr/lib/x86_64-linux-gnu" / name for name in libraries}
    found["lib64/ld-linux-x86-64.so.2"] = root / "usr/lib64/ld-linux-x86-64.so.2"
    found["tools/findfs"] = root / "usr/sbin/findfs"
    found["bin/busybox"] = Path("/bin/busybox")
    found["init"] = PARTS / "init"
    files = {path: source.read_bytes() for path, source in found.items()}
    needed = modules(linux)
    files.update({f"modules/{path.name}": path.read_bytes() for path in needed})
    files["modules/order"] = "".join(f"{path.name}\n" for path in needed).encode()
    return files


def _archive(files: dict[str, bytes]) -> bytes:
    """As cpio -H newc writes it, which is what a kernel unpacks."""
    parts: dict[str, tuple[int, bytes]] = {}
    for path, data in files.items():
        for parent in reversed(Path(path).parents[:-1]):
            parts[str(parent)] = (0o040755, b"")
        parts[path] = (0o100755, data)
    parts["TRAILER!!!"] = (0, b"")
    whole = bytearray()
    for number, (path, (mode, data)) in enumerate(parts.items(), 1):
        name = path.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0)
        whole += b"070701" + b"".join(b"%08x" % field for field in fields) + name
        whole += bytes(-len(whole) % 4)
        whole += data
        whole += bytes(-len(whole) % 4)
    return bytes(whole)
