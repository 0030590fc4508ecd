"""What a power cut leaves: a real run's writes and syncs are recorded, and the files rebuilt as a cut could leave them.

`record` runs a command under strace and gives its `Trace`: every change of a file below a root, every sync, and as
marks what it wrote to anything else (a line to its standard output, an answer to a client), all in order. `cuts`
rebuilds the root for cuts of the power at points of the trace. What a finished sync covered is there. Of the rest,
nothing, all, or a random part: any subset of the writes in any order, some of them torn at sectors or pages. Names
(created, renamed, removed) become durable by a sync of their directory, and before that in order, as journals have it.

Writes through a memory map are not seen, so LMDB's lock files are left out, and `writemap` cannot be judged. The
reserve of a data directory is left out too: it holds nothing, at length.
"""

import itertools
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SECTOR, PAGE = 512, 4096
_CALLS = (
    "openat,open,creat,write,pwrite64,writev,pwritev,pwritev2,fsync,fdatasync,sync_file_range,ftruncate,fallocate,"
    "rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,lseek,sendto,sendmsg,sendfile,copy_file_range"
)
_UNSEEN = ("/lock.mdb", "/reserve")


@dataclass(frozen=True)
class Write:
    path: str
    offset: int
    data: bytes
    synced: bool
    """The file was opened so that the write returns when it is durable."""


@dataclass(frozen=True)
class Truncate:
    path: str
    size: int


@dataclass(frozen=True)
class Sync:
    path: str


@dataclass(frozen=True)
class Name:
    """`path` begins to name a new file or directory, the file that `source` named, or nothing."""

    path: str
    kind: str
    source: str = ""


@dataclass(frozen=True)
class Mark:
    data: bytes


Operation = Write | Truncate | Sync | Name | Mark


@dataclass(frozen=True)
class Trace:
    """What happened below `root`, which was empty or absent before, in order."""

    root: str
    operations: list[Operation]
    returncode: int

    @property
    def writes(self) -> int:
        """How many writes it holds."""
        return sum(isinstance(operation, Write) for operation in self.operations)


def record(command: Sequence[str], root: Path, *, timeout: float = 60) -> Trace:
    """Run a command to its end and tell what it did below `root`, which must not exist yet or be empty."""
    with recording(command, root) as run:
        run.process.wait(timeout)
    return run.trace()


