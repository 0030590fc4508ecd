"""The log over its storage, against a plain list and a plain disk."""

from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from core.raft import log as module
from core.raft.log import Log
from core.raft.members import Members
from core.raft.messages import Entry, Snapshot
from tests.raft.memory import MemoryLog, Place

SMALL = 600
"""Bytes kept in memory here, so that much of the log is read from storage."""


class LogAgainstList(RuleBasedStateMachine):
    """`entries` is what the log must have behind `floor`; a save is a function of the disk that happens later."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = MemoryLog()
        self.log = Log(self.disk)
        self.floor = Place(0, 0)
        self.entries: list[Entry] = []
        self.handed = 0
        """Up to where the log was handed out to be saved."""
        self.snapshot: Place | None = None
        """The log begins behind this snapshot, and nobody was told to install it yet."""
        self.saves: deque[tuple[Place | None, list[Entry]]] = deque()
        self.installed = True
        """Whether the disk has the snapshot that the log begins with."""
        self.released = 0
        self.term = 1
        self.count = 0

    @property
    def last(self) -> int:
        return self.floor.index + len(self.entries)

    @property
    def saved(self) -> int:
        """Up to where the disk has the log: the twin of `saved_index`."""
        if not self.installed:
            return 0
        index = self.disk.floor.index
        for entry in self.disk.entries:
            if entry.index > self.last or entry not in self.entries[entry.index - self.floor.index - 1 :][:1]:
                break
            index = entry.index
        return index

    @rule(size=st.integers(0, 120), newer=st.booleans())
    def append(self, size: int, newer: bool) -> None:
        self.term += newer
        self.count += 1
        entry = Entry(self.last + 1, self.term, 0, b"%d" % self.count + b"x" * size)
        self.entries.append(entry)
        self.log.append(entry)

    @rule(back=st.integers(0, 6))
    def truncate(self, back: int) -> None:
        index = max(self.last - back, self.released, self.floor.index) + 1
        if index <= self.last:
            del self.entries[index - 1 - self.floor.index :]
            self.handed = min(self.handed, index - 1)
            self.term += 1
            self.log.truncate(index)

    @rule()
    def hand_out(self) -> None:
        entries = self.entries[self.handed - self.floor.index :]
        assert list(self.log.unsaved()) == entries
        self.log.saving()
        self.saves.append((self.snapshot, entries))
        self.snapshot = None
        self.handed = self.last

    @precondition(lambda self: self.saves)
    @rule()
    def save(self) -> None:
        """The disk does the oldest save."""
        snapshot, entries = self.saves.popleft()
        if snapshot is not None:
            self.disk.install(Snapshot(snapshot.index, snapshot.term, Members()))
            self.installed = snapshot == self.floor
        if entries:
            del self.disk.entries[entries[0].index - 1 - self.disk.floor.index :]
            self.disk.entries += entries
        self.log.saved()

    @precondition(lambda self: self.saves and self.saves[-1][0] is None and self.saves[-1][1])
    @rule()
    def withdraw(self) -> None:
        """The newest save does not happen, and its entries are gone."""
        first = self.saves[-1][1][0].index
        if self.last == self.saves[-1][1][-1].index and self.handed == self.last and first > self.released:
            self.saves.pop()
            del self.entries[first - 1 - self.floor.index :]
            self.handed = first - 1
            self.log.withdraw(first)

    @rule(ahead=st.integers(1, 5))
    def restore(self, ahead: int) -> None:
        self.term += 1
        self.floor = self.snapshot = Place(self.last + ahead, self.term)
        self.entries = []
        self.handed = self.released = self.floor.index
        self.installed = False
        self.log.restore(Snapshot(self.floor.index, self.floor.term, Members()))

    @rule(back=st.integers(0, 3), keep=st.booleans())
    def release(self, back: int, keep: bool) -> None:
        """Entries are applied, and leave memory."""
        self.released = max(self.released, self.log.saved_index - back)
        if self.installed:
            self.log.release(self.released, keep=keep)

    @rule(back=st.integers(0, 3))
    def drop(self, back: int) -> None:
        """Entries leave the disk."""
        index = self.released - back
        if self.installed and not self.saves and index > self.floor.index:
            self.disk.drop_until(index)
            del self.entries[: index - self.floor.index]
            self.floor = self.disk.floor

    @invariant()
    def its_ends_are_right(self) -> None:
        assert (self.log.floor, self.log.last_index) == (self.floor.index, self.last)
        assert self.log.last_term == (self.entries[-1].term if self.entries else self.floor.term)
        assert self.log.saved_index == self.saved

    @invariant()
    def its_terms_are_right(self) -> None:
        assert self.log.term(self.floor.index) == self.floor.term
        for entry in self.entries:
            assert self.log.term(entry.index) == entry.term
            assert self.log.matches(entry.index, entry.term)
            assert not self.log.matches(entry.index, entry.term + 1)
        assert not self.log.matches(self.last + 1, self.term)

    @invariant()
    def it_can_be_read(self) -> None:
        index = self.floor.index
        found: list[Entry] = []
        while index < self.last:
            part = self.log.read(index + 1, self.last, 200)
            assert part, "nothing was read"
            assert len(part) == 1 or sum(len(entry.data) for entry in part) <= 200
            found += part
            index = part[-1].index
        assert found == self.entries

    @invariant()
    def it_knows_what_it_keeps(self) -> None:
        assert self.log._bytes == sum(len(entry.data) + module.ENTRY_BYTES for entry in self.log._tail)

    @invariant()
    def agreement_is_found(self) -> None:
        places = [(self.floor.index, self.floor.term)] + [(entry.index, entry.term) for entry in self.entries]
        for index in {self.floor.index, self.last, self.last + 3, (self.floor.index + self.last) // 2}:
            for term in {self.term, self.term - 1, self.term // 2}:
                fitting = [place for place in places if place[0] <= index and place[1] <= term]
                assert self.log.agreement(index, term) == (fitting[-1] if fitting else places[0])


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_BYTES", SMALL)


def test_against_a_list() -> None:
    run_state_machine_as_test(
        LogAgainstList, settings=settings(max_examples=120, stateful_step_count=40, deadline=None)
    )


def test_what_is_before_the_floor_is_not_here() -> None:
    log = Log(MemoryLog(Place(5, 2), [Entry(6, 2, 0, b"x")]))
    with pytest.raises(IndexError):
        log.read(5, 6, 100)
    with pytest.raises(IndexError):
        log.term(4)
    assert log.agreement(3, 2) == (3, 0)


def test_finding_agreement_reads_little() -> None:
    """A tail of many entries of newer terms is not walked one by one."""
    asked: list[int] = []

    class Counting(MemoryLog):
        def term(self, index: int) -> int:
            asked.append(index)
            return super().term(index)

    entries = [Entry(index, 1 if index <= 10 else 9, 0, b"") for index in range(1, 5001)]
    assert Log(Counting(entries=entries)).agreement(4999, 5) == (10, 1)
    assert len(asked) < 20
