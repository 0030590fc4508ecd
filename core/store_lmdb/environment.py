"""Opening an LMDB environment: always the same way, and only after a look at its file."""

import os
from pathlib import Path

import lmdb

from core.store_lmdb.errors import translated

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


def sync_directory(path: Path) -> None:
    """Make names in a directory durable."""
    with translated(path, "sync"):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
