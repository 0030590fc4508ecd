"""How the host that runs a unit is reached from here, and who vouches for that.

What a host says of itself is a hint and no more: whoever has a host's certificate writes it, and this node would then
connect, with its own certificate, wherever it is told. So each way is held against what others say: where a member is,
the members know; where another host is, its certificate and its first connection told (`core.kv.hosts`); and which
sockets are those of nodes on this host, the runtime directory, which only root or this node's own user can write.
"""

import os
import stat
from collections.abc import Collection
from ipaddress import ip_address
from typing import Protocol

from core.addresses import Url
from core.client.endpoints import Endpoint, parse
from core.sched.records import Machine


class Vouchers(Protocol):
    """Who knows where hosts are. The daemon fulfils it."""

    def urls(self, machine: str) -> Collection[str]:
        """The URLs of the member that a machine id belongs to; none if it is no member's."""
        ...

    def names(self, machine: str) -> Collection[str]:
        """The addresses and names of the host that a machine id belongs to."""
        ...

    def sockets(self) -> Collection[str]:
        """The unix sockets of the nodes that run on this host. Reads files, in a thread."""
        ...


def ways(
    machine: Machine, boot_id: str, urls: Collection[str], names: Collection[str], sockets: Collection[str]
) -> list[Endpoint]:
    """How to reach it: its unix socket if it is on this very boot of this host, else by TLS; none if nobody vouches for
    what it names. The rest is what `Vouchers` says of it."""
    here = bool(boot_id) and machine.boot_id == boot_id
    known = {_plain(name) for name in names}
    found: list[Endpoint] = []
    for text in machine.endpoints:
        try:
            way = parse(text)
        except ValueError:
            continue
        if way.socket is not None:
            if here and way.socket in sockets and _is_ours(way.socket):
                found.insert(0, way)
        elif way.secure and (way.origin in urls or _host(way) in known) and (here or not _loopback(way)):
            found.append(way)
    return found


def _host(way: Endpoint) -> str:
    """The address or name in its URL."""
    return _plain(way.origin.removeprefix("https://").rpartition(":")[0])


def _loopback(way: Endpoint) -> bool:
    return Url("https", _host(way), 1).loopback


def _plain(host: str) -> str:
    """An address in the one way it is written, without brackets; a name in small letters."""
    bare = host.strip("[]").lower()
    try:
        return str(ip_address(bare))
    except ValueError:
        return bare


def _is_ours(path: str) -> bool:
    """Whether it is a socket that root or this node's own user has made."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISSOCK(found.st_mode) and found.st_uid in (0, os.geteuid())
