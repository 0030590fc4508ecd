"""Making a data directory, and judging one that is there, before anything in it is opened.

    lock        held by the one process that uses the directory; names it
    format      JSON: format version, cluster and member id, the version that made it; written last
    log/        the log environment with its journal (`log`, `journal`)
    state-N/    the state environment (`state`); the log says which N counts
    reserve     room that is given up when the disk is full (`room`)

A directory without `format` is either new (empty), half made (`format.new` is there: begun and never used, so it is
made again) or not ours. Other names in a directory of ours, such as the node's socket, are not looked at.
"""

import os
import stat
from pathlib import Path

import msgspec

from core.kv.transaction import Table
from core.raft.messages import Entry, HardState
from core.store_lmdb.environment import DATA, sync_directory
from core.store_lmdb.errors import DirectoryError, translated
from core.store_lmdb.journal import NAME as JOURNAL

FORMAT = 2
"""Rises when an older program could no longer read the directory. 2: the log has a journal."""
_OLDER = (1,)
"""What this program reads too; it goes on in its own."""
LOCK, RESERVE, LOG = "lock", "reserve", "log"
_FORMAT, _FORMAT_NEW, _STATE = "format", "format.new", "state-"
_DEFAULT_NAMES = {"lost+found", "authority", "tls", "corenode.toml"}
"""What may be in a new directory: certificates and configuration are there before the first start."""
FILES = (DATA, "lock.mdb", JOURNAL)
"""What an environment's directory holds."""


class Identity(msgspec.Struct, frozen=True):
    """Whose directory it is."""

    cluster: int
    """Cluster id, 64 bits."""
    member: int
    """Member id, 64 bits."""


class Beginning(msgspec.Struct, frozen=True):
    """What a new directory holds before it is used for the first time."""

    identity: Identity
    entries: tuple[Entry, ...] = ()
    """The first of the log."""
    hard_state: HardState = HardState()
    rows: tuple[tuple[Table, bytes, bytes], ...] = ()
    """The first of the state."""


class _Format(msgspec.Struct, frozen=True):
    """The content of the file `format`; ids in 16 hexadecimal digits."""

    format: int
    cluster: str
    member: str
    created_by: str


def prepare(path: Path, *, create: bool) -> Path:
    """The real path of a directory that is safe to lock: there, ours, private. With `create` it is made if absent."""
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
    if _FORMAT not in names and _FORMAT_NEW not in names and names - {LOCK}:
        shown = ", ".join(sorted(names)[:3])
        raise DirectoryError(
            f"{path}: holds files but no file {_FORMAT!r}, so it is no data directory of corenode (found: {shown}). "
            "Name an empty or new directory with --data-dir."
        )
    for name in names:
        if name in {LOCK, _FORMAT, _FORMAT_NEW, RESERVE, LOG} or name.startswith(_STATE):
            check_kind(path / name, directory=name == LOG or name.startswith(_STATE))
    if status.st_mode & 0o077:
        path.chmod(0o700)
    return path


def check_kind(path: Path, *, directory: bool) -> None:
    """Refuse a link or another kind of file where one of ours should be."""
    mode = path.lstat().st_mode
    if not (stat.S_ISDIR(mode) if directory else stat.S_ISREG(mode)):
        raise DirectoryError(f"{path}: should be a {'directory' if directory else 'plain file'}; nothing was opened")


def begin(path: Path, identity: Identity, created_by: str) -> None:
    """Begin to fill a locked directory that is new or half made: it holds nothing after this but the promise."""
    _promise(path, _Format(FORMAT, f"{identity.cluster:016x}", f"{identity.member:016x}", created_by))
    remove_environment(path / LOG)
    remove_states(path, keep=None)


def _promise(path: Path, content: _Format) -> None:
    """Write `format` under the name that does not count yet."""
    new = path / _FORMAT_NEW
    with (
        translated(new, "write"),
        open(new, "wb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o600)) as stream,
    ):
        stream.write(msgspec.json.format(msgspec.json.encode(content)) + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
    sync_directory(path)


def finish(path: Path) -> None:
    """Give `format` its name: from now on the directory counts."""
    with translated(path / _FORMAT, "rename"):
        (path / _FORMAT_NEW).rename(path / _FORMAT)
    sync_directory(path)


def is_made(path: Path) -> bool:
    """Whether a directory that `prepare` let pass is whole already."""
    return (path / _FORMAT).exists()


def read_identity(path: Path) -> Identity:
    """Whose directory it is; one of an older format is of today's from then on. DirectoryError if its format is unknown
    or unreadable."""
    file = path / _FORMAT
    with translated(file, "read"):
        data = file.read_bytes()
    try:
        version = msgspec.json.decode(data, type=dict[str, object]).get("format")
        if version != FORMAT and version not in _OLDER:
            raise DirectoryError(
                f"{file}: format {version}, this program knows only {FORMAT}. Start the version that wrote it, "
                "or a newer one."
            )
        content = msgspec.json.decode(data, type=_Format)
        identity = Identity(int(content.cluster, 16), int(content.member, 16))
    except (msgspec.DecodeError, ValueError) as error:
        raise DirectoryError(
            f"{file}: unreadable ({error}). Put the file back from a copy of the directory, or restore a snapshot to "
            "an empty one."
        ) from error
    if version != FORMAT:
        _promise(path, msgspec.structs.replace(content, format=FORMAT))
        finish(path)
    return identity


def state_path(path: Path, generation: int) -> Path:
    """The directory of the state of that generation; the first is 1."""
    return path / f"{_STATE}{generation}"


def remove_states(path: Path, keep: Path | None) -> None:
    """Remove all states but one: what interrupted installations left."""
    for state in path.glob(f"{_STATE}*"):
        if state != keep:
            remove_environment(state)


def remove_environment(path: Path) -> None:
    """Remove an environment's files and directory if they are there, and nothing else."""
    with translated(path, "remove"):
        if path.exists():
            for name in FILES:
                (path / name).unlink(missing_ok=True)
            path.rmdir()
            sync_directory(path.parent)
