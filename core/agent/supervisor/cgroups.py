"""Where units' cgroups can be made on this host, and how limits are written there.

Everything lies below the daemon's own cgroup, so that limits on the daemon's container hold for its units too. Both
versions are used as they are found: in version 1 each controller has a tree, of which those with limits for a unit get
a directory, and one (`pids`, or what else there is) that says who belongs to it; in version 2 there is one tree.
"""

import contextlib
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from core.agent.supervisor.host import Host
from core.agent.supervisor.shim.processes import remove_cgroup
from core.sched import values

PERIOD = 100_000
"""Microseconds over which CPUQuota= counts."""
TRACKERS = ("pids", "freezer", "memory", "cpu", "cpuacct")
"""Controllers of version 1 whose tree may say who belongs to a unit, the best first."""
OPTIONS = {
    "MemoryMax": "memory",
    "MemoryLimit": "memory",
    "MemoryHigh": "memory",
    "CPUQuota": "cpu",
    "CPUWeight": "cpu",
    "CPUShares": "cpu",
    "TasksMax": "pids",
}
"""Options that are limits, and the controller each needs."""


class Tree(msgspec.Struct, frozen=True):
    """A hierarchy in which the daemon may make cgroups."""

    base: str
    """The directory all units' cgroups are in."""
    version: int


class Cgroups(msgspec.Struct, frozen=True):
    """What this host allows. Empty where nothing is allowed."""

    tracker: Tree | None
    controllers: Mapping[str, Tree]

    def rows(self, unit: str, limits: Mapping[str, str], host: Host) -> tuple[list[list[str]], list[str]]:
        """Records for a unit's job, and what cannot be done here. ValueFormError for a limit that is none."""
        settings: list[list[str]] = []
        warnings: list[str] = []
        used = [self.tracker] if self.tracker else []
        for option, value in limits.items():
            tree = self.controllers.get(OPTIONS[option])
            written = None if tree is None else _setting(option, value, tree.version, host)
            if tree is None or written is None:
                warnings.append(f"{option}= has no effect: this host gives us no cgroups that could hold it")
                continue
            used += [tree] if tree not in used else []
            settings += [["cgroup-value", f"{tree.base}/{unit}/{file}", text] for file, text in written]
        rows = [["cgroup", f"{tree.base}/{unit}"] for tree in used] + settings
        memory = self.controllers.get("memory")
        if memory is not None and memory in used:
            rows.append(["oom-count", f"{memory.base}/{unit}/" + _file(memory, "memory.oom_control", "memory.events")])
        return rows, warnings

    def close(self) -> None:
        """Remove the trees if no unit is in them."""
        for tree in {self.tracker, *self.controllers.values()} - {None}:
            if tree is not None:
                with contextlib.suppress(OSError):  # a unit is in it, or it is gone
                    os.rmdir(tree.base)


def probe(directory: Path) -> Cgroups:
    """Make the trees of the supervisor whose directory this is, where that is possible."""
    name = "corenode-" + hashlib.sha256(os.fsencode(directory.resolve())).hexdigest()[:12]
    places = mounts()
    controllers: dict[str, Tree] = {}
    unified: Tree | None = None
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, own = line.split(":", 2)
        place = places.get(names)
        if place is None or (names and not set(names.split(",")) & set(TRACKERS)):
            continue
        tree = _made(place + own.rstrip("/"), name, 1 if names else 2)
        if tree is None:
            continue
        if names:
            controllers.update(dict.fromkeys(names.split(","), tree))
        else:
            unified = tree
    if unified is not None:
        for one in _enabled(unified):
            controllers.setdefault(one, unified)
    tracker = next((controllers[one] for one in TRACKERS if one in controllers), None)
    wanted = {one: tree for one, tree in controllers.items() if one in OPTIONS.values()}
    found = Cgroups(unified if unified and unified in wanted.values() else tracker or unified, wanted)
    for unused in {*controllers.values(), unified} - {None, found.tracker, *wanted.values()}:
        if unused is not None:
            remove_cgroup(unused.base)
    return found


def mounts() -> dict[str, str]:
    """Where each hierarchy is mounted, by the names of its controllers as /proc/self/cgroup writes them."""
    found = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        place, (kind, _, options) = before.split()[4], after.split(" ", 2)
        if before.split()[3] != "/":
            continue
        if kind == "cgroup2":
            found[""] = place
        elif kind == "cgroup":
            words = [word for word in options.split(",") if word not in ("rw", "ro", "xattr")]
            found[",".join(word for word in words if not word.startswith("release_agent="))] = place
    return found


def _made(parent: str, name: str, version: int) -> Tree | None:
    try:
        os.makedirs(f"{parent}/{name}", exist_ok=True)
    except OSError:
        return None
    if not os.access(f"{parent}/{name}/cgroup.procs", os.W_OK):
        return None
    return Tree(f"{parent}/{name}", version)


def _enabled(tree: Tree) -> list[str]:
    """The controllers that units in this tree of version 2 can have; the kernel refuses them to a parent that holds
    processes itself, unless it is the root."""
    found = []
    for controller in ("memory", "cpu", "pids"):
        try:
            for place in (Path(tree.base).parent, Path(tree.base)):
                (place / "cgroup.subtree_control").write_text(f"+{controller}")
        except OSError:
            continue
        found.append(controller)
    return found


def _file(tree: Tree, one: str, two: str) -> str:
    return one if tree.version == 1 else two


def _setting(option: str, value: str, version: int, host: Host) -> list[tuple[str, str]] | None:
    """Files and what is written into them; None if this version has nothing of the kind."""
    old = version == 1
    if option in ("MemoryMax", "MemoryLimit", "MemoryHigh"):
        if old and option == "MemoryHigh":
            return None
        limit = values.size_or_share(value, host.memory)
        file = "memory.limit_in_bytes" if old else "memory.high" if option == "MemoryHigh" else "memory.max"
        return [(file, str(limit) if limit is not None else "-1" if old else "max")]
    if option == "TasksMax":
        count = values.size_or_share(value, host.tasks)
        return [("pids.max", "max" if count is None else str(count))]
    if option == "CPUQuota":
        quota = str(max(1000, int(values.percentage(value) * PERIOD))) if value else ""
        return [("cpu.cfs_quota_us", quota or "-1")] if old else [("cpu.max", f"{quota or 'max'} {PERIOD}")]
    number = values.size(value) or 0
    weight = number if option == "CPUWeight" else max(1, number * 100 // 1024)
    shares = number if option == "CPUShares" else max(2, number * 1024 // 100)
    return [("cpu.shares", str(shares))] if old else [("cpu.weight", str(weight))]
