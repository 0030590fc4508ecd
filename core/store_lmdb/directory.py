"""The data directory of one member.

    lock        held by the one process that uses the directory; names it
    format      JSON: format version, cluster and member id, the version that made it; written last
    log/        the log environment (`log`)
    state-N/    the state environment (`state`); the log says which N counts
    reserve     room that is given up when the disk is full (`room`)

A directory without `format` is either new (empty), half made (`format.new` is there: begun and never used, so it is
made again) or not ours. Other names in a directory of ours, such as the node's socket, are not looked at.
"""

import os
import stat
from pathlib import Path
from typing import Self

import msgspec

from core.raft.messages import HardState
from core.store_lmdb.environment import DATA, sync_directory
from core.store_lmdb.errors import DirectoryError, translated
from core.store_lmdb.inspection import inspect, walk
from core.store_lmdb.lock import DirectoryLock
from core.store_lmdb.log import LogStore, Snapshot
from core.store_lmdb.room import LOW_WATER, RESERVE, Room
from core.store_lmdb.state import StateStore

FORMAT = 1
"""Rises when an older program could no longer read the directory."""
_LOCK, _FORMAT, _FORMAT_NEW, _LOG, _STATE, _RESERVE = "lock", "format", "format.new", "log", "state-", "reserve"
_DEFAULT_NAMES = {"lost+found"}
_LMDB_FILES = (DATA, "lock.mdb")


class Identity(msgspec.Struct, frozen=True):
    """Whose directory it is."""

    cluster: int
    """Cluster id, 64 bits."""
    member: int
    """Member id, 64 bits."""


class _Format(msgspec.Struct, frozen=True):
    """The content of the file `format`; ids in 16 hexadecimal digits."""

    format: int
    cluster: str
    member: str
    created_by: str


class DataDirectory:
    """An open data directory: its identity, log, state and room. Use `open`."""

    def __init__(self, path: Path, lock: DirectoryLock, identity: Identity, log: LogStore, room: Room) -> None:
        self.path = path
        self.identity = identity
        self.log = log
        self.state = StateStore(_state_path(path, log.snapshot.generation))
        self.room = room
        self._lock = lock

    @classmethod
    def open(
        cls,
        path: Path,
        create: Identity | None = None,
        *,
        created_by: str = "corenode",
        reserve: int = RESERVE,
        low_water: int = LOW_WATER,
    ) -> Self:
        """Open the data directory at `path`; if there is none yet make it for `create`.

        An existing one keeps the identity it has. DirectoryError if it is in use, not there, not ours or of a newer
        format; CorruptError if a file in it is damaged; DiskFullError. `reserve` and `low_water` are bytes.
        """
        path = _prepare(path, create is not None)
        lock = DirectoryLock(path / _LOCK)
        try:
            room = Room(path / _RESERVE, reserve=reserve, low_water=low_water)
            if not (path / _FORMAT).exists():
                if create is None:
                    raise DirectoryError(f"{path}: the data directory is empty; start a node on it first")
                _make(path, create, created_by)
            identity = _read_format(path / _FORMAT)
            log = _open_log(path)
            try:
                _inspect(_state_path(path, log.snapshot.generation))
                _remove_other_states(path, log.snapshot.generation)
                room.make_reserve()
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

    def begin_state(self) -> StateStore:
        """An empty state beside the one in use, to be filled from a snapshot and then given to `install`."""
        path = _state_path(self.path, self.log.snapshot.generation + 1)
        _remove_environment(path)
        return StateStore(path, create=True)

    def install(self, state: StateStore, index: int, term: int, members: bytes, hard_state: HardState) -> None:
        """Go on from a state made by `begin_state` that contains the log up to `index`; the log begins anew there."""
        state.flush()
        generation = self.log.snapshot.generation + 1
        self.log.install(Snapshot(index, term, generation, members), hard_state)
        old, self.state = self.state, state
        old.close()
        _remove_environment(old.file.parent)

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


