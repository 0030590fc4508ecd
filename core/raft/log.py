"""The log as the rules see it: what storage has, and the entries that wait to be saved or applied."""

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from core.raft.messages import Entry, Snapshot

KEPT_BYTES = 4 << 20
"""Data of saved entries that stays in memory for followers; the rest is read from storage."""
ENTRY_BYTES = 100
"""What an entry takes beside its data, about."""


class Place(Protocol):
    """A place in the log."""

    @property
    def index(self) -> int: ...

    @property
    def term(self) -> int: ...


class Storage(Protocol):
    """The durable log, as the last saved `Ready` left it. Read only: the driver writes it."""

    @property
    def floor(self) -> Place:
        """The place before the first entry that is here."""
        ...

    @property
    def last(self) -> Place: ...

    def term(self, index: int) -> int:
        """The term of the entry at `index`, floor included; IndexError if it is not here."""
        ...

    def read(self, first: int, last: int, size: int = ...) -> Sequence[Entry]:
        """Entries first <= index <= last, fewer if their data exceeds `size` bytes but at least one; IndexError if
        some of them are not here."""
        ...


class Log:
    """Entries from the floor to `last_index`, without a gap."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.last_index = storage.last.index
        """End of the log, saved or not."""
        self.saved_index = self.last_index
        """End of what is durable here. Invariant: saved_index <= last_index."""
        self._first = self.last_index + 1
        """Index of the first entry in `_tail`. Storage serves what is before; it is saved, so it has it."""
        self._before = storage.last.term
        """Term of the entry before `_first`."""
        self._tail: list[Entry] = []
        self._bytes = 0
        """Size of `_tail`."""
        self._handed = self.last_index
        """End of what was handed out to be saved."""
        self._saving: deque[int] = deque()
        """For each save under way, oldest first: up to where the log is durable once it is done."""
        self._restored = 0
        """Index of the snapshot that replaced the log; storage may not have it yet."""

    @property
    def last_term(self) -> int:
        return self._tail[-1].term if self._tail else self._before

    @property
    def floor(self) -> int:
        """Index before the first entry that can be read."""
        return max(self._restored, self._storage.floor.index)

    def term(self, index: int) -> int:
        """The term of the entry at `index`, the floor included; IndexError if it is not here."""
        if index >= self._first:
            return self._tail[index - self._first].term
        if index == self._first - 1:
            return self._before
        if index < self._restored:
            raise IndexError(f"entry {index} is not in the log")
        return self._storage.term(index)

    def matches(self, index: int, term: int) -> bool:
        """Whether the log has this place."""
        return self.floor <= index <= self.last_index and self.term(index) == term

    def agreement(self, index: int, term: int) -> tuple[int, int]:
        """The last place up to `index` whose term is at most `term`: where another log may agree with this one."""
        index, floor = min(index, self.last_index), self.floor
        if index < floor:
            return index, 0
        if self.term(index) > term:  # terms never fall along a log, so halving finds the place in few reads
            index = max(floor, floor + bisect_right(range(floor, index), term, key=self.term) - 1)
        return index, self.term(index)

    def read(self, first: int, last: int, size: int) -> Sequence[Entry]:
        """As `Storage.read`, over all of the log; it may also end where storage does."""
        if first < self._first:
            if first <= self.floor:
                raise IndexError(f"entry {first} is not in the log")
            return self._storage.read(first, min(last, self._first - 1), size)
        entries = self._tail[first - self._first : last + 1 - self._first]
        if len(entries) > 1:
            for number, entry in enumerate(entries):
                size -= len(entry.data)
                if size < 0:
                    return entries[: max(number, 1)]
        return entries

    def append(self, entry: Entry) -> None:
        """The next entry."""
        self.last_index = entry.index
        self._tail.append(entry)
        self._bytes += len(entry.data) + ENTRY_BYTES

    def truncate(self, index: int) -> None:
        """Remove the entries from `index` on. What is being saved counts only up to there, however it ends."""
        if index < self._first:
            self._before = self.term(index - 1)
            self._first = index
            self._tail.clear()
        else:
            del self._tail[index - self._first :]
        self._bytes = sum(len(entry.data) + ENTRY_BYTES for entry in self._tail)
        self.last_index = index - 1
        self.saved_index = min(self.saved_index, index - 1)
        self._handed = min(self._handed, index - 1)
        self._saving = deque(min(end, index - 1) for end in self._saving)

    def restore(self, snapshot: Snapshot) -> None:
        """Begin anew behind a snapshot."""
        self._tail.clear()
        self._bytes = 0
        self._first = snapshot.index + 1
        self._before = snapshot.term
        self.last_index = self._handed = self._restored = snapshot.index
        self.saved_index = 0
        self._saving = deque(0 for _ in self._saving)

    def unsaved(self) -> Sequence[Entry]:
        """What was not handed out yet; `saving` says that it is."""
        return self._tail[self._handed + 1 - self._first :] if self._handed < self.last_index else ()

    def saving(self) -> None:
        """All up to the end is handed out to be saved."""
        self._handed = self.last_index
        self._saving.append(self.last_index)

    def saved(self) -> None:
        """The oldest save under way is done."""
        self.saved_index = max(self.saved_index, self._saving.popleft())

    def withdraw(self, index: int) -> None:
        """The newest save under way, of entries from `index` on, will not be: they are gone."""
        self._saving.pop()
        self.truncate(index)

    def release(self, index: int, *, keep: bool) -> None:
        """Entries up to `index`, which are applied and saved, need not be in memory; some stay for followers."""
        count = index + 1 - self._first
        if count <= 0:
            return
        if keep:
            if self._bytes <= 2 * KEPT_BYTES:
                return
            size, kept = self._bytes, 0
            while kept < count and size > KEPT_BYTES:
                size -= len(self._tail[kept].data) + ENTRY_BYTES
                kept += 1
            count, self._bytes = kept, size
        elif count == len(self._tail):
            self._bytes = 0
        else:
            self._bytes -= sum(len(entry.data) + ENTRY_BYTES for entry in self._tail[:count])
        if count:
            self._before = self._tail[count - 1].term
            self._first += count
            del self._tail[:count]
