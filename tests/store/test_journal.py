"""The journal in front of the log: what was written is found again, torn ends are passed over, damage is noticed."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.raft.messages import Entry, HardState
from core.store_lmdb import journal as module
from core.store_lmdb.checksum import crc32
from core.store_lmdb.errors import CorruptError, DiskFailedError, DiskFullError
from core.store_lmdb.journal import Journal, Mark
from core.store_lmdb.log import LogStore, Place

MARK = Mark(7, 0x12345678)
BODIES = [b"", b"one", b"two" * 100, b"\0" * 33, b"last"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A journal with all of BODIES."""
    journal = Journal(tmp_path / "journal", None)
    journal.restart(MARK)
    for body in BODIES:
        journal.write(body)
    journal.close()
    return tmp_path / "journal"


def recalled(file: Path, mark: Mark = MARK) -> list[bytes]:
    journal = Journal(file, mark)
    try:
        return list(journal.recall())
    finally:
        journal.close()


def test_what_was_written_is_there_and_goes_on(file: Path) -> None:
    assert recalled(file) == BODIES
    journal = Journal(file, MARK)
    assert list(journal.recall()) == BODIES
    journal.write(b"more")
    journal.close()
    assert recalled(file) == [*BODIES, b"more"]


def test_another_mark_voids_it(file: Path) -> None:
    assert recalled(file, Mark(MARK.first, MARK.seed + 1)) == []
    assert recalled(file, Mark(MARK.first + len(BODIES), MARK.seed + 1)) == []


def test_a_torn_end_is_passed_over_and_written_over(file: Path) -> None:
    content = file.read_bytes()
    start = content.rindex(b"last") - 16
    for torn in range(start, start + 20):
        file.write_bytes(content[:torn] + bytes(len(content) - torn))
        assert recalled(file) == BODIES[:-1]
    journal = Journal(file, MARK)
    assert list(journal.recall()) == BODIES[:-1]
    journal.write(b"new")
    journal.close()
    assert recalled(file) == [*BODIES[:-1], b"new"]


def test_damage_before_the_end_is_noticed(file: Path) -> None:
    content = bytearray(file.read_bytes())
    for place in (0, 4, 8, content.index(b"one"), content.index(b"two") + 200):
        content[place] ^= 1
        file.write_bytes(content)
        with pytest.raises(CorruptError, match="wrong checksum"):
            recalled(file)
        content[place] ^= 1


def test_a_value_cannot_pass_for_a_record(file: Path) -> None:
    """Without the seed, somebody's bytes that look like the next record but one would pass for damage."""
    forged = module._HEAD.pack(1, MARK.first + len(BODIES) + 1) + b"x"
    forged = module._CHECKSUM.pack(crc32(forged)) + forged
    journal = Journal(file, MARK)
    list(journal.recall())
    journal.write(b"\0" * 16 + forged)
    journal.close()
    content = bytearray(file.read_bytes())
    content[content.index(forged) - 20] ^= 1  # the record that holds it is torn
    file.write_bytes(content)
    assert recalled(file) == BODIES


def test_a_missing_file_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(CorruptError, match="missing"):
        Journal(tmp_path / "journal", MARK)


def test_without_room_nothing_changes(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(file, MARK)
    list(journal.recall())
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", lambda *_: 0)
        with pytest.raises(DiskFullError):
            journal.write(b"refused")
    journal.write(b"later")
    journal.close()
    assert recalled(file) == [*BODIES, b"later"]


def test_after_a_failed_sync_nothing_is_written(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: int) -> None:
        raise OSError(28, "no room")

    journal = Journal(file, MARK)
    list(journal.recall())
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fails)
        with pytest.raises(DiskFailedError):
            journal.write(b"unknown")
    with pytest.raises(DiskFailedError):
        journal.write(b"another")
    journal.close()


# With the log


@pytest.fixture
def log(tmp_path: Path) -> Iterator[LogStore]:
    log = LogStore(tmp_path / "log", create=True)
    yield log
    log.close()


def crashed(log: LogStore, to: Path) -> LogStore:
    """The log as a killed process leaves it."""
    return LogStore(shutil.copytree(log.file.parent, to))


def added(first: int, count: int, term: int = 1) -> list[Entry]:
    return [Entry(index, term, 0, b"%d" % index * 100) for index in range(first, first + count)]


def test_a_killed_process_leaves_its_appends(log: LogStore, tmp_path: Path) -> None:
    for index in range(1, 9, 2):
        log.append(added(index, 2), HardState(1, 3, index))
    log.append([], HardState(2, 4, 8))
    again = crashed(log, tmp_path / "copy")
    assert again.hard_state == HardState(2, 4, 8)
    assert again.last == Place(8, 1)
    assert again.read(1, 8) == added(1, 8)
    again.append(added(7, 3, term=2) if again.hard_state.commit < 7 else added(9, 1, term=2))
    assert again.last.term == 2
    again.close()


def test_a_full_journal_goes_to_lmdb(log: LogStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST", 4096)
    for index in range(1, 101):
        log.append(added(index, 1), HardState(1, 1, index - 1))
        assert log.read(1, index) == added(1, index)
    assert log._journal.size <= 4096
    again = crashed(log, tmp_path / "copy")
    assert again.read(1, 100) == added(1, 100)
    assert again.read(40, 60) == added(40, 21)
    again.close()


def test_what_is_replaced_is_replaced_wherever_it_is(log: LogStore, tmp_path: Path) -> None:
    log.append(added(1, 3))
    log.append(added(4, 3))
    log.append(added(7, 3))
    log.append(added(6, 2, term=2))  # in the journal
    assert log.read(1, 7) == added(1, 5) + added(6, 2, term=2)
    log.append(added(8, 1, term=2))
    log.append(added(2, 1, term=3))  # in LMDB
    assert log.read(1, 2) == added(1, 1) + added(2, 1, term=3)
    again = crashed(log, tmp_path / "copy")
    assert again.read(1, again.last.index) == added(1, 1) + added(2, 1, term=3)
    again.close()


def test_a_log_without_its_journal_is_refused(log: LogStore) -> None:
    log.append(added(1, 3))
    log.close()
    (log.file.parent / "journal").unlink()
    with pytest.raises(CorruptError, match="missing"):
        LogStore(log.file.parent)
