"""Many rows that come at once lie over the others until a flush takes them: reads, failed flushes and crashes see whole
commands, as a twin in memory does."""

from pathlib import Path
from random import Random

import pytest

from core.kv.memory import MemoryStore
from core.kv.staged import Staged
from core.kv.transaction import Table
from core.store_lmdb import state as state_module
from core.store_lmdb.errors import DiskFullError
from core.store_lmdb.state import StateStore
from tests.store.power_workload import beside

TABLES = (Table.KEY, Table.REVISION)
KEYS = [b"%02d" % number for number in range(40)]

Rows = dict[Table, list[tuple[bytes, bytes]]]


def rows_of(store: StateStore | MemoryStore) -> Rows:
    return {table: list(store.scan(table)) for table in TABLES}


class Trial:
    """A state and its twin, under chance."""

    def __init__(self, path: Path, random: Random, patch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.random = random
        self.patch = patch
        self.state = StateStore(path, create=True)
        self.twin = MemoryStore()
        self.leaving: Rows | None = None
        self.durable = rows_of(self.twin)
        self.fails = False

    def change(self) -> None:
        """One command: its changes are made one by one, or staged and made at once."""
        staged = [Staged(store) if self.random.random() < 0.7 else store for store in (self.state, self.twin)]
        for _ in range(self.random.choice([1, 3, 30])):
            table, key = self.random.choice(TABLES), self.random.choice(KEYS)
            value = b"%d" % self.random.randrange(1000) if self.random.random() < 0.6 else None
            for store in staged:
                if value is None:
                    store.delete(table, key)
                else:
                    store.put(table, key, value)
        before = rows_of(self.state)
        if isinstance(staged[0], Staged):
            assert rows_of(self.state) == before
        for store in staged:
            if isinstance(store, Staged):
                store.pour()

    def flush(self) -> None:
        if self.leaving is None and self.state.settle():
            self.leaving = rows_of(self.twin)
            self.fails = self.random.random() < 0.3
            with self.patch.context() as patch:
                if self.fails:
                    patch.setattr(state_module, "_write", _no_room)
                self.state.begin_flush(beside)
                under_way = self.state._flush
                assert under_way is not None
                under_way.wait()
            if not self.fails:
                self.durable = self.leaving

    def settle(self) -> None:
        if self.leaving is None:
            self.state.settle()
            return
        self.leaving = None
        if self.fails and self.state.leaving_rows:
            with pytest.raises(DiskFullError):
                self.state.settle()
        else:
            self.state.settle()
        assert self.state.leaving_rows == self.state.leaving_bytes == 0

    def crash(self) -> None:
        """What is not on the disk is lost: the state is that after the last flush."""
        self.state.close()
        self.state = StateStore(self.path)
        assert rows_of(self.state) == self.durable
        self.twin = MemoryStore()
        for table, rows in self.durable.items():
            for key, value in rows:
                self.twin.put(table, key, value)
        self.leaving = None

    def check(self) -> None:
        assert rows_of(self.state) == rows_of(self.twin)
        table, key = self.random.choice(TABLES), self.random.choice(KEYS)
        assert self.state.get(table, key) == self.twin.get(table, key)
        low, high = sorted(self.random.sample(KEYS, 2))
        found = list(self.state.scan(table, low, high, reverse=True))
        assert found == list(self.twin.scan(table, low, high, reverse=True))


def _no_room(*_: object) -> None:
    raise DiskFullError("no room")


@pytest.mark.parametrize("seed", range(12))
def test_layers_are_as_rows_written_one_by_one(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = Random(seed)
    monkeypatch.setattr(state_module, "_LAYER", random.choice([0, 2, 20]))
    monkeypatch.setattr(state_module, "_MOST_MOVED", random.choice([0, 5, 100]))
    monkeypatch.setattr(state_module, "_FORGOTTEN", random.choice([1, 7]))
    trial = Trial(tmp_path / "state", random, monkeypatch)
    for _ in range(150):
        match random.randrange(12):
            case 0 | 1:
                trial.flush()
            case 2 | 3:
                trial.settle()
            case 4 if random.random() < 0.2:
                trial.crash()
            case 5 if random.random() < 0.3 and trial.leaving is None:
                trial.state.flush()
                trial.durable = rows_of(trial.twin)
                assert trial.state.dirty_rows == trial.state.dirty_bytes == 0
            case _:
                trial.change()
        trial.check()
    trial.state.close()
