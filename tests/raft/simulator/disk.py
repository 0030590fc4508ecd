"""What of a member survives a crash."""

from collections.abc import Sequence

from core.raft.machine import Ready
from core.raft.messages import Entry, HardState
from tests.raft.memory import MemoryLog, Place
from tests.raft.simulator.state import State


class Disk(MemoryLog):
    """The durable log, and the state that is flushed behind it."""

    def __init__(self, state: State, entries: Sequence[Entry], hard_state: HardState) -> None:
        super().__init__(Place(state.index, state.term), entries)
        self.hard_state = hard_state
        self.state = state

    def commit(self, ready: Ready, state: State | None) -> None:
        """One durable commit: entries, hard state, and which state counts from now on, if `ready` has a snapshot."""
        self.save(ready)
        if state is not None:
            self.state = state

    def flush(self, state: State) -> None:
        self.state = state

    def has(self, index: int, term: int) -> bool:
        """Whether this place is durable here, as an entry or within the state."""
        if index <= self.floor.index:
            return True
        return index <= self.floor.index + len(self.entries) and self.entries[index - self.floor.index - 1].term == term
