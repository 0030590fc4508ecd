"""How the command line finds the node of this host: a small file in the runtime directory for every running node.

The file names the node's endpoints, socket and process. A node that was killed leaves its file behind; the process
id together with the process's start time tells a stale one, even when the id is in use again.
"""

import contextlib
import os
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

SYSTEM = Path("/run/corenode")


class NodeFile(msgspec.Struct, frozen=True, kw_only=True):
    """What a running node tells of itself."""

    name: str
    endpoints: tuple[str, ...]
    """URLs it listens on, with real port numbers."""
    socket: str
    """Absolute path of its unix socket."""
    data_dir: str
    pid: int
    start: int
    """When the process began, in the kernel's ticks since boot."""
    written: float
    """Unix time; the newest living node is the one that is meant."""


def describe(name: str, endpoints: tuple[str, ...], socket: Path, data_dir: Path) -> NodeFile:
    """The file of this very process."""
    pid = os.getpid()
    return NodeFile(
        name=name,
        endpoints=endpoints,
        socket=str(socket.absolute()),
        data_dir=str(data_dir.absolute()),
        pid=pid,
        start=_start(pid) or 0,
        written=time.time(),
    )


def write_node_file(node: NodeFile, environ: Mapping[str, str] = os.environ) -> Path:
    """Put the file in place, whole or not at all, and clear away stale ones. OSError if the directory refuses."""
    directory = _own_directory(environ)
    for path, other in _files(directory):
        if not _alive(other):
            remove_node_file(path)
    path = directory / f"{node.pid}.json"
    part = directory / f".{node.pid}.part"
    part.write_bytes(msgspec.json.encode(node))
    part.chmod(0o644)  # the directory decides who may look
    part.replace(path)
    return path


def remove_node_file(path: Path) -> None:
    """Take the file away; one that is gone already, or not ours to take, is no error."""
    with contextlib.suppress(OSError):
        path.unlink()


def read_node_file(environ: Mapping[str, str] = os.environ) -> NodeFile | None:
    """The newest node alive in the first runtime directory that has one."""
    for directory in _readable_directories(environ):
        living = [node for _, node in _files(directory) if _alive(node)]
        if living:
            return max(living, key=lambda node: node.written)
    return None


def read_all(environ: Mapping[str, str] = os.environ) -> list[NodeFile]:
    """Every node alive on this host that tells us of itself."""
    return [node for directory in _readable_directories(environ) for _, node in _files(directory) if _alive(node)]


def _own_directory(environ: Mapping[str, str]) -> Path:
    """The directory to write to, made if need be."""
    given = environ.get("RUNTIME_DIRECTORY", "").split(":")[0]  # from systemd's RuntimeDirectory=
    if given:
        return Path(given)
    session = environ.get("XDG_RUNTIME_DIR")
    if session and Path(session).is_dir():
        directory = Path(session) / "corenode"
        directory.mkdir(mode=0o700, exist_ok=True)
        return directory
    if os.geteuid() == 0:
        SYSTEM.mkdir(mode=0o755, exist_ok=True)
        return SYSTEM
    directory = _temporary()
    directory.mkdir(mode=0o700, exist_ok=True)
    if not _private(directory):
        raise PermissionError(13, "not a directory of this user alone", str(directory))
    return directory


def _readable_directories(environ: Mapping[str, str]) -> Iterator[Path]:
    session = environ.get("XDG_RUNTIME_DIR")
    if session:
        yield Path(session) / "corenode"
    yield SYSTEM
    if _private(_temporary()):  # anyone can make a directory of that name in /tmp
        yield _temporary()


def _temporary() -> Path:
    return Path(tempfile.gettempdir()) / f"corenode-run-{os.geteuid()}"


def _private(directory: Path) -> bool:
    try:
        found = directory.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


def _files(directory: Path) -> Iterator[tuple[Path, NodeFile]]:
    try:
        paths = sorted(directory.glob("*.json"))
    except OSError:
        return
    for path in paths:
        try:
            yield path, msgspec.json.decode(path.read_bytes(), type=NodeFile)
        except (OSError, msgspec.DecodeError):
            continue  # of another user, just removed, or of another version


def _alive(node: NodeFile) -> bool:
    return _start(node.pid) == node.start


def _start(pid: int) -> int | None:
    """The start time of a process in ticks since boot; None if there is none, or only its corpse."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()  # the name before may hold anything
    return None if fields[0] in "ZX" else int(fields[19])
