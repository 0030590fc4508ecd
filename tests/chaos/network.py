"""Hosts on one switch: a network namespace each, and a bridge between them on which any direction can be cut.

The process that uses this lives in a network and mount namespace of its own (`enter`): that is the switch, from which
clients reach every host. Each host's namespace is held by a process that dies with this one; the kernel removes what
nobody is in any more. So there are no names to choose and nothing to tidy up, however the run ends.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

from tests.whole.servers import DIES_WITH_PARENT

NET = "10.77.0"
INSIDE = "CHAOS_INSIDE"
"""Set in the environment of a process that has entered."""

_RULES = """
table bridge chaos {
  set cut { type ipv4_addr . ipv4_addr; }
  chain forward {
    type filter hook forward priority 0;
    ether type ip ip saddr . ip daddr @cut counter drop
  }
}
"""


def inside(arguments: Sequence[str]) -> list[str]:
    """The command that runs `python arguments` in namespaces of its own; as root of a user namespace if need be."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *user, "--net", "--mount", "--", sys.executable, *arguments]


def missing() -> str:
    """Why namespaces cannot be made here; empty if they can."""
    for program, package in (("unshare", "util-linux"), ("ip", "iproute2"), ("nft", "nftables")):
        if shutil.which(program) is None:
            return f"needs {program} of Debian's package {package}"
    tried = subprocess.run(inside(["-c", "pass"]), capture_output=True, text=True, timeout=20)
    return "" if tried.returncode == 0 else f"needs root or user namespaces: {tried.stderr.strip()}"


class Network:
    """The switch and its hosts. Use it in a `with`."""

    def __init__(self) -> None:
        self._holders: dict[int, subprocess.Popen[bytes]] = {}
        self.cut: set[tuple[int, int]] = set()
        """(from, to)."""

    def __enter__(self) -> Self:
        if INSIDE not in os.environ:
            raise RuntimeError("to be run in namespaces of its own; see `inside`")
        _ip("link set lo up")
        _ip("link add switch type bridge")
        _ip(f"addr add {NET}.254/24 dev switch")
        _ip("link set switch up")
        _nft(_RULES)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for holder in self._holders.values():
            holder.kill()
            holder.wait()

    def add(self, host: int) -> tuple[str, ...]:
        """Plug a host in, by number; what to put before a command to run it there."""
        ready, told = os.pipe()
        holder = subprocess.Popen(
            [*DIES_WITH_PARENT, "unshare", "--net", "sh", "-c", "echo >&$0; exec sleep infinity", str(told)],
            pass_fds=[told],
            stdin=subprocess.DEVNULL,
        )
        self._holders[host] = holder
        os.close(told)
        with os.fdopen(ready, "rb") as pipe:
            if not pipe.readline():
                raise RuntimeError(f"no network namespace for host {host}")
        enter = ("nsenter", f"--net=/proc/{holder.pid}/ns/net", "--")
        _ip(f"link add v{host} type veth peer name eth0 netns {holder.pid}")
        _ip(f"link set v{host} master switch up")
        for command in ("link set lo up", f"addr add {address(host)}/24 dev eth0", "link set eth0 up"):
            subprocess.run([*enter, "ip", *command.split()], check=True)
        return enter

    def sever(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Let nothing through from the first to the second of each pair any more."""
        self._change(self.cut | set(pairs))

    def mend(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Undo `sever`."""
        self._change(self.cut - set(pairs))

    def _change(self, cut: set[tuple[int, int]]) -> None:
        elements = ", ".join(f"{address(sender)} . {address(receiver)}" for sender, receiver in sorted(cut))
        rules = "flush set bridge chaos cut\n"
        if elements:
            rules += f"add element bridge chaos cut {{ {elements} }}\n"
        _nft(rules)
        self.cut = cut


def address(host: int) -> str:
    return f"{NET}.{host}"


def _ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True)


def _nft(rules: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
