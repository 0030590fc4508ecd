"""What this host is, as the cluster is told: its name and address, what it has, where its agent answers."""

import os
import socket
from collections.abc import Sequence
from pathlib import Path

from core.addresses import Url
from core.config import Config
from core.sched.records import Machine
from core.version import VERSION

_ANYWHERE = "192.0.2.1"
"""An address for documentation (RFC 5737): the route to it is the route to anywhere. Nothing is sent there."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Of this boot of the kernel; empty if it is hidden."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def machine(config: Config, machine_id: str, advertised: Sequence[Url]) -> Machine:
    """The record of this host; others reach it at the https:// URLs, and nodes of this host at its socket."""
    ways = [str(url) for url in advertised if url.secure and not url.wildcard]
    return Machine(
        machine_id,
        name=config.name,
        address=config.public_ip or _address(),
        endpoints=(*ways, f"unix:{config.socket.absolute()}"),
        boot_id=boot_id(),
        metadata=dict(config.metadata),
        cpus=float(len(os.sched_getaffinity(0))),
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        version=VERSION,
    )


def _address() -> str:
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((_ANYWHERE, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return "127.0.0.1"  # no network: nobody else can reach it
