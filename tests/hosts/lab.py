"""The room the hosts of one test stand in: namespaces of its own with a switch in it, and a control group.

One process holds the room. When it dies, and it dies with the test run however that ends, the kernel kills every
process of every host and takes the namespaces, interfaces and mounts away, memory disks with them. Only empty control
groups stay; those of rooms whose test run is gone are swept away when the next room opens.
"""

import contextlib
import itertools
import os
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.whole.servers import DIES_WITH_PARENT

NET = "10.88.0"
_GROUP = "corenode-test"
_numbers = itertools.count()

_SETUP = """
set -e
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/lab
ip link set lo up
ip link add switch type bridge
ip addr add {net}.254/24 dev switch
ip link set switch up
nft -f - <<'RULES'
table bridge lab {{
  set cut {{ type ipv4_addr . ipv4_addr; }}
  chain forward {{
    type filter hook forward priority 0;
    ether type ip ip saddr . ip daddr @cut counter drop
  }}
}}
RULES
echo ready
exec sleep infinity
"""


class Lab:
    """Use it in a `with`; leaving it ends every host."""

    def __init__(self) -> None:
        self.name = f"{_GROUP}-{os.getpid()}-{next(_numbers)}"
        self.cut: set[tuple[str, str]] = set()
        """(from, to), addresses."""
        self._holder: subprocess.Popen[str] | None = None
        self._leader = 0

    def __enter__(self) -> Self:
        sweep()
        spaces = ("--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")
        self._holder = subprocess.Popen(
            [*DIES_WITH_PARENT, "unshare", *spaces, "--", "sh", "-c", _SETUP.format(net=NET)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if self._holder.stdout is None or self._holder.stdout.readline() != "ready\n":
            _, error = self._holder.communicate(timeout=10)
            raise RuntimeError(f"the room of the hosts could not be made: {error}")
        (self._leader,) = children(self._holder.pid)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._holder is not None:
            os.kill(self._leader, signal.SIGKILL)
            self._holder.communicate(timeout=30)
        for hierarchy in hierarchies():
            remove_group(hierarchy / self.name)

    @property
    def files(self) -> Path:
        """The room's memory disk, /run/lab in there, as seen from here."""
        return Path(f"/proc/{self._leader}/root/run/lab")

    def enter(self) -> list[str]:
        """What to put before a command to run it in the room."""
        return ["nsenter", "--target", str(self._leader), "--mount", "--net", "--pid", "--"]

    def do(self, *command: str, text: str = "") -> str:
        done = subprocess.run([*self.enter(), *command], input=text, capture_output=True, text=True, timeout=30)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} failed: {done.stderr}")
        return done.stdout

    def groups(self, host: str) -> list[Path]:
        """New control groups for a host, one in each hierarchy systemd uses; an earlier life's are removed."""
        made = []
        for hierarchy in hierarchies():
            group = hierarchy / self.name / host
            remove_group(group)
            group.mkdir(parents=True)
            made.append(group)
        return made

    def sever(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Let nothing through from the first address to the second of each pair any more."""
        self._change(self.cut | set(pairs))

    def mend(self) -> None:
        """Let everything through again."""
        self._change(set())

    def _change(self, cut: set[tuple[str, str]]) -> None:
        elements = ", ".join(f"{sender} . {receiver}" for sender, receiver in sorted(cut))
        add = f"add element bridge lab cut {{ {elements} }}\n" if elements else ""
        self.do("nft", "-f", "-", text=f"flush set bridge lab cut\n{add}")
        self.cut = cut


def children(pid: int) -> list[int]:
    """The processes a process has started, by their numbers here."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def hierarchies() -> list[Path]:
    """Where the control groups are mounted that systemd manages: cgroup v2, and v1's named one where there is one."""
    found = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
            found.append(Path(place))
    return found


def remove_group(group: Path) -> None:
    """Remove a control group and all below it, waiting for the kernel to see that its processes are gone."""
    end = time.monotonic() + 10
    while group.exists():
        for below, _, _ in os.walk(group, topdown=False):
            with contextlib.suppress(OSError):
                Path(below).rmdir()
        if time.monotonic() > end:
            raise RuntimeError(f"{group} does not become empty")
        if group.exists():
            time.sleep(0.01)


def sweep() -> None:
    """Remove the control groups of rooms whose test run is gone."""
    for hierarchy in hierarchies():
        for group in hierarchy.glob(f"{_GROUP}-*"):
            if not Path(f"/proc/{group.name.split('-')[2]}").exists():
                remove_group(group)
