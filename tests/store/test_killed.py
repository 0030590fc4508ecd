"""Killed at each step that matters and opened again; and told by the system that a write or sync failed."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.store.power_cut import Cut
from tests.store.power_workload import check

# The step, as module, object and function; the workload is killed before or after the n-th time it is taken.
STEPS = [
    ("creation", "", "begin", 1),
    ("creation", "", "finish", 1),
    ("environment", "", "open_environment", 1),
    ("environment", "", "open_environment", 2),
    ("log", "LogStore", "append", 1),
    ("log", "LogStore", "append", 17),
    ("log", "LogStore", "install", 1),
    ("log", "LogStore", "_truncate", 2),
    ("log", "LogStore", "_drop", 2),
    ("log", "LogStore", "_take_over", 3),
    ("journal", "Journal", "write", 5),
    ("journal", "Journal", "restart", 4),
    ("state", "", "_write", 9),
    ("state", "StateStore", "flush", 3),
    ("directory", "DataDirectory", "begin_state", 1),
    ("directory", "DataDirectory", "install", 1),
    ("directory", "DataDirectory", "close", 1),
]

_KILLED = """
import importlib, os, sys
from pathlib import Path
from tests.store import power_workload
path, when, module, owner, name, count = sys.argv[1:]
calls = 0
def killing(step):
    def taken(*arguments, **options):
        global calls
        calls += 1
        if when == "before" and calls == int(count):
            os._exit(9)
        result = step(*arguments, **options)
        if when == "after" and calls == int(count):
            os._exit(9)
        return result
    return taken
home = importlib.import_module("core.store_lmdb." + module)
step = getattr(getattr(home, owner) if owner else home, name)
replacement = killing(step)
if owner:
    setattr(getattr(home, owner), name, replacement)
else:
    for other in list(sys.modules.values()):
        if getattr(other, "__name__", "").startswith("core.store_lmdb") and getattr(other, name, None) is step:
            setattr(other, name, replacement)
power_workload.run(Path(path), "")
"""


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("module", "owner", "name", "count"), STEPS)
def test_killed_at_a_step(tmp_path: Path, when: str, module: str, owner: str, name: str, count: int) -> None:
    data = tmp_path / "data"
    run = subprocess.run(
        [sys.executable, "-c", _KILLED, str(data), when, module, owner, name, str(count)],
        capture_output=True,
        check=False,
    )
    assert run.returncode == 9, run.stderr.decode()
    assert check(Cut(data, [run.stdout], f"{when} {name} {count}")) == ""


_FAILING = """
import sys
from pathlib import Path
from core.raft.messages import Entry
from core.store_lmdb import log as module
from core.store_lmdb.log import LogStore
module._LARGE = 0  # nothing goes to the journal, which has tests of its own
log = LogStore(Path(sys.argv[1]), create=True)
print("open", file=sys.stderr, flush=True)
try:
    for index in range(1, 100):
        log.append([Entry(index, 1, 0, b"x" * 5000)])
except Exception as error:
    print(type(error).__name__, log.last.index)
    for _ in range(3):
        try:
            log.append([Entry(log.last.index + 1, 1, 0, b"y")])
            print("went on", len(log.read(1, log.last.index, 1 << 30)))
        except Exception as error:
            print(type(error).__name__)
"""


@pytest.mark.parametrize(
    ("call", "fault", "said", "then"),
    [
        ("fdatasync", "EIO", "DiskFailedError 18", "DiskFailedError"),
        ("writev", "EIO", "DiskFailedError", "DiskFailedError"),
        ("pwrite64", "EIO", "DiskFailedError", "DiskFailedError"),
        ("writev", "ENOSPC", "DiskFullError", "went on"),
        ("writev", "EDQUOT", "DiskFullError", "went on"),
    ],
)
def test_a_failed_write_or_sync_is_told_apart(tmp_path: Path, call: str, fault: str, said: str, then: str) -> None:
    first, second = _with_faults(tmp_path, f"{call}:error={fault}:when={20 if call == 'fdatasync' else 21}")
    assert first.startswith(said)
    assert second.startswith(then)


def _with_faults(home: Path, *faults: str) -> list[str]:
    """What the program says of the first failure, and of the append after it."""
    injected = [word for fault in faults for word in ("-e", f"inject={fault}")]
    run = subprocess.run(
        ["strace", "-f", "-o", "/dev/null", *injected, sys.executable, "-c", _FAILING, str(home / "log")],
        capture_output=True,
        check=True,
        text=True,
    )
    return run.stdout.splitlines()[:2]


CUT_SHORT = "writev:retval=4096:when=21"
"""LMDB calls this EIO."""
PROBE = "fsync:error={}:when=4+"
"""The first three are those of directories, when the log is made."""


def test_a_write_cut_short_by_a_quota_is_want_of_space(tmp_path: Path) -> None:
    for name in ("EDQUOT", "ENOSPC"):
        (tmp_path / name).mkdir()
        first, second = _with_faults(tmp_path / name, CUT_SHORT, PROBE.format(name))
        assert first.startswith("DiskFullError")
        assert second.startswith("went on")
        assert [file.name for file in (tmp_path / name / "log").iterdir() if "mdb" not in file.name] == ["journal"]


def test_a_write_cut_short_where_there_is_room_is_a_failed_disk(tmp_path: Path) -> None:
    for number, faults in enumerate([(CUT_SHORT,), (CUT_SHORT, PROBE.format("EIO"))]):
        (tmp_path / str(number)).mkdir()
        assert [word.split()[0] for word in _with_faults(tmp_path / str(number), *faults)] == ["DiskFailedError"] * 2
