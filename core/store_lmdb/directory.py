"""The data directory of one member, open: its log, its state, its room on the disk. `creation` shows what is in it."""

from contextlib import closing
from pathlib import Path
from typing import Self

from core.raft.messages import HardState
from core.store_lmdb.creation import (
    FILES,
    LOCK,
    LOG,
    RESERVE,
    Beginning,
    Identity,
    begin,
    check_kind,
    finish,
    is_made,
    prepare,
    read_identity,
    remove_environment,
    remove_states,
    state_path,
)
from core.store_lmdb.environment import DATA
from core.store_lmdb.errors import DirectoryError
from core.store_lmdb.inspection import inspect, walk
from core.store_lmdb.lock import DirectoryLock
from core.store_lmdb.log import LogStore, Origin
from core.store_lmdb.room import LOW_WATER, RESERVE_SIZE, Room
from core.store_lmdb.state import StateStore


class DataDirectory:
    """An open data directory: its identity, log, state and room. Use `open`."""

    def __init__(self, path: Path, lock: DirectoryLock, identity: Identity, log: LogStore, room: Room) -> None:
        self.path = path
        self.identity = identity
        self.log = log
        self.state = StateStore(state_path(path, log.origin.generation))
        self.room = room
        self._lock = lock

    @classmethod
    def open(
        cls,
        path: Path,
        create: Beginning | None = None,
        *,
        created_by: str = "corenode",
        reserve: int = RESERVE_SIZE,
        low_water: int = LOW_WATER,
    ) -> Self:
        """Open the data directory at `path`; if there is none yet make it for `create`.

        An existing one keeps the identity it has. DirectoryError if it is in use, not there, not ours or of a newer
        format; CorruptError if a file in it is damaged; DiskFullError. `reserve` and `low_water` are bytes.
        """
        path = prepare(path, create=create is not None)
        lock = DirectoryLock(path / LOCK)
        try:
            room = Room(path / RESERVE, reserve=reserve, low_water=low_water)
            if not is_made(path):
                if create is None:
                    raise DirectoryError(f"{path}: the data directory is empty; start a node on it first")
                begin(path, create.identity, created_by)
                _fill(path, create)
                finish(path)
            identity = read_identity(path)
            log = _open_log(path)
            try:
                state = state_path(path, log.origin.generation)
                _inspect(state)
                remove_states(path, keep=state)
                room.restore_reserve()
                return cls(path, lock, identity, log, room)
            except BaseException:
                log.close()
                raise
        except BaseException:
            lock.release()
            raise

    def check_applied(self, index: int) -> None:
        """Raise DirectoryError unless the log can carry on a state that has applied `index`."""
        floor, last = self.log.floor.index, self.log.last.index
        if floor <= index <= last:
            return
        why = f"the log ends at entry {last}" if index > last else f"the log begins behind entry {floor}"
        raise DirectoryError(
            f"{self.state.file}: the state contains the log up to entry {index}, but {why}. Log and state are not of "
            f"one time; was one of them copied? Put {self.path} back whole, or restore a snapshot to an empty one."
        )

    def new_state(self) -> Path:
        """Where a state beside the one in use is to be made, from a snapshot, and then given to `install`."""
        path = state_path(self.path, self.log.origin.generation + 1)
        remove_environment(path)
        return path

    def begin_state(self) -> StateStore:
        """An empty state at `new_state`."""
        return StateStore(self.new_state(), create=True)

    def install(self, state: StateStore, index: int, term: int, members: bytes, hard_state: HardState) -> None:
        """Go on from a state made at `new_state` that contains the log up to `index`; the log begins anew there."""
        state.flush()
        generation = self.log.origin.generation + 1
        self.log.install(Origin(index, term, generation, members), hard_state)
        old, self.state = self.state, state
        old.close()
        remove_environment(old.file.parent)

    def verify(self) -> dict[str, int]:
        """Read everything; rows of each table. CorruptError at the first damage. For a node that does not run."""
        walk(self.log.file)
        walk(self.state.file)
        return self.state.count()

    def close(self) -> None:
        """Let go of the files and the lock. What the state had not flushed is in the log."""
        self.state.close()
        self.log.close()
        self._lock.release()


def _fill(path: Path, beginning: Beginning) -> None:
    """Make log and state."""
    with closing(LogStore(path / LOG, create=True)) as log:
        log.append(beginning.entries, beginning.hard_state)
    with closing(StateStore(state_path(path, 1), create=True)) as state:
        for table, key, value in beginning.rows:
            state.put(table, key, value)
        state.flush()


def _open_log(path: Path) -> LogStore:
    _inspect(path / LOG)
    return LogStore(path / LOG)


def _inspect(environment: Path) -> None:
    file = environment / DATA
    if not file.exists():
        raise DirectoryError(f"{file}: missing. Put it back from a copy, or restore a snapshot to an empty directory.")
    for name in FILES:
        if (environment / name).exists():
            check_kind(environment / name, directory=False)
    inspect(file)
