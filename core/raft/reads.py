"""Linearizable reads without log entries (ReadIndex, section 6.4).

A read may be answered at the commit index of the moment it was asked for, once a quorum has said, *after* that moment,
that this leader still leads. One round of heartbeats answers for all reads that were asked before it began. Each round
has an id of its own that comes back with the answer: a late answer to an older round proves nothing for a newer one.
One round is under way at a time; heartbeats repeat it until it is answered. The driver bounds how many wait.
"""

import msgspec


class Read(msgspec.Struct, frozen=True, gc=False):
    """The answer to `Raft.read(token)`."""

    token: int
    index: int
    """Linearizable once this index is applied; 0: refused, nothing is known."""


class Asked(msgspec.Struct, frozen=True, gc=False):
    """Who wants to read."""

    member: int
    token: int


class ReadRounds:
    """The reads of one leader in one term."""

    def __init__(self) -> None:
        self.round = 0
        """The last round's id; ascending."""
        self._index = 0
        """The commit index when it began."""
        self._acknowledged: set[int] = set()
        self._under_way: list[Asked] = []
        self._waiting: list[Asked] = []

    @property
    def waiting(self) -> bool:
        """Whether anybody waits for an answer."""
        return bool(self._under_way or self._waiting)

    @property
    def current(self) -> int:
        """The round under way; 0: none."""
        return self.round if self._under_way else 0

    def ask(self, member: int, token: int) -> None:
        self._waiting.append(Asked(member, token))

    def begin(self, commit: int) -> bool:
        """Begin a round for all that wait, if none is under way; whether it began."""
        if self._under_way or not self._waiting:
            return False
        self.round += 1
        self._index = commit
        self._acknowledged.clear()
        self._under_way, self._waiting = self._waiting, []
        return True

    def acknowledge(self, member: int, round_: int) -> set[int]:
        """A member answered; who answered the round under way so far."""
        if self._under_way and round_ == self.round:
            self._acknowledged.add(member)
        return self._acknowledged

    def finish(self) -> tuple[int, list[Asked]]:
        """The round has its quorum: the index it proves, and for whom."""
        answered, self._under_way = self._under_way, []
        return self._index, answered

    def give_up(self) -> list[Asked]:
        """All that wait, in vain."""
        found = self._under_way + self._waiting
        self._under_way, self._waiting = [], []
        return found
