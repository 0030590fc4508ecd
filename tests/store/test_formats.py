"""Every format that was ever released can be opened, and today's writes what the kept one of its number holds."""

import shutil
from pathlib import Path

import pytest

from core.kv.transaction import Table
from core.raft.messages import Entry
from core.store_lmdb.creation import FORMAT
from core.store_lmdb.directory import DataDirectory
from tests.store import kept

DATA = Path(__file__).parent.parent / "data"
FORMATS = sorted(DATA.glob("format-*"))


def test_todays_format_is_kept() -> None:
    assert DATA / f"format-{FORMAT}" in FORMATS


@pytest.mark.parametrize("kept_directory", FORMATS, ids=lambda path: path.name)
def test_a_kept_directory_opens_and_goes_on(kept_directory: Path, tmp_path: Path) -> None:
    path = shutil.copytree(kept_directory, tmp_path / "data")
    directory = DataDirectory.open(path, reserve=4096, low_water=4096)
    try:
        assert kept.problems(directory) == []
        directory.verify()
        directory.check_applied(25)
        directory.log.append([Entry(directory.log.last.index + 1, 6, 0, b"new")])
        directory.state.put(Table.KEY, b"new", b"row")
        directory.state.flush()
        assert "rows" in kept.problems(directory)
    finally:
        directory.close()


def test_what_is_made_today_is_what_is_kept(tmp_path: Path) -> None:
    kept.make(tmp_path / "data")
    directory = DataDirectory.open(tmp_path / "data", reserve=4096, low_water=4096)
    try:
        assert kept.problems(directory) == []
    finally:
        directory.close()
