"""A machine under emulation: real firmware, a disk, a watchdog, and what it says on its serial line."""

import os
import selectors
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.whole.servers import DIES_WITH_PARENT

FIRMWARE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
VARIABLES = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
NEEDS = {
    "/usr/bin/qemu-system-x86_64": "qemu-system-x86",
    str(FIRMWARE): "ovmf",
    "/usr/lib/systemd/boot/efi/systemd-bootx64.efi": "systemd-boot-efi",
    "/usr/sbin/mkfs.vfat": "dosfstools",
    "/usr/bin/mksquashfs": "squashfs-tools",
    "/usr/bin/busybox": "busybox-static",
}
_MEMORY_MIB = 1024


class StuckError(Exception):
    """The machine did not end in time. The text has how far it came."""


def missing() -> str:
    """Why no machine can be started here; empty if one can."""
    absent = sorted(package for path, package in NEEDS.items() if not Path(path).exists())
    return f"needs Debian's packages {' '.join(absent)}" if absent else ""


def run(disk: Path, offer: Path | None, seconds: float, heard: Callable[[str], None] = lambda _: None) -> list[str]:
    """Switch it on, and return what it said when it has switched itself off. StuckError after so many seconds.

    `offer`: a file with the second disk, which can be read only.
    """
    variables = disk.with_suffix(".variables")
    shutil.copy(VARIABLES, variables)
    said: list[str] = []
    with subprocess.Popen(
        _command(disk, offer, variables), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    ) as machine:
        try:
            ended = _listen(machine, time.monotonic() + seconds, said, heard)
        finally:
            machine.kill()
    disk.with_suffix(".log").write_text("\n".join(said))
    if not ended:
        last = "\n".join(said[-25:])
        raise StuckError(f"the machine did not switch itself off within {seconds:g} s; the last it said:\n{last}")
    if machine.returncode:
        raise StuckError(f"qemu ended with {machine.returncode}:\n" + "\n".join(said[-25:]))
    return said


def _listen(machine: "subprocess.Popen[bytes]", until: float, said: list[str], heard: Callable[[str], None]) -> bool:
    """Whether it has ended by then."""
    if machine.stdout is None:
        raise ValueError("its output is not piped")
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(machine.stdout, selectors.EVENT_READ)
        while (left := until - time.monotonic()) > 0:
            if not selector.select(left):
                continue
            piece = os.read(machine.stdout.fileno(), 1 << 16)
            if not piece:
                machine.wait(max(left, 5))
                return True
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                text = line.decode(errors="replace").strip()
                said.append(text)
                heard(text)
    return False


def _command(disk: Path, offer: Path | None, variables: Path) -> list[str]:
    flash = "if=pflash,format=raw,unit="
    command = ["qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-smp", "1", "-m", str(_MEMORY_MIB)]
    command += ["-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio"]
    command += ["-drive", f"{flash}0,readonly=on,file={FIRMWARE}", "-drive", f"{flash}1,file={variables}"]
    # what the guest syncs need not be durable here: nobody cuts the power of this machine
    command += ["-drive", f"if=virtio,format=raw,cache=unsafe,file={disk}"]
    if offer is not None:
        command += ["-drive", f"if=virtio,format=raw,readonly=on,file={offer}"]
    return [*DIES_WITH_PARENT, *command, "-device", "i6300esb"]