def _prepare(path: Path, create: bool) -> Path:
    """The real path of a directory that is safe to lock: there, ours, and private."""
    path = Path(os.path.realpath(path))
    try:
        if create and not path.exists():
            path.mkdir(mode=0o700, parents=True)
            sync_directory(path.parent)
        status = path.stat()
    except FileNotFoundError:
        raise DirectoryError(f"{path}: no such data directory; is the path right?") from None
    except OSError as error:
        raise DirectoryError(f"{path}: cannot be used as data directory: {error.strerror}") from error
    if not stat.S_ISDIR(status.st_mode):
        raise DirectoryError(f"{path}: not a directory; name another with --data-dir")
    if status.st_uid != os.geteuid():
        raise DirectoryError(
            f"{path}: belongs to user {status.st_uid}, this process runs as user {os.geteuid()}. "
            "Run the node as that user, or give it the directory with chown -R."
        )
    names = {entry.name for entry in os.scandir(path)} - _DEFAULT_NAMES
    if _FORMAT not in names and _FORMAT_NEW not in names and names - {_LOCK}:
        shown = ", ".join(sorted(names)[:3])
        raise DirectoryError(
            f"{path}: holds files but no file {_FORMAT!r}, so it is no data directory of corenode (found: {shown}). "
            "Name an empty or new directory with --data-dir."
        )
    for name in names:
        if name in {_LOCK, _FORMAT, _FORMAT_NEW, _RESERVE, _LOG} or name.startswith(_STATE):
            _check_kind(path / name, directory=name == _LOG or name.startswith(_STATE))
    if status.st_mode & 0o077:
        path.chmod(0o700)
    return path


def _check_kind(path: Path, *, directory: bool) -> None:
    """Refuse a link or another kind of file where one of ours should be."""
    mode = path.lstat().st_mode
    if not (stat.S_ISDIR(mode) if directory else stat.S_ISREG(mode)):
        raise DirectoryError(f"{path}: should be a {'directory' if directory else 'plain file'}; nothing was opened")


def _make(path: Path, identity: Identity, created_by: str) -> None:
    """Fill a new directory. The last step gives `format` its name; until then it counts as never made."""
    content = _Format(FORMAT, f"{identity.cluster:016x}", f"{identity.member:016x}", created_by)
    new = path / _FORMAT_NEW
    with (
        translated(new, "write"),
        open(new, "wb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o600)) as stream,
    ):
        stream.write(msgspec.json.format(msgspec.json.encode(content)) + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
    sync_directory(path)
    _remove_environment(path / _LOG)
    _remove_other_states(path, 0)
    LogStore(path / _LOG, create=True).close()
    StateStore(_state_path(path, 1), create=True).close()
    with translated(new, "rename"):
        new.rename(path / _FORMAT)
    sync_directory(path)


def _read_format(file: Path) -> Identity:
    with translated(file, "read"):
        data = file.read_bytes()
    try:
        version = msgspec.json.decode(data, type=dict[str, object]).get("format")
        if version != FORMAT:
            raise DirectoryError(
                f"{file}: format {version}, this program knows only {FORMAT}. Start the version that wrote it, "
                "or a newer one."
            )
        content = msgspec.json.decode(data, type=_Format)
        return Identity(int(content.cluster, 16), int(content.member, 16))
    except (msgspec.DecodeError, ValueError) as error:
        raise DirectoryError(
            f"{file}: unreadable ({error}). Put the file back from a copy of the directory, or restore a snapshot to "
            "an empty one."
        ) from error


def _open_log(path: Path) -> LogStore:
    _inspect(path / _LOG)
    return LogStore(path / _LOG)


def _inspect(environment: Path) -> None:
    file = environment / DATA
    if not file.exists():
        raise DirectoryError(f"{file}: missing. Put it back from a copy, or restore a snapshot to an empty directory.")
    for name in _LMDB_FILES:
        if (environment / name).exists():
            _check_kind(environment / name, directory=False)
    inspect(file)


def _state_path(path: Path, generation: int) -> Path:
    return path / f"{_STATE}{generation}"


def _remove_other_states(path: Path, generation: int) -> None:
    """Remove what interrupted installations left; `generation` 0 means all."""
    keep = _state_path(path, generation)
    for state in path.glob(f"{_STATE}*"):
        if state != keep:
            _remove_environment(state)


def _remove_environment(path: Path) -> None:
    """Remove an environment's files and directory if they are there, and nothing else."""
    with translated(path, "remove"):
        if path.exists():
            for name in _LMDB_FILES:
                (path / name).unlink(missing_ok=True)
            path.rmdir()
            sync_directory(path.parent)
