"""Fill a small file system until commits fail, and get out again. Run in a user and mount namespace of its own."""

import subprocess
import tempfile
from pathlib import Path

from core.kv.transaction import Table
from core.raft.messages import Entry, HardState
from core.store_lmdb.creation import Beginning, Identity
from core.store_lmdb.directory import DataDirectory
from core.store_lmdb.errors import DiskFullError

SIZE = 8 << 20
RESERVE = 1 << 20


def run(path: Path) -> str:
    directory = DataDirectory.open(path / "data", Beginning(Identity(1, 1)), reserve=RESERVE, low_water=RESERVE)
    log, state, room = directory.log, directory.state, directory.room
    refused_early = 0
    index = flushed = 0
    while True:
        refused_early += room.is_low()
        try:
            log.append([Entry(index + 1, 1, 0, b"e" * 3000)], HardState(1, 1, index))
        except DiskFullError:
            break
        index += 1
        state.put(Table.KEY, b"/%d" % index, b"v" * 3000)
        if index % 50 == 0:
            try:
                state.flush()
            except DiskFullError:
                break
            flushed = index
            log.drop_until(index)
    _check(refused_early > 0, "the low-water mark came too late")

    used = state.size_on_disk()
    # All is as before the failed commit: readable, and the same after more failures and a reopen.
    failures = 1
    for _ in range(3):
        try:
            state.put(Table.KEY, b"/large", b"v" * SIZE)
            state.flush()
        except DiskFullError:
            failures += 1
    _check(failures == 4, "a commit larger than the disk went through")
    _check(state.size_on_disk() == used, "a failed commit kept room")
    _check(log.last.index == index, "a failed append counted")
    entries = log.read(log.floor.index + 1, index, SIZE)
    _check(entries[-1].index == index, "an appended entry is gone")
    directory.close()
    directory = DataDirectory.open(path / "data", reserve=RESERVE, low_water=RESERVE)
    log, state, room = directory.log, directory.state, directory.room
    _check(log.last.index == index, "an appended entry is gone after a reopen")
    _check(sum(1 for _ in state.scan(Table.KEY)) == flushed, "the state is not that of its last flush")

    # Deletes go on with the reserve's room.
    _check(room.release_reserve(), "there was no reserve to give")
    for number in range(1, flushed + 1):
        state.delete(Table.KEY, b"/%d" % number)
        if number % 100 == 0:
            state.flush()
    state.flush()
    log.drop_until(index)
    for _ in range(20):
        log.append([], HardState(1, 1, index))
    _check(state.size_in_use() == 0, "rows are left")

    # And new data fits in the pages that are free now.
    again = 0
    for number in range(200):
        log.append([Entry(index + 1 + number, 1, 0, b"e" * 3000)], HardState(1, 1, index))
        again += 1
        state.put(Table.KEY, b"/new-%d" % number, b"v" * 3000)
        if number % 50 == 49:
            state.flush()
            log.drop_until(index + number)
    directory.close()
    return f"full disk: {index} entries until full, {failures} commits failed whole, {again} more after deletes"


def _check(truth: bool, otherwise: str) -> None:
    if not truth:
        raise SystemExit(otherwise)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", temporary], check=True)
        try:
            print(run(Path(temporary)))
        finally:
            subprocess.run(["umount", temporary], check=True)
