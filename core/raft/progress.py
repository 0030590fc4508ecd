"""What a leader knows of one member, and how much it may send it.

PROBE      where the logs agree is unknown: one message, then wait for any answer
REPLICATE  it is known: send ahead of the answers, up to a window
SNAPSHOT   the entries it needs are gone: nothing is sent until the snapshot arrived or failed

    PROBE -- accepted --> REPLICATE -- rejected --> PROBE
    PROBE, REPLICATE -- entries gone --> SNAPSHOT -- arrived, failed --> PROBE
    SNAPSHOT -- accepted what the log still follows --> REPLICATE
"""

from collections import deque
from enum import Enum


class Mode(Enum):
    """How a follower is served."""

    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


class Progress:
    """One follower. Invariant: match < next."""

    def __init__(self, next_index: int, window: int) -> None:
        """At most `window` messages with entries are under way at a time."""
        self.mode = Mode.PROBE
        self.match = 0
        """End of what it is known to have durably, in agreement with the leader."""
        self.next = next_index
        """First entry to send."""
        self.told = 0
        """The commit index it knows if everything arrives."""
        self.active = False
        """Whether it was heard of since the last check of the quorum."""
        self.asked = False
        """In PROBE: a message is under way."""
        self.snapshot = 0
        """In SNAPSHOT: the index it will have when it arrives."""
        self._window = window
        self._in_flight: deque[int] = deque()
        """Last index of each message with entries under way, ascending."""

    @property
    def may_send(self) -> bool:
        if self.mode is Mode.REPLICATE:
            return len(self._in_flight) < self._window
        return self.mode is Mode.PROBE and not self.asked

    @property
    def is_full(self) -> bool:
        return self.mode is Mode.REPLICATE and len(self._in_flight) >= self._window

    @property
    def in_flight(self) -> int:
        """Messages with entries under way."""
        return len(self._in_flight)

    def sent(self, last: int, commit: int) -> None:
        """A message up to entry `last` left; `last` is below `next` if it had none."""
        self.told = max(self.told, min(commit, last))
        if self.mode is Mode.PROBE:
            self.asked = True
        elif last >= self.next:
            self._in_flight.append(last)
            self.next = last + 1

    def answered(self) -> None:
        """A heartbeat was: it is there, so ask again; and let one message pass a full window."""
        self.active = True
        self.asked = False
        if self.is_full:
            self._in_flight.popleft()

    def accepted(self, index: int) -> bool:
        """It agrees up to `index`; whether that is news."""
        self.active = True
        while self._in_flight and self._in_flight[0] <= index:
            self._in_flight.popleft()
        news = index > self.match
        self.match = max(self.match, index)
        self.next = max(self.next, index + 1)
        self.asked = False
        return news

    def rejected(self, index: int, hint: int) -> bool:
        """It has no such place as `index`; try `hint`. False if this is old news."""
        self.active = True
        if index <= self.match or (self.mode is Mode.PROBE and index != self.next - 1):
            return False
        self.next = max(min(hint, index - 1) + 1, self.match + 1)
        self.asked = False
        return True

    def probe(self) -> None:
        """Look for agreement, behind a snapshot if it got one."""
        if self.mode is Mode.SNAPSHOT:
            self.next = max(self.match, self.snapshot) + 1
        self.mode = Mode.PROBE
        self.told = min(self.told, self.match)
        self.asked = False
        self.snapshot = 0
        self._in_flight.clear()

    def replicate(self) -> None:
        self.mode = Mode.REPLICATE
        self.next = self.match + 1
        self._in_flight.clear()

    def await_snapshot(self, index: int) -> None:
        self.mode = Mode.SNAPSHOT
        self.snapshot = index
        self._in_flight.clear()

    def snapshot_ended(self, arrived: bool) -> None:
        """Go on behind it, or as before, at its next word: its answer is on the way, or it is not to be pressed."""
        if not arrived:
            self.snapshot = 0
        self.probe()
        self.asked = True
