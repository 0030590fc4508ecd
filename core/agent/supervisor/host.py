"""What units are told of the host they run on: specifiers, directories, the size of its memory."""

import grp
import os
import platform
import pwd
import socket
from collections.abc import Mapping
from pathlib import Path

import msgspec

from core.agent.supervisor.shim import processes

BASES = {"runtime": "/run", "state": "/var/lib", "cache": "/var/cache", "logs": "/var/log", "configuration": "/etc"}
"""Below which RuntimeDirectory= and its kin are made for root, as for systemd's system manager."""
_ARCHITECTURES = {"x86_64": "x86-64", "aarch64": "arm64", "i686": "x86"}


class Host(msgspec.Struct, frozen=True):
    """Facts that hold until the next boot."""

    specifiers: Mapping[str, str]
    """Values of the specifiers that only a host can answer, by letter."""
    bases: Mapping[str, str]
    """Parent directories, by the kinds of BASES."""
    memory: int
    """Bytes."""
    cpus: int
    tasks: int
    """How many processes and threads the host takes."""


def look(machine: str, directory: Path) -> Host:
    """This host, whose machine id in the cluster is `machine`. Without root, directories are made below `directory`."""
    user = pwd.getpwuid(os.geteuid())
    group = grp.getgrgid(os.getegid())
    name = socket.gethostname()
    root = user.pw_uid == 0
    bases = BASES if root else {kind: str(directory / kind) for kind in BASES}
    specifiers = {
        "a": _ARCHITECTURES.get(platform.machine(), platform.machine()),
        "b": processes.boot(),
        "C": bases["cache"],
        "E": bases["configuration"],
        "g": group.gr_name,
        "G": str(group.gr_gid),
        "h": user.pw_dir,
        "H": name,
        "l": name.partition(".")[0],
        "L": bases["logs"],
        "m": machine,
        "q": name.partition(".")[0],
        "s": user.pw_shell,
        "S": bases["state"],
        "t": bases["runtime"],
        "T": "/tmp",  # noqa: S108 - what the specifier means
        "u": user.pw_name,
        "U": str(user.pw_uid),
        "v": platform.release(),
        "V": "/var/tmp",  # noqa: S108 - what the specifier means
    }
    return Host(
        specifiers=specifiers,
        bases=bases,
        memory=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        cpus=os.cpu_count() or 1,
        tasks=int(Path("/proc/sys/kernel/threads-max").read_text()),
    )
