"""Opening a data directory: whole and ours, or a clear refusal that changes nothing."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from core.kv.transaction import Table
from core.raft.messages import Entry, HardState
from core.store_lmdb.creation import Beginning, Identity
from core.store_lmdb.directory import DataDirectory
from core.store_lmdb.errors import CorruptError, DirectoryError, DiskFullError, StoreError
from core.store_lmdb.log import Place
from core.store_lmdb.room import Room

WHO = Identity(0x1234, 0xABCD)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A directory with three entries, 300 rows, and nobody in it."""
    directory = DataDirectory.open(tmp_path / "data", Beginning(WHO), reserve=1 << 20)
    for index in range(1, 4):
        directory.log.append([Entry(index, 1, 0, b"e" * 5000)], HardState(1, 7, index))
    for number in range(300):
        directory.state.put(Table.KEY, b"/%d" % number, b"v" * 500)
    directory.state.flush()
    directory.close()
    return directory.path


def test_a_new_directory_is_private_and_has_its_identity(tmp_path: Path) -> None:
    directory = DataDirectory.open(tmp_path / "a" / "b", Beginning(WHO), created_by="test 1", reserve=1 << 20)
    path = directory.path
    assert path.stat().st_mode & 0o777 == 0o700
    for root, _, files in os.walk(path):
        for name in files:
            assert (Path(root) / name).stat().st_mode & 0o077 == 0, name
    assert (path / "reserve").stat().st_blocks * 512 >= 1 << 20
    directory.close()
    assert json.loads((path / "format").read_text()) == {
        "format": 2,
        "cluster": "0000000000001234",
        "member": "000000000000abcd",
        "created_by": "test 1",
    }
    again = DataDirectory.open(path, Beginning(Identity(1, 1)))
    assert again.identity == WHO
    again.close()


def test_one_that_exists_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(DirectoryError, match="no such data directory"):
        DataDirectory.open(tmp_path / "data")
    (tmp_path / "data").mkdir()
    with pytest.raises(DirectoryError, match="is empty"):
        DataDirectory.open(tmp_path / "data")


def test_a_second_open_in_this_process_is_refused(made: Path) -> None:
    directory = DataDirectory.open(made)
    with pytest.raises(DirectoryError, match="this process has the data directory open already"):
        DataDirectory.open(made)
    directory.close()
    DataDirectory.open(made).close()


def test_a_second_daemon_is_told_who_the_first_is(made: Path) -> None:
    code = (
        "import sys, pathlib; from core.store_lmdb.directory import DataDirectory;"
        "directory = DataDirectory.open(pathlib.Path(sys.argv[1])); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(made)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(DirectoryError, match=f"in use by process {holder.pid}\\."):
            DataDirectory.open(made)
        holder.kill()
    DataDirectory.open(made).close()


def _etcd(path: Path) -> None:
    (path / "member" / "snap").mkdir(parents=True)


def _home(path: Path) -> None:
    (path / "letter").write_text("dear")


@pytest.mark.parametrize("fill", [_etcd, _home])
def test_a_foreign_directory_is_left_alone(tmp_path: Path, fill: Callable[[Path], None]) -> None:
    fill(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DirectoryError, match="no data directory of corenode"):
        DataDirectory.open(tmp_path, Beginning(WHO))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(DirectoryError, match="not a directory"):
        DataDirectory.open(tmp_path / "data", Beginning(WHO))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'{"format": 3}', "format 3, this program knows only 2"),
        (b"", "unreadable"),
        (b"\xff\xfe", "unreadable"),
        (b'{"format": 1, "cluster": "zz", "member": "00", "created_by": ""}', "unreadable"),
        (b'{"format": 1}', "unreadable"),
    ],
)
def test_a_format_nobody_knows_is_refused(made: Path, content: bytes, why: str) -> None:
    (made / "format").write_bytes(content)
    with pytest.raises(DirectoryError, match=why) as caught:
        DataDirectory.open(made)
    assert str(made / "format") in str(caught.value)


@pytest.mark.parametrize("name", ["format", "log/data.mdb", "state-1/data.mdb", "log", "state-1"])
def test_a_missing_part_is_named(made: Path, name: str) -> None:
    (made / name).rename(made.parent / "elsewhere")
    with pytest.raises(DirectoryError, match=name.split("/")[0]):
        DataDirectory.open(made, Beginning(WHO))


@pytest.mark.parametrize("name", ["format", "lock", "reserve", "log", "state-1", "log/data.mdb", "state-1/lock.mdb"])
def test_a_link_in_place_of_a_part_is_refused(made: Path, name: str) -> None:
    (made / name).rename(made.parent / "elsewhere")
    (made / name).symlink_to(made.parent / "elsewhere")
    with pytest.raises(StoreError, match=name.split("/")[0]):
        DataDirectory.open(made)


