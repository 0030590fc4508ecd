"""A new data directory from a snapshot file."""

from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path

from core.raft.messages import HardState
from core.store_lmdb.creation import LOCK, LOG, Identity, begin, finish, is_made, prepare, state_path
from core.store_lmdb.errors import DirectoryError, translated
from core.store_lmdb.lock import DirectoryLock
from core.store_lmdb.log import LogStore, Origin
from core.store_lmdb.snapshot import PIECE, Header, Summary, fill, verify
from core.store_lmdb.state import StateStore


def restore(
    file: Path, path: Path, identity: Identity, created_by: str, adapt: Callable[[StateStore], bytes]
) -> Generator[Header | Summary]:
    """Make the data directory `path` for `identity` from a snapshot, step by step; the last step yields its summary.

    `adapt` changes what the new cluster wants otherwise, and returns its members in raft's encoding.
    The file is checked whole first. A crash in between leaves a directory that counts as never made. SnapshotError if
    the file is not whole, DirectoryError unless `path` is empty or absent, DiskFullError.
    """
    header = verify(file).header
    path = prepare(path, create=True)
    lock = DirectoryLock(path / LOCK)
    try:
        if is_made(path):  # asked under the lock: `begin` would take away what another process made in between
            raise DirectoryError(f"{path}: holds a node's data already; restore to an empty or new directory")
        begin(path, identity, created_by)
        with (
            closing(StateStore(state_path(path, 1), create=True)) as state,
            translated(file, "read"),
            file.open("rb") as stream,
        ):
            yield from fill(state, str(file), iter(lambda: stream.read(PIECE), b""))
            counted = adapt(state)
            state.flush()
        with closing(LogStore(path / LOG, create=True)) as log:
            origin = Origin(header.index, header.term, 1, counted)
            log.install(origin, HardState(header.term, 0, header.index))
        finish(path)
    finally:
        lock.release()
