"""Linearizable reads: who waits for raft's word that a read made then is not stale (decision 13).

All that wait when a turn begins share one token. Its answer is an index; once that is applied here, they are called.
A token without an answer is asked for again, since a message may be lost: reads can be repeated.
"""

from collections import OrderedDict, deque
from collections.abc import Callable

import msgspec

from core.node.errors import NoLeaderError, ProposalError

AGAIN_SECONDS = 0.5
WAIT_SECONDS = 5.0
"""How long a read may wait for a leader's word."""
WAITING = 65_536
"""Reads that may wait at a time."""

Confirmed = Callable[[ProposalError | None], None]


class _Reader(msgspec.Struct, gc=False):
    done: Confirmed
    deadline: float


class Confirmations:
    """The reads of one member, from question to answer."""

    def __init__(self, first_token: int) -> None:
        """Tokens count on from `first_token`; they must not come again after a restart."""
        self._token = first_token
        self._new: list[_Reader] = []
        self._asked: OrderedDict[int, tuple[float, list[_Reader]]] = OrderedDict()
        """Token -> when it was asked for, and for whom."""
        self._refused: list[_Reader] = []
        """Asked for, and refused: a leader that has just won knows in a moment what is committed."""
        self._placed: deque[tuple[int, list[_Reader]]] = deque()
        """(index, for whom), ascending: what must be applied first."""
        self._count = 0

    @property
    def is_new(self) -> bool:
        """Whether somebody waits to be asked for."""
        return bool(self._new)

    @property
    def is_full(self) -> bool:
        return self._count >= WAITING

    def add(self, done: Confirmed, now: float) -> None:
        """Somebody wants to read."""
        self._count += 1
        self._new.append(_Reader(done, now + WAIT_SECONDS))

    def next_token(self, now: float) -> int:
        """The token to ask raft with, for all that are new."""
        self._token += 1
        self._asked[self._token] = now, self._new
        self._new = []
        return self._token

    def answered(self, token: int, index: int) -> None:
        """Raft's word: the index to be applied, or 0 for a refusal, after which the next tick asks again."""
        _, readers = self._asked.pop(token, (0.0, []))
        if not readers:
            return
        if index == 0:
            self._refused += readers
        else:
            # Answers may overtake each other: a higher index than needed is as good.
            self._placed.append((max(index, self._placed[-1][0] if self._placed else 0), readers))

    def applied(self, index: int) -> None:
        """Call all whose index is applied."""
        while self._placed and self._placed[0][0] <= index:
            _, readers = self._placed.popleft()
            self._tell(readers, None)

    def tick(self, now: float) -> None:
        """Give up on those that waited for too long; ask again for those that have no answer yet."""
        while self._asked and next(iter(self._asked.values()))[0] + AGAIN_SECONDS <= now:
            _, (_, readers) = self._asked.popitem(last=False)
            self._new += readers
        self._new += self._refused
        self._refused = []
        overdue = [reader for reader in self._new if reader.deadline <= now]
        for _, placed in self._placed:
            if placed and placed[0].deadline <= now:  # they came in this order
                overdue += placed
                placed.clear()
        if overdue:
            self._new = [reader for reader in self._new if reader.deadline > now]
            self._tell(overdue, NoLeaderError("no leader confirmed the read in time; nothing was read, try again"))

    def refuse_all(self, why: str) -> None:
        """Nobody will be answered any more."""
        readers = self._new + self._refused + [reader for _, asked in self._asked.values() for reader in asked]
        readers += [reader for _, placed in self._placed for reader in placed]
        self._new, self._refused, self._asked, self._placed = [], [], OrderedDict(), deque()
        self._tell(readers, NoLeaderError(why))

    def _tell(self, readers: list[_Reader], error: ProposalError | None) -> None:
        self._count -= len(readers)
        for reader in readers:
            reader.done(error)