class Recording:
    """A command that runs under strace."""

    def __init__(self, process: "subprocess.Popen[Any]", root: Path, output: Path) -> None:
        self.process = process
        """strace itself; it ends with the command, and with its exit code, but does not pass signals on."""
        self._root = root
        self._output = output
        self._operations: list[Operation] = []

    @property
    def pid(self) -> int:
        """The command's process, for signals."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return int(children.split()[0])

    def read(self) -> None:
        """Read what strace wrote."""
        with self._output.open(encoding="ascii") as lines:
            self._operations = _Parser(str(self._root)).parse(lines)

    def trace(self) -> Trace:
        """What was recorded; call it when the recording has ended."""
        return Trace(str(self._root), self._operations, self.process.returncode)


@contextmanager
def recording(command: Sequence[str], root: Path, **options: Any) -> Iterator[Recording]:
    """Run a command under strace beside what happens inside, such as clients; it must have ended at the end.

    `options` are those of Popen.
    """
    options = {"stdout": subprocess.DEVNULL} | options
    with tempfile.TemporaryDirectory() as temporary:
        output = Path(temporary) / "trace"
        strace = ["strace", "-f", "-y", "-xx", "-s", str(1 << 28), "-e", f"trace={_CALLS}", "-o", str(output)]
        with subprocess.Popen([*strace, *command], **options) as process:
            run = Recording(process, root, output)
            try:
                yield run
            finally:
                if process.poll() is None:
                    with suppress(OSError, IndexError):
                        os.kill(run.pid, signal.SIGKILL)
        run.read()


_LINE = re.compile(r"^(\d+) +(\w+)\((.*)\) += (-?\d+)(?:<([^>]*)>)?")
_UNFINISHED = re.compile(r"^(\d+) +(.*?) *<unfinished \.\.\.>$")
_RESUMED = re.compile(r"^(\d+) +<\.\.\. \w+ resumed>(.*)$")
_DESCRIPTOR = re.compile(r"^(AT_FDCWD|\d+)<([^>]*)>")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _path(text: str) -> str:
    return os.fsdecode(_bytes(text)) if text.startswith("\\x") else text


class _Parser:
    """strace's lines into operations."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._known: set[str] = set()
        self._positions: dict[tuple[str, str], int] = {}
        self._synced: set[tuple[str, str]] = set()
        self.operations: list[Operation] = []

    def parse(self, lines: Iterable[str]) -> list[Operation]:
        begun: dict[str, str] = {}
        for line in lines:
            if unfinished := _UNFINISHED.match(line):
                begun[unfinished[1]] = unfinished[2]
            elif resumed := _RESUMED.match(line):
                self._line(f"{resumed[1]} {begun.pop(resumed[1])}{resumed[2]}")
            else:
                self._line(line)
        return self.operations

    def _line(self, line: str) -> None:
        match = _LINE.match(line)
        if match and int(match[4]) >= 0:
            call, arguments, result, opened = match[2], match[3], int(match[4]), match[5]
            if call in {"openat", "open", "creat"}:
                self._open(arguments, str(result), _path(opened or ""))
            elif call in {"rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir", "mkdir", "mkdirat"}:
                self._name(call, arguments)
            else:
                self._descriptor(call, arguments, result)

    def _below(self, path: str) -> bool:
        return (path == self._root or path.startswith(self._root + "/")) and not path.endswith(_UNSEEN)

    def _open(self, arguments: str, number: str, path: str) -> None:
        if not self._below(path):
            return
        flags = set(re.findall(r"\bO_\w+", arguments))
        if "O_APPEND" in flags:
            raise NotImplementedError(f"{path} is opened to append")
        self._positions[number, path] = 0
        (self._synced.add if flags & {"O_DSYNC", "O_SYNC"} else self._synced.discard)((number, path))
        if "O_CREAT" in flags and path not in self._known:
            self._known.add(path)
            self.operations.append(Name(path, "file"))
        elif "O_TRUNC" in flags:
            self.operations.append(Truncate(path, 0))

    def _name(self, call: str, arguments: str) -> None:
        directories = [_path(found) for found in re.findall(r"(?:AT_FDCWD|\d+)<([^>]*)>", arguments)]
        names = [os.fsdecode(_bytes(found)) for found in _STRING.findall(arguments)]
        paths = [
            os.path.normpath(os.path.join(directories[min(index, len(directories) - 1)], name) if directories else name)
            for index, name in enumerate(names)
        ]
        if not self._below(paths[-1]):
            return
        if call.startswith("rename"):
            self._known.discard(paths[0])
            self._known.add(paths[1])
            self._positions |= {(fd, paths[1]): at for (fd, path), at in self._positions.items() if path == paths[0]}
            self._synced |= {(fd, paths[1]) for fd, path in self._synced if path == paths[0]}
            self.operations.append(Name(paths[1], "rename", paths[0]))
        elif call.startswith("mkdir"):
            self.operations.append(Name(paths[0], "directory"))
        else:
            self._known.discard(paths[0])
            self.operations.append(Name(paths[0], "nothing"))

    def _descriptor(self, call: str, arguments: str, result: int) -> None:
        match = _DESCRIPTOR.match(arguments)
        if not match:
            return
        key = number, path = match[1], _path(match[2])
        data = b"".join(_bytes(found) for found in _STRING.findall(arguments))[:result]
        if not self._below(path):
            if call in {"write", "writev", "sendto", "sendmsg"}:
                self.operations.append(Mark(data))
            return
        if call in {"write", "writev"}:
            self._write(key, self._positions[key], data)
            self._positions[key] += result
        elif call in {"pwrite64", "pwritev", "pwritev2"}:
            self._write(key, int(arguments.split(", ")[-1 if call != "pwritev2" else -2]), data)
        elif call in {"fsync", "fdatasync"}:
            self.operations.append(Sync(path))
        elif call == "ftruncate":
            self.operations.append(Truncate(path, int(arguments.rsplit(", ", 1)[1])))
        elif call == "fallocate":
            _, _, offset, length = arguments.split(", ")
            self._write(key, int(offset), bytes(int(length)))
        elif call == "lseek":
            self._positions[key] = result
        else:
            raise NotImplementedError(f"{call} on {path}, descriptor {number}")

    def _write(self, key: tuple[str, str], offset: int, data: bytes) -> None:
        self.operations.append(Write(key[1], offset, data, key in self._synced))


@dataclass(frozen=True)
class Cut:
    """A root as a power cut could leave it. It is rebuilt for the next cut; look at it before asking for that."""

    root: Path
    marks: list[bytes]
    """What had been told to the world before."""
    place: str
    """Where it is in the trace, for messages."""


@dataclass
class _File:
    durable: bytearray = field(default_factory=bytearray)
    waiting: list[Write | Truncate] = field(default_factory=list)

    def sync(self) -> None:
        for operation in self.waiting:
            _apply(self.durable, operation)
        self.waiting.clear()


