"""What every watch is, whichever dialect opened it: live with a small buffer, or behind and reading history."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from core.kv.errors import CompactedError
from core.kv.records import Event, Record
from core.kv.trail import Trail, after, merged
from core.kv.transaction import Table

BUFFER = 100
"""Weight of the events that a live watcher holds before it has to read history instead."""
SLICE = 200
"""Weight of the records of history read at once: some 2 ms."""
ROWS = 64
"""A watch that is behind reads the rows of its keys instead of all history if they are no more than this."""
_HEAVY = 12
"""An event weighs 1, and 1 more for each 2**12 bytes of its values."""

Row = tuple[Table, bytes]


class History(Protocol):
    """What the hub reads of the keyspace; `core.kv.keyspace.Keyspace`."""

    @property
    def revision(self) -> int: ...

    @property
    def floor(self) -> int:
        """The oldest revision that history still has."""
        ...

    def changes(self, position: bytes) -> Iterator[Record]:
        """Every record from a position on."""
        ...

    def first_of(self, revision: int) -> bytes:
        """The position of the first record of a v3 revision."""
        ...

    def trail(self, table: Table, key: bytes, position: bytes) -> Trail:
        """The versions of one row from a position on."""
        ...

    def names(self, table: Table, start: bytes, end: bytes | None, limit: int) -> list[bytes]:
        """The first rows of a range."""
        ...

    def record(self, position: bytes) -> Record | None: ...


def weight_of(event: Event) -> int:
    """What an event costs whoever holds it."""
    previous = event.previous
    return 1 + (len(event.record.value) + (0 if previous is None else len(previous.value)) >> _HEAVY)


class Watcher(ABC):
    """One open watch. Numbers are those of its dialect: v2 indexes, or v3 revisions, which several events may share;
    events of one number are never torn apart."""

    __slots__ = ("_events", "_history", "_next", "_position", "_torn", "_trails", "_weight", "live")

    def __init__(self, history: History, start: int) -> None:
        self._history = history
        self._next = start
        """First number that was not returned and is not in the buffer; events before it are not for this watch."""
        self.live = start > history.revision
        """Whether events come as they happen. If not, it reads history."""
        self._events: list[Event] | None = None
        """The buffer, if there is anything in it: most watches wait."""
        self._weight = 0
        self._position: bytes | None = None
        """Where to read on in history; None: to be found."""
        self._torn: list[Event] = []
        """While behind: the first events of number `_next`, of which more may come."""
        self._trails: dict[Row, Trail] | None = None
        """While behind: the rows it reads, if it does not read all history."""

    # What the dialects differ in

    @abstractmethod
    def _number(self, record: Record) -> int: ...

    @abstractmethod
    def _first(self, number: int) -> bytes:
        """The position where history of that number begins."""

    @abstractmethod
    def _wants(self, record: Record) -> bool: ...

    @abstractmethod
    def _rows(self, limit: int) -> Sequence[Row]:
        """The rows that hold all it may want, if they are at most `limit`, and else more than that."""

    @abstractmethod
    def _shown(self, record: Record) -> Event:
        """The event of a record that was read from history."""

    @abstractmethod
    def _wake(self) -> None:
        """There is something to take."""

    # Live

    @property
    def waiting(self) -> bool:
        """Whether there is something to take: events, or history to be read."""
        return self._events is not None or not self.live

    def offer(self, event: Event, weight: int) -> None:
        """Take a new event that concerns this watch."""
        if not self.live or self._number(event.record) < self._next:
            return
        self._weight += weight
        if self._weight > BUFFER:
            self._fall_behind(self._number((self._events or [event])[0].record))
        elif self._events is None:
            self._events = [event]
            self._wake()
        else:
            self._events.append(event)

    def miss(self, first: Event) -> None:
        """More happened than it may hold, beginning with this event: read it from history."""
        if self.live:
            self._fall_behind(max(self._next, self._number((self._events or [first])[0].record)))

    def reset(self, history: History, seen: int) -> None:
        """History was replaced by another that goes on the same way: read on there. What was published up to `seen` was
        offered."""
        self._history = history
        if self.live:
            first = seen + 1 if self._events is None else self._number(self._events[0].record)
            self._fall_behind(max(self._next, first))
        else:
            self._torn = []
            self._seek()

    def _fall_behind(self, number: int) -> None:
        self.live = False
        self._next = number
        self._events = None
        self._weight = 0
        self._seek()
        self._wake()

    def _seek(self) -> None:
        """Begin to read anew at `_next`."""
        self._position = None
        self._trails = None

    def take_live(self, limit: int) -> Sequence[Event]:
        """The buffer's first events, at most `limit`."""
        events, self._events = self._events or [], None
        if len(events) > limit:
            self._events = events[limit:]
            self._weight = sum(map(weight_of, self._events))
            events = events[:limit]
        else:
            self._weight = 0
        if events:
            self._next = self._number(events[-1].record) + 1
        return events

    # Behind

    def read_on(self, limit: int) -> list[Event]:
        """Read the next slice of history up to about `limit` events, and become live at its end. Maybe none yet.
        CompactedError if it is gone."""
        history = self._history
        if self._next < history.floor:
            raise CompactedError(history.floor)
        found: list[Event] = []
        left = SLICE
        for record in self._records():
            if record is None:
                left -= 1
            else:
                left -= 1 + (len(record.value) >> _HEAVY)
                self._take(record, found)
            if left <= 0 or len(found) >= limit:
                return found
        found += self._torn
        self._torn = []
        self._next = max(self._next, history.revision + 1)
        self.live = True
        self._seek()
        return found

    def _take(self, record: Record, found: list[Event]) -> None:
        """Go past a record; events whose number is complete with it are found."""
        self._position = after(record.position)
        number = self._number(record)
        if number > self._next:
            found += self._torn
            self._torn = []
            self._next = number
        if number == self._next and self._wants(record):
            self._torn.append(self._shown(record))

    def _records(self) -> Iterator[Record | None]:
        """History from where it has come to; None where work was done that brought no record."""
        history = self._history
        if self._position is None:
            if self._next > history.revision:
                return iter(())
            self._position = self._first(self._next)
            if history.revision - self._next >= SLICE:
                self._trails = {}
        if self._trails is None:
            return history.changes(self._position)
        rows = self._rows(ROWS)
        if len(rows) > ROWS:
            self._trails = None
            return history.changes(self._position)
        return merged(self._followed(self._trails, rows, self._position))

    def _followed(self, trails: dict[Row, Trail], rows: Iterable[Row], position: bytes) -> list[Trail]:
        for row in rows:
            if row not in trails:
                trails[row] = self._history.trail(*row, position)
        return list(trails.values())
