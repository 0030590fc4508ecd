"""What the disk gives: raw syncs, log commits, state flushes, reads. Prints a table; medians of several rounds.

python -m bench.disk [--directory DIR] [--rounds N]
"""

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from core.kv.transaction import Table
from core.raft.messages import Entry, HardState
from core.store_lmdb import snapshot
from core.store_lmdb.log import LogStore
from core.store_lmdb.state import StateStore

VALUE = b"v" * 150
SLICE = 2000
"""Rows of one flush of the state."""


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def raw_syncs(path: Path) -> float:
    """Writes of 4 KiB with fdatasync a second, in a file that does not grow: the bound for everything below."""
    with open(path / "raw", "wb", buffering=0) as file:
        file.write(bytes(4096 * 64))
        os.fsync(file.fileno())

        def write(count: int = 500) -> None:
            for number in range(count):
                os.pwrite(file.fileno(), bytes(4096), number % 64 * 4096)
                os.fdatasync(file.fileno())

        return 500 / seconds(write)


def log_commits(path: Path, size: int, count: int) -> float:
    """Log appends a second, each of one entry of `size` bytes; the prefix is dropped as in a running node."""
    log = LogStore(path / f"log-{size}", create=True)

    def append() -> None:
        for index in range(1, count + 1):
            log.append([Entry(index, 1, 0, bytes(size))], HardState(1, 1, index - 1))
            if index % 256 == 0:
                log.drop_until(index - 128)

    try:
        return count / seconds(append)
    finally:
        log.close()


def flushes(state: StateStore, numbers: random.Random, rows: int) -> tuple[float, float]:
    """Milliseconds of a flush of SLICE rows, half of them at random keys among `rows`, half in order; and the worst."""
    taken = []
    for turn in range(20):
        for number in range(SLICE // 2):
            state.put(Table.KEY, b"/key/%010d" % numbers.randrange(rows), VALUE)
            state.put(Table.REVISION, (time.monotonic_ns() + number).to_bytes(12, "big"), VALUE)
        taken.append(1000 * seconds(state.flush) if turn else 0.0)
    return statistics.median(taken[1:]), max(taken)


def reads(state: StateStore, numbers: random.Random, rows: int) -> tuple[float, float]:
    """Microseconds of a get of a row on the disk, and of a row of a scan."""
    keys = [b"/key/%010d" % numbers.randrange(rows) for _ in range(20_000)]

    def get() -> None:
        for key in keys:
            state.get(Table.KEY, key)

    count = 0

    def scan() -> None:
        nonlocal count
        count = sum(1 for _ in state.scan(Table.KEY))

    got = seconds(get) / len(keys)
    scanned = seconds(scan)
    return got * 1e6, scanned / count * 1e6


def writes(state: StateStore, numbers: random.Random, rows: int) -> tuple[float, float]:
    """Microseconds of a put, and of a get of a row that waits in memory."""
    keys = [b"/key/%010d" % numbers.randrange(rows) for _ in range(20_000)]

    def put() -> None:
        for key in keys:
            state.put(Table.KEY, key, VALUE)

    def get() -> None:
        for key in keys:
            state.get(Table.KEY, key)

    found = seconds(put) / len(keys) * 1e6, seconds(get) / len(keys) * 1e6
    state.flush()
    return found


def run(path: Path, rounds: int) -> None:
    rows = 200_000
    numbers = random.Random(1)
    state = StateStore(path / "state", create=True)

    def fill() -> None:
        for number in range(rows):
            state.put(Table.KEY, b"/key/%010d" % number, VALUE)
            if number % 20_000 == 19_999:
                state.flush()

    print(f"fill with {rows:,} rows in flushes of 20,000          {rows / seconds(fill):12,.0f} rows/s")
    figures: dict[str, list[float]] = {}
    for number in range(rounds):
        (below := path / str(number)).mkdir()
        syncs = raw_syncs(below)
        flush, worst = flushes(state, numbers, rows)
        got, scanned = reads(state, numbers, rows)
        put, waiting = writes(state, numbers, rows)
        saving = seconds(lambda: [None for _ in snapshot.pieces(state, snapshot.Header("", 0, 0, 0))])
        for name, value in {
            "4 KiB write and fdatasync, /s": syncs,
            "log append of 200 B, /s": log_commits(below, 200, 1000),
            "log append of 30 KiB (a batch of 150), /s": log_commits(below, 30_000, 500),
            f"flush of {SLICE:,} rows, ms": flush,
            f"flush of {SLICE:,} rows, worst, ms": worst,
            "put, us": put,
            "get of a waiting row, us": waiting,
            "get from the disk, us": got,
            "scan, us a row": scanned,
            "snapshot, MB/s": state.size_in_use() / 1e6 / saving,
        }.items():
            figures.setdefault(name, []).append(value)
    state.close()
    for name, values in figures.items():
        print(f"{name:<52}{statistics.median(values):12,.2f}   of {', '.join(f'{value:,.2f}' for value in values)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, help="where to measure; default: the system's temporary directory")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as temporary:
        run(Path(temporary), options.rounds)
