"""Processes as the kernel shows them: who is who, who descends from whom, who sits in a cgroup."""

import os


def boot() -> str:
    """The id of this boot of the host."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def stat(pid: int | str) -> list[str]:
    """The fields of /proc/PID/stat behind the name: state is 0, parent 1, start time 19. OSError if it is gone."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].decode().split()


def started(pid: int) -> str:
    """When this process started, in ticks since boot: with pid and boot it names one process. Empty if gone."""
    try:
        return stat(pid)[19]
    except OSError:
        return ""


def parents() -> dict[int, int]:
    """The parent of each process on the host that is no zombie."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                fields = stat(entry)
            except OSError:
                continue
            if fields[0] not in "ZX":
                found[int(entry)] = int(fields[1])
    return found


def descendants(root: int) -> set[int]:
    """All processes below this one."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents().items():
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    waiting = [root]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if child not in found:
                found.add(child)
                waiting.append(child)
    return found


def in_cgroup(directory: str) -> set[int]:
    """The processes in a cgroup and those below it; none if it does not exist."""
    found: set[int] = set()
    for place, _, _ in os.walk(directory):
        try:
            with open(f"{place}/cgroup.procs") as file:
                found.update(int(line) for line in file)
        except OSError:  # removed meanwhile
            continue
    return found - {0}


def remove_cgroup(directory: str) -> bool:
    """Remove a cgroup with those below it; False while something is left in it."""
    for place, _, _ in os.walk(directory, topdown=False):
        try:
            os.rmdir(place)
        except FileNotFoundError:
            continue
        except OSError:
            return False
    return True


def bearing(invocation: str) -> set[int]:
    """The processes whose environment has this invocation id: those that neither cleared nor changed it."""
    mark = b"INVOCATION_ID=" + invocation.encode()
    found = set()
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                with open(f"/proc/{entry}/environ", "rb") as file:
                    if mark in file.read().split(b"\0"):
                        found.add(int(entry))
            except OSError:
                continue
    return found


def send(pids: set[int], *signals: int) -> None:
    """Send each of them these signals; who is gone is gone."""
    for pid in pids:
        for number in signals:
            try:
                os.kill(pid, number)
            except OSError:
                break
