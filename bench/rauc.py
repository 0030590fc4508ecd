"""RAUC as a peer of installs: a service of its own on a bus of its own, with two raw slots on loop devices.

It verifies the signature of a bundle and the hash of the image in it, writes that to the slot that is not in use, and
syncs. It does not read back. Its bundle is of the plain format: the others need a device mapper.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

NEEDS = {"rauc": "rauc", "busctl": "systemd", "dbus-daemon": "dbus-daemon", "losetup": "mount", "openssl": "openssl"}
_BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path={home}/bus</listen><auth>EXTERNAL</auth>
<policy context="default">
<allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
</policy></busconfig>
"""
_MANIFEST = "[update]\ncompatible=bench\nversion=1\n[bundle]\nformat=plain\n[image.rootfs]\nfilename=usr.img\n"
_SYSTEM = """[system]
compatible=bench
bootloader=noop
statusfile={home}/status
mountprefix={home}/mnt
[keyring]
path={home}/cert.pem
[slot.rootfs.0]
device={slots[0]}
type=raw
bootname=A
[slot.rootfs.1]
device={slots[1]}
type=raw
bootname=B
"""


def missing() -> str:
    """Why it cannot be measured here; empty if it can."""
    if os.geteuid() != 0:
        return "needs root, for loop devices"
    absent = sorted(package for program, package in NEEDS.items() if shutil.which(program) is None)
    return f"needs Debian's packages {' '.join(absent)}" if absent else ""


class Rauc:
    """A running service, and a bundle."""

    def __init__(self, bus: Path, bundle: Path, service: int) -> None:
        self._environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={bus}"}
        self._bundle = bundle
        self._service = service

    def install(self) -> None:
        command = ["rauc", "install", str(self._bundle)]
        subprocess.run(command, env=self._environment, check=True, capture_output=True, timeout=300)

    def memory(self) -> int:
        """KiB of the service at its largest."""
        status = Path(f"/proc/{self._service}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))

    def cpu(self) -> float:
        """Seconds that the service has taken."""
        fields = Path(f"/proc/{self._service}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def running(home: Path, usr: Path) -> Iterator[Rauc]:
    """A service whose slots are as large as `usr`, a file on the same file system as `home`, which is empty."""
    (home / "content").mkdir()
    (home / "mnt").mkdir()
    os.link(usr, home / "content" / "usr.img")
    (home / "content" / "manifest.raucm").write_text(_MANIFEST)
    key, certificate, content, bundle = (str(home / name) for name in ("key.pem", "cert.pem", "content", "bundle"))
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=bench", "-days", "90"]
    subprocess.run([*request, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    sign = ["rauc", "--cert", certificate, "--key", key, "--keyring", certificate, "bundle", content, bundle]
    subprocess.run(sign, check=True, capture_output=True)
    with ExitStack() as stack:
        slots = [stack.enter_context(_loop(home / name, usr.stat().st_size)) for name in ("a", "b")]
        (home / "system.conf").write_text(_SYSTEM.format(home=home, slots=slots))
        (home / "bus.conf").write_text(_BUS.format(home=home))
        bus = ["dbus-daemon", f"--config-file={home}/bus.conf", "--nofork"]
        stack.enter_context(_process(bus, {}))
        _until((home / "bus").exists)
        address = {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={home}/bus"}
        service = ["rauc", f"--conf={home}/system.conf", "--override-boot-slot=A", "service"]
        process = stack.enter_context(_process(service, address))
        named = ["busctl", f"--address=unix:path={home}/bus", "status", "de.pengutronix.rauc"]
        _until(lambda: subprocess.run(named, capture_output=True).returncode == 0)
        yield Rauc(home / "bus", Path(bundle), process.pid)


@contextmanager
def _loop(file: Path, size: int) -> Iterator[str]:
    """A block device with all its blocks in place."""
    with file.open("wb") as target:
        for _ in range(0, size, 1 << 20):
            target.write(b"x" * (1 << 20))
    made = subprocess.run(["losetup", "--find", "--show", file], check=True, capture_output=True, text=True)
    try:
        yield made.stdout.strip()
    finally:
        subprocess.run(["losetup", "--detach", made.stdout.strip()], check=True)


@contextmanager
def _process(command: list[str], environment: dict[str, str]) -> "Iterator[subprocess.Popen[bytes]]":
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, env={**os.environ, **environment}, stdout=quiet, stderr=quiet) as process:
        try:
            yield process
        finally:
            process.terminate()


def _until(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError("RAUC's service did not start")
        time.sleep(0.05)
