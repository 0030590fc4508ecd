"""A durable log in memory, for one member under test."""

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from core.raft.machine import Raft, Ready
from core.raft.members import Members
from core.raft.messages import Entry, HardState, Snapshot


class Place(NamedTuple):
    """A place in the log."""

    index: int  # type: ignore[assignment]
    term: int


class MemoryLog:
    """What `core.raft.log.Storage` asks for, and what the driver writes."""

    def __init__(self, floor: Place = Place(0, 0), entries: Sequence[Entry] = ()) -> None:  # noqa: B008
        self.floor = floor
        self.entries = list(entries)
        self.hard_state = HardState()

    @property
    def last(self) -> Place:
        return Place(self.entries[-1].index, self.entries[-1].term) if self.entries else self.floor

    def term(self, index: int) -> int:
        if index == self.floor.index:
            return self.floor.term
        return self.read(index, index)[0].term

    def read(self, first: int, last: int, size: int = 1 << 20) -> list[Entry]:
        if not self.floor.index < first <= last <= self.last.index:
            raise IndexError(f"entries {first}..{last} asked for, {self.floor}..{self.last} here")
        found: list[Entry] = []
        for entry in self.entries[first - 1 - self.floor.index : last - self.floor.index]:
            size -= len(entry.data)
            if size < 0 and found:
                break
            found.append(entry)
        return found

    def save(self, ready: Ready) -> None:
        """Carry out what a Ready wants saved. ValueError for what the real log would refuse."""
        if ready.snapshot is not None:
            self.install(ready.snapshot)
        if ready.entries:
            first = ready.entries[0].index
            if not max(self.floor.index, self.hard_state.commit) < first <= self.last.index + 1:
                raise ValueError(f"entry {first} cannot follow {self.last} with commit {self.hard_state.commit}")
            del self.entries[first - 1 - self.floor.index :]
            self.entries += ready.entries
        self.hard_state = ready.hard_state
        if self.hard_state.commit > self.last.index:
            raise ValueError(f"commit {self.hard_state.commit} is ahead of the durable log, which ends at {self.last}")

    def install(self, snapshot: Snapshot) -> None:
        self.floor = Place(snapshot.index, snapshot.term)
        self.entries.clear()

    def drop_until(self, index: int) -> None:
        """Entries up to `index` go, if they are here."""
        if index > self.floor.index:
            floor = Place(index, self.term(index))
            del self.entries[: index - self.floor.index]
            self.floor = floor


def only_member(hard_state: HardState = HardState(), applied: int = 0, tail: Sequence[Entry] = ()) -> Raft:  # noqa: B008
    """Member 1, the only one, with `tail` behind what it has applied."""
    log = MemoryLog(Place(applied, hard_state.term if applied else 0), tail)
    return Raft(1, Members((1,)), hard_state, applied, log, Random(1))