@pytest.mark.parametrize("which", ["log", "state-1"])
def test_a_file_cut_short_is_refused_and_named(made: Path, which: str) -> None:
    file = made / which / "data.mdb"
    size = file.stat().st_size
    for kept in [0, 1, 100, 4095, 4096, 4096 + 100, 8191, 8192, 12288, size // 2, size - 4096]:
        file.write_bytes((data := file.read_bytes())[:kept])
        with pytest.raises(CorruptError) as caught:
            DataDirectory.open(made)
        assert str(file) in str(caught.value), kept
        file.write_bytes(data)
    DataDirectory.open(made).close()


@pytest.mark.parametrize("which", ["log", "state-1"])
def test_garbage_in_any_page_is_found_or_harmless(made: Path, which: str) -> None:
    """Every page in turn is overwritten: the open refuses, or all rows are read as they were. In a process of its own,
    since the danger is that LMDB ends it."""
    code = (
        "import sys, pathlib; from core.store_lmdb.directory import DataDirectory;"
        "from core.store_lmdb.errors import CorruptError; from core.kv.transaction import Table\n"
        "file = pathlib.Path(sys.argv[2]); whole = file.read_bytes(); found = 0\n"
        "for page in range(len(whole) // 4096):\n"
        "    file.write_bytes(whole[:page * 4096] + bytes([page * 37 % 251 + 1]) * 4096 + whole[page * 4096 + 4096:])\n"
        "    try:\n"
        "        directory = DataDirectory.open(pathlib.Path(sys.argv[1]))\n"
        "    except CorruptError:\n"
        "        found += 1\n"
        "        continue\n"
        "    try:\n"
        "        assert directory.state.count()['key'] == 300 and len(directory.log.read(1, 3)) == 3\n"
        "    except CorruptError:\n"
        "        found += 1\n"
        "    directory.close()\n"
        "print(found, len(whole) // 4096)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(made), str(made / which / "data.mdb")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found, pages = map(int, run.stdout.split())
    assert found >= pages // 2, f"damage found in {found} of {pages} pages"


def test_a_foreign_lmdb_file_is_refused(made: Path) -> None:
    (made / "state-1" / "data.mdb").write_bytes((made / "log" / "data.mdb").read_bytes())
    with pytest.raises(CorruptError, match="state-1"):
        DataDirectory.open(made)


def test_a_state_ahead_of_the_log_or_behind_its_beginning_is_refused(made: Path) -> None:
    directory = DataDirectory.open(made)
    directory.check_applied(0)
    directory.check_applied(3)
    with pytest.raises(DirectoryError, match="the log ends at entry 3"):
        directory.check_applied(4)
    directory.log.drop_until(3)
    for index in (4, 5):
        directory.log.append([Entry(index, 1, 0, b"")])
    assert directory.log.floor == Place(3, 1)
    with pytest.raises(DirectoryError, match="the log begins behind entry 3"):
        directory.check_applied(2)
    directory.close()


def test_a_snapshot_from_a_peer_replaces_log_and_state(made: Path) -> None:
    directory = DataDirectory.open(made)
    state = directory.begin_state()
    state.put(Table.KEY, b"/new", b"1")
    directory.install(state, 50, 4, b"members", HardState(4, 0, 50))
    assert directory.state.get(Table.KEY, b"/0") is None
    directory.close()
    assert not (made / "state-1").exists()
    directory = DataDirectory.open(made)
    assert directory.state.get(Table.KEY, b"/new") == b"1"
    assert directory.log.last == Place(50, 4)
    directory.close()


def test_a_state_that_was_begun_and_not_installed_goes(made: Path) -> None:
    directory = DataDirectory.open(made)
    state = directory.begin_state()
    state.put(Table.KEY, b"/new", b"1")
    state.flush()
    state.close()
    directory.close()
    directory = DataDirectory.open(made)
    assert not (made / "state-2").exists()
    assert directory.state.get(Table.KEY, b"/0") is not None
    directory.close()


def test_open_permissions_are_closed(made: Path) -> None:
    made.chmod(0o755)
    DataDirectory.open(made).close()
    assert made.stat().st_mode & 0o777 == 0o700


def test_the_reserve_is_given_and_made_again(tmp_path: Path) -> None:
    room = Room(tmp_path / "reserve", reserve=1 << 20, low_water=1 << 20)
    assert room.is_low()
    assert room.restore_reserve()
    assert not room.is_low()
    assert room.release_reserve()
    assert not room.release_reserve()
    assert room.is_low()
    thirsty = Room(tmp_path / "reserve", reserve=1 << 20, low_water=1 << 60)
    assert not thirsty.restore_reserve()
    assert thirsty.is_low()


@pytest.mark.slow
def test_a_full_disk_fails_commits_and_nothing_else() -> None:
    """On a file system of 8 MiB of its own, in a mount namespace of its own."""
    run = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-m", "tests.store.full_disk"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.startswith("full disk:"), run.stdout


def test_errors_have_one_base() -> None:
    assert all(issubclass(kind, StoreError) for kind in (CorruptError, DirectoryError, DiskFullError))
