"""Snapshots: what is saved is restored, and nothing damaged passes."""

import itertools
import os
from pathlib import Path

import pytest

from core.kv.transaction import Table
from core.store_lmdb import restore as restore_module
from core.store_lmdb import snapshot
from core.store_lmdb.creation import Beginning, Identity
from core.store_lmdb.directory import DataDirectory
from core.store_lmdb.errors import DirectoryError, SnapshotError
from core.store_lmdb.lock import DirectoryLock
from core.store_lmdb.log import Origin
from core.store_lmdb.restore import restore
from core.store_lmdb.state import StateStore

HEADER = snapshot.Header(cluster=f"{7:016x}", revision=30, index=42, term=3, members="beef")
ROWS = [
    (Table.META, b"applied", b"42"),
    (Table.KEY, b"", b"empty"),
    (Table.KEY, b"/a", b""),
    (Table.KEY, b"/long" * 10_000, b"v" * 2_000_000),
    *((Table.REVISION, index.to_bytes(12, "big"), os.urandom(300)) for index in range(5000)),
]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("snapshot")
    state = StateStore(path / "state", create=True)
    for row in ROWS:
        state.put(*row)
    written = list(snapshot.save(path / "file", snapshot.pieces(state, HEADER)))
    state.close()
    assert written[-1] == (path / "file").stat().st_size
    assert sorted(entry.name for entry in path.iterdir()) == ["file", "state"]
    return path / "file"


def _as_it_is(_: StateStore) -> bytes:
    return b"\xbe\xef"


def test_checking_tells_what_is_in_it(file: Path) -> None:
    summary = snapshot.verify(file)
    assert summary.header == HEADER
    assert {table: count for table, count in summary.rows.items() if count} == {"meta": 1, "key": 3, "rev": 5000}
    assert summary.size == file.stat().st_size


def test_what_was_saved_is_restored(file: Path, tmp_path: Path) -> None:
    steps = list(restore(file, tmp_path / "data", Identity(1, 2), "test", _as_it_is))
    assert isinstance(steps[-1], snapshot.Summary)
    directory = DataDirectory.open(tmp_path / "data")
    try:
        assert directory.identity == Identity(1, 2)
        assert directory.log.origin == Origin(42, 3, 1, b"\xbe\xef")
        directory.check_applied(42)
        rows = [(table, *row) for table in Table for row in directory.state.scan(table)]
        assert sorted(rows) == sorted(ROWS)
    finally:
        directory.close()


def test_pieces_may_be_cut_anywhere(file: Path, tmp_path: Path) -> None:
    data = file.read_bytes()
    cuts = [0, 1, 18, 19, 30, 100, 101, 5000, len(data) - 33, len(data) - 1, len(data)]
    state = StateStore(tmp_path / "state", create=True)
    *_, last = snapshot.fill(state, "a peer", [data[a:b] for a, b in itertools.pairwise(cuts)])
    assert isinstance(last, snapshot.Summary)
    assert state.get(*ROWS[3][:2]) == ROWS[3][2]
    state.close()


def test_a_snapshot_is_of_one_moment(tmp_path: Path) -> None:
    state = StateStore(tmp_path / "state", create=True)
    for number in range(5000):
        state.put(Table.KEY, b"%05d" % number, b"old" * 100)
    content = snapshot.pieces(state, HEADER)
    pieces = [next(content)]
    for number in range(5000):
        state.put(Table.KEY, b"%05d" % number, b"new" * 100)
    state.flush()
    pieces += content
    assert len(pieces) > 2
    assert b"new" not in b"".join(pieces)
    state.close()


@pytest.mark.parametrize("kept", [0, 5, 20, 24, 60, 5000, -33, -1])
def test_a_cut_file_is_refused(file: Path, tmp_path: Path, kept: int) -> None:
    cut = tmp_path / "cut"
    cut.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(SnapshotError, match=r"cut short|does not fit") as caught:
        snapshot.verify(cut)
    assert str(cut) in str(caught.value)
    with pytest.raises(SnapshotError):
        list(restore(cut, tmp_path / "data", Identity(1, 2), "test", _as_it_is))
    assert not (tmp_path / "data").exists()


def test_a_flipped_bit_is_noticed(file: Path, tmp_path: Path) -> None:
    data = bytearray(file.read_bytes())
    flipped = tmp_path / "flipped"
    for position in [*range(0, 300, 3), *range(300, len(data), len(data) // 20), *range(len(data) - 40, len(data), 3)]:
        data[position] ^= 1
        flipped.write_bytes(data)
        with pytest.raises(SnapshotError):
            snapshot.verify(flipped)
        data[position] ^= 1


def test_bytes_behind_the_end_are_refused(file: Path, tmp_path: Path) -> None:
    longer = tmp_path / "longer"
    longer.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(SnapshotError, match="does not fit"):
        snapshot.verify(longer)


def test_nothing_is_overwritten(file: Path, tmp_path: Path) -> None:
    state = StateStore(tmp_path / "state", create=True)
    with pytest.raises(SnapshotError, match="exists already"):
        list(snapshot.save(file, snapshot.pieces(state, HEADER)))
    state.close()
    list(restore(file, tmp_path / "data", Identity(1, 2), "test", _as_it_is))
    with pytest.raises(DirectoryError, match="holds a node's data already"):
        list(restore(file, tmp_path / "data", Identity(1, 2), "test", _as_it_is))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter").write_text("dear")
    with pytest.raises(DirectoryError, match="no data directory of corenode"):
        list(restore(file, tmp_path / "home", Identity(1, 2), "test", _as_it_is))


def test_a_directory_made_at_the_last_moment_is_left_alone(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process makes the directory and lets go of it just before the lock is taken."""

    def late(lock: Path) -> DirectoryLock:
        DataDirectory.open(tmp_path / "data", Beginning(Identity(8, 9))).close()
        return DirectoryLock(lock)

    monkeypatch.setattr(restore_module, "DirectoryLock", late)
    with pytest.raises(DirectoryError, match="holds a node's data already"):
        list(restore(file, tmp_path / "data", Identity(1, 2), "test", _as_it_is))
    directory = DataDirectory.open(tmp_path / "data")
    directory.close()
    assert directory.identity == Identity(8, 9)


def test_a_restore_that_was_broken_off_may_be_repeated(file: Path, tmp_path: Path) -> None:
    steps = restore(file, tmp_path / "data", Identity(1, 2), "test", _as_it_is)
    next(steps)
    steps.close()
    list(restore(file, tmp_path / "data", Identity(1, 2), "test", _as_it_is))
    directory = DataDirectory.open(tmp_path / "data")
    assert sum(directory.verify().values()) == len(ROWS)
    directory.close()


def test_a_save_that_was_broken_off_leaves_nothing(tmp_path: Path) -> None:
    state = StateStore(tmp_path / "state", create=True)
    for number in range(5000):
        state.put(Table.KEY, b"%05d" % number, b"v" * 200)
    steps = snapshot.save(tmp_path / "file", snapshot.pieces(state, HEADER))
    next(steps)
    steps.close()
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]
    state.close()
