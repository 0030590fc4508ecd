"""What lies in the data directories under `tests/data`, one for each format that was ever released.

`python -m tests.store.kept DIRECTORY` makes one of today's format. One that is kept is never made anew: that every
later version opens it is what it is for.
"""

import sys
from pathlib import Path

from core.kv.transaction import Table
from core.raft.messages import Entry, HardState
from core.store_lmdb.creation import Beginning, Identity
from core.store_lmdb.directory import DataDirectory
from core.store_lmdb.log import Origin

IDENTITY = Identity(0xC0DE, 0xA)
ORIGIN = Origin(20, 2, 2, b"\x00members\xff")
HARD_STATE = HardState(5, 10, 29)
ENTRIES = [Entry(index, 3 + index // 28, index % 2, b"entry %d " % index * (index % 4)) for index in range(21, 31)]
ROWS = sorted(
    [
        (Table.META, b"applied", b"25"),
        *((table, b"key in " + table.value.encode(), table.value.encode() * 3) for table in Table),
        *((Table.KEY, key, b"value of %d bytes' key" % len(key)) for key in (b"", b"\0", b"\0a", b"a", b"\xff\xff")),
        *((Table.KEY, b"/long" * 100 + ending, ending) for ending in (b"", b"c", b"a", b"b", b"x" * 2000)),
        (Table.KEY, b"\0" * 600, b"zeros"),
        (Table.KEY, b"/large", bytes(range(256)) * 40),
        *((Table.REVISION, index.to_bytes(12, "big"), b"%d" % index) for index in range(26)),
    ]
)


def make(path: Path) -> None:
    """A directory that has seen all that leaves a trace: a snapshot from a peer, appends, a replaced suffix, and a kill
    that left the last entries in the journal."""
    directory = DataDirectory.open(
        path, Beginning(IDENTITY), created_by="tests.store.kept", reserve=4096, low_water=4096
    )
    directory.log.append([Entry(1, 1, 0, b"before")], HardState(1, 10, 1))
    state = directory.begin_state()
    for row in ROWS:
        state.put(*row)
    directory.install(state, ORIGIN.index, ORIGIN.term, ORIGIN.members, HardState(3, 10, 20))
    directory.log.append(ENTRIES[:4])
    directory.log.append([Entry(index, 3, 0, b"replaced") for index in range(25, 33)])
    directory.log.append(ENTRIES[4:8])
    directory.log.append(ENTRIES[8:], HARD_STATE)
    directory.log._journal.close()
    directory.close()


def problems(directory: DataDirectory) -> list[str]:
    """What is not as `make` left it."""
    log = directory.log
    rows = sorted((table, key, value) for table in Table for key, value in directory.state.scan(table))
    found = {
        "identity": directory.identity == IDENTITY,
        "origin": log.origin == ORIGIN,
        "hard state": log.hard_state == HARD_STATE,
        "entries": log.read(21, log.last.index) == ENTRIES,
        "rows": rows == ROWS,
    }
    return [name for name, right in found.items() if not right]


if __name__ == "__main__":
    make(Path(sys.argv[1]))