def cuts(trace: Trace, seed: int, *, limit: int, parts: int = 2, after: int = 0) -> Iterator[Cut]:
    """About `limit` cuts, evenly over the points of the trace behind operation `after`.

    At each chosen point: nothing of what was not synced is there, all of it, and `parts` random parts of it.
    """
    numbers = random.Random(seed)
    points = [
        index for index, operation in enumerate(trace.operations) if index >= after and not isinstance(operation, Mark)
    ]
    wanted = max(1, limit // (2 + parts))
    chosen = set(points if len(points) <= wanted else numbers.sample(points, wanted))
    disk = _Disk(trace.root)
    marks: list[bytes] = []
    fast = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=fast) as temporary:
        for index, operation in enumerate(trace.operations):
            if isinstance(operation, Mark):
                marks.append(operation.data)
                continue
            disk.begin(operation)
            if index in chosen:
                for keep in [0.0, 1.0] + [0.5] * parts:
                    root = Path(temporary) / "root"
                    shutil.rmtree(root, ignore_errors=True)
                    disk.rebuild(root, numbers, keep)
                    yield Cut(
                        root, list(marks), f"seed {seed}, in operation {index} ({_shown(operation)}), kept {keep}"
                    )
            disk.end(operation)


class _Disk:
    """What is durable, and what waits for a sync."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._names: dict[str, _File | None] = {}
        self._waiting: list[tuple[Name, _File | None]] = []
        self._current: dict[str, _File | None] = {}

    def begin(self, operation: Operation) -> None:
        """The operation is on its way: it may reach the disk, but nothing promises it."""
        if isinstance(operation, Name):
            file = _File() if operation.kind == "file" else None
            if operation.kind == "rename":
                file = self._current[operation.source]
            _rename(self._current, operation, file)
            self._waiting.append((operation, file))
        elif isinstance(operation, Write | Truncate):
            file = self._current[operation.path]
            if file is not None:
                file.waiting.append(operation)

    def end(self, operation: Operation) -> None:
        """The operation has returned."""
        if isinstance(operation, Write) and operation.synced:
            file = self._current[operation.path]
            if file is not None:
                file.waiting.remove(operation)
                _apply(file.durable, operation)
        elif isinstance(operation, Sync):
            file = self._current.get(operation.path)
            if file is not None:
                file.sync()
                return
            rest = []
            for name, named in self._waiting:
                if os.path.dirname(name.path) == operation.path:
                    _rename(self._names, name, named)
                else:
                    rest.append((name, named))
            self._waiting = rest

    def rebuild(self, root: Path, numbers: random.Random, keep: float) -> None:
        """Make `root` as it could be now; each unsynced write is there with probability `keep`."""
        names = dict(self._names)
        count = len(self._waiting) if keep == 1 else 0 if keep == 0 else numbers.randint(0, len(self._waiting))
        for name, file in self._waiting[:count]:
            _rename(names, name, file)
        root.mkdir()
        for path, file in sorted(names.items()):
            target = root / os.path.relpath(path, self._root)
            if file is None:
                if target.parent.is_dir():
                    target.mkdir(exist_ok=True)
            elif target.parent.is_dir():
                data = bytearray(file.durable)
                for operation in file.waiting:
                    for part in _part(operation, numbers, keep):
                        _apply(data, part)
                target.write_bytes(data)


def _rename(names: dict[str, _File | None], operation: Name, file: _File | None) -> None:
    names.pop(operation.source, None)
    if operation.kind == "nothing":
        names.pop(operation.path, None)
    else:
        names[operation.path] = file


def _apply(data: bytearray, operation: Write | Truncate) -> None:
    if isinstance(operation, Truncate):
        del data[operation.size :]
        data.extend(bytes(operation.size - len(data)))
        return
    end = operation.offset + len(operation.data)
    if len(data) < end:
        data.extend(bytes(end - len(data)))
    data[operation.offset : end] = operation.data


def _part(operation: Write | Truncate, numbers: random.Random, keep: float) -> list[Write | Truncate]:
    """What of a write reached the disk: nothing, all, or some of the sectors or pages it touches."""
    if numbers.random() >= keep:
        return []
    if keep == 1 or isinstance(operation, Truncate) or numbers.random() < 0.5:
        return [operation]
    unit = numbers.choice([SECTOR, PAGE])
    first, end = operation.offset, operation.offset + len(operation.data)
    edges = [first, *range((first // unit + 1) * unit, end, unit), end]
    return [
        Write(operation.path, low, operation.data[low - first : high - first], operation.synced)
        for low, high in itertools.pairwise(edges)
        if numbers.random() < 0.5
    ]


def _shown(operation: Operation) -> str:
    if isinstance(operation, Write):
        return f"write of {len(operation.data)} at {operation.offset} in {operation.path}"
    return str(operation)
