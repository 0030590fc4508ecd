"""A view shows one moment, whatever is written, flushed, or not flushed for want of room, while it is open."""

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from core.kv.changed import Rows
from core.kv.transaction import Reader, Table
from core.store_lmdb import state as state_module
from core.store_lmdb.errors import DiskFullError
from core.store_lmdb.state import VIEWS, StateStore
from tests.store.power_workload import beside

KEYS = [b"%02d" % number for number in range(40)]


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateStore]:
    state = StateStore(tmp_path / "state", create=True)
    yield state
    state.close()


def test_a_view_waits_for_no_disk(state: StateStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(100):
        state.put(Table.KEY, b"%04d" % number, b"1")
    monkeypatch.setattr(state._writer, "commit", lambda: pytest.fail("nothing is to be written"))
    with state.frozen() as view:
        assert len(list(view.scan(Table.KEY))) == 100
    assert state.dirty_rows == 100
    monkeypatch.undo()


class Trial:
    """A state and what it should hold, with some views open and what each should show."""

    def __init__(self, state: StateStore, chance: random.Random) -> None:
        self.state, self.chance = state, chance
        self.rows: dict[bytes, bytes] = {}
        self.views: list[tuple[ExitStack, Reader, dict[bytes, bytes]]] = []

    def write(self) -> None:
        for key in self.chance.sample(KEYS, self.chance.randrange(1, 6)):
            if self.chance.random() < 0.3:
                self.state.delete(Table.KEY, key)
                self.rows.pop(key, None)
            else:
                self.rows[key] = b"%d" % self.chance.randrange(1000)
                self.state.put(Table.KEY, key, self.rows[key])

    def write_many(self) -> None:
        """At once, as a long command does."""
        changed = Rows()
        for key in self.chance.sample(KEYS, 20):
            self.rows[key] = b"many %d" % self.chance.randrange(1000)
            changed.rows[key] = self.rows[key]
        self.state.take_over({Table.KEY: changed}, 1)

    def flush(self) -> None:
        self.state.flush()

    def begin(self) -> None:
        if self.state.settle():
            self.state.begin_flush(beside)

    def settle(self) -> None:
        self.state.settle(wait=self.chance.random() < 0.5)

    def fail(self) -> None:
        @contextmanager
        def no_room() -> Iterator[None]:
            raise DiskFullError("no room")
            yield

        self.state.settle(wait=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.state._writer, "commit", no_room)
            self.state.begin_flush(beside)
            self.write()
            with pytest.raises(DiskFullError):
                self.state.settle(wait=True)

    def look(self) -> None:
        if len(self.views) < VIEWS:
            scope = ExitStack()
            view = scope.enter_context(self.state.frozen())
            self.views.append((scope, view, dict(self.rows)))

    def leave(self) -> None:
        if self.views:
            self.views.pop(self.chance.randrange(len(self.views)))[0].close()

    def check(self) -> None:
        readers: list[tuple[Reader, dict[bytes, bytes]]] = [(self.state, self.rows)]
        for reader, rows in [*readers, *[(view, rows) for _, view, rows in self.views]]:
            expected = sorted(rows.items())
            assert list(reader.scan(Table.KEY)) == expected
            assert list(reader.scan(Table.KEY, b"10", b"30", reverse=True)) == [
                item for item in expected[::-1] if b"10" <= item[0] < b"30"
            ]
            key = self.chance.choice(KEYS)
            assert reader.get(Table.KEY, key) == rows.get(key)


@pytest.mark.parametrize("seed", range(20))
def test_a_view_shows_one_moment(state: StateStore, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "_LAYER", 10)
    monkeypatch.setattr(state_module, "_FORGOTTEN", 3)
    chance = random.Random(seed)
    trial = Trial(state, chance)
    deeds = [trial.write, trial.write, trial.write_many, trial.flush, trial.begin, trial.settle, trial.fail]
    for _ in range(150):
        chance.choice([*deeds, trial.look, trial.leave])()
        trial.check()
    while trial.views:
        trial.leave()
    trial.check()
    state.flush()
    for _ in range(1000):
        if state.settle():
            break
    assert state.settle()
    assert (state.dirty_rows, state.dirty_bytes) == (0, 0)
    trial.check()
