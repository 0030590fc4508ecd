"""Opening an LMDB environment: always the same way, and only after a look at its file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb

from core.store_lmdb.errors import DiskFailedError, DiskFullError, translated

DATA = "data.mdb"
MAP_SIZE = 1 << 40
"""Bytes of address space, not of disk: the file grows as it is written. Set once; the quota is what limits growth."""
_ENGINE = 0
"""LMDB 0.9, whose file format does not change. A default could be moved by the environment of the process."""


def open_environment(path: Path, tables: int, *, create: bool = False) -> lmdb.Environment:
    """Open the environment in directory `path`, with room for so many named tables.

    LMDB's default sync stays: a commit writes its pages, syncs them, and then writes and syncs the meta page.
    """
    with translated(path / DATA, "open"):
        if create:
            path.mkdir(mode=0o700, exist_ok=True)
        environment = lmdb.open(
            str(path),
            map_size=MAP_SIZE,
            max_dbs=tables,
            create=create,
            mode=0o600,
            readahead=True,
            meminit=True,
            max_readers=16,
            max_spare_txns=1,
            lib_version=_ENGINE,
        )
    if create:
        sync_directory(path)
        sync_directory(path.parent)
    return environment


def open_tables(environment: lmdb.Environment, file: Path, names: list[str], *, create: bool) -> list["lmdb._Database"]:
    """The handles of named tables; missing ones are made in one commit, or are a CorruptError."""
    # In a read transaction a handle would end with it; a write transaction that changes nothing writes nothing.
    with translated(file, "open tables"), environment.begin(write=True) as transaction:
        return [environment.open_db(name.encode(), transaction, create=create) for name in names]


class Writer:
    """The one way to write to an environment."""

    def __init__(self, environment: lmdb.Environment, file: Path) -> None:
        self._environment = environment
        self._file = file
        self._failed = ""

    @contextmanager
    def commit(self) -> Iterator["lmdb.Transaction[bytes]"]:
        """One write transaction on this thread, committed durably at the end, or undone by an exception.

        DiskFullError leaves everything as before, the size of the file too. After DiskFailedError there is no other
        commit: a second sync would succeed without what the first one lost.
        """
        self.check()
        try:
            with translated(self._file, "commit"), self._environment.begin(write=True) as transaction:
                yield transaction
        except DiskFullError:
            self._give_back()
            raise
        except DiskFailedError as error:
            self._failed = str(error)
            raise

    def check(self) -> None:
        """DiskFailedError if a commit has failed so."""
        if self._failed:
            raise DiskFailedError(self._failed)

    def _give_back(self) -> None:
        """What a failed commit wrote behind the last page would keep other commits from the room that is left."""
        with translated(self._file, "truncate"):
            end = (self._environment.info()["last_pgno"] + 1) * self._environment.stat()["psize"]
            if self._file.stat().st_size > end:
                os.truncate(self._file, end)


def sync_directory(path: Path) -> None:
    """Make names in a directory durable."""
    with translated(path, "sync"):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
