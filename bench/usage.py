"""What servers took: seconds of processor and anonymous memory, from /proc, and what was written to their disk.

The last is the device's own counter, with what other programs write at the time. What /proc/PID/io says of a process is
the size of the pages that it made dirty, and where the file system keeps files in pages of 2 MiB that is 2 MiB for a
write of 4 KiB, of which 4 KiB reach the disk.
"""

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

SAMPLE_SECONDS = 0.05
_SECTOR_BYTES = 512
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """Of one run."""

    cpu_seconds: float
    """User and system, of all members and of every process of theirs."""
    anonymous_bytes: int
    """The most that one member held at a time: pages of mapped files, which the kernel can take back, do not count."""
    written_bytes: int
    """What reached the disk meanwhile."""


class Meter:
    """Measures while it is entered: servers, each by the first process of its tree, and the disk of a directory."""

    def __init__(self, pids: Sequence[int], directory: Path) -> None:
        self._pids, self._directory = pids, directory
        self._peak = 0
        self._stopped = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        self._cpu, self._written = self._totals()
        self._sampler.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._sampler.join()
        cpu, written = self._totals()
        self.usage = Usage(cpu - self._cpu, self._peak, written - self._written)

    def _totals(self) -> tuple[float, int]:
        processes = [process for pid in self._pids for process in tree(pid)]
        return sum(map(cpu_seconds, processes)), written_bytes(self._directory)

    def _sample(self) -> None:
        while True:
            self._peak = max(self._peak, *(sum(map(anonymous_bytes, tree(pid))) for pid in self._pids))
            if self._stopped.wait(SAMPLE_SECONDS):
                return


def tree(pid: int) -> Iterator[int]:
    """A process and all that descend from it."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # the thread has ended
            for child in children.read_text().split():
                yield from tree(int(child))


def cpu_seconds(pid: int) -> float:
    """What a process used so far, with all threads and with the children that it has waited for."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / _TICKS
    return 0.0


def anonymous_bytes(pid: int) -> int:
    """Resident memory that is not mapped from a file."""
    return _field(pid, "RssAnon") * 1024


def resident_bytes(pid: int) -> int:
    """All resident memory."""
    return _field(pid, "VmRSS") * 1024


def written_bytes(directory: Path) -> int:
    """What was written to the disk that holds a directory, so far; 0 if that is no block device."""
    device = directory.stat().st_dev
    with contextlib.suppress(OSError):
        fields = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat").read_text().split()
        return int(fields[6]) * _SECTOR_BYTES
    return 0


def _field(pid: int, name: str) -> int:
    """A number of /proc/PID/status; 0 of a process that has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
    return 0
