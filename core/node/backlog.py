"""Committed entries on their way into the keyspace, some milliseconds of them at a time."""

import time

import trio

from core.kv.keyspace import Keyspace
from core.kv.steps import Steps
from core.node.applying import Applier
from core.node.flushing import Flusher
from core.node.timing import Timing
from core.raft.machine import Raft

YIELD_SECONDS = 0.005
"""How long applying keeps the loop at a time."""
BEHIND_SECONDS = 0.002
"""How often to see whether the disk, which was far behind, has caught up."""
ANSWERS = 16
"""How many are given at a time: of transactions that change much, some 2 ms."""
_END = object()


class Backlog:
    """What one member has to apply. Between two calls of `go_on` a large entry may be half done: nobody sees that."""

    def __init__(self, raft: Raft, applier: Applier, keyspace: Keyspace, flusher: Flusher, timing: Timing) -> None:
        self._raft = raft
        self._applier = applier
        self._keyspace = keyspace
        self._flusher = flusher
        self._timing = timing
        self._work: Steps[None] | None = None
        self._spent = 0.0
        """Seconds since the last entry was done."""

    def __bool__(self) -> bool:
        return self._work is not None or self._applier.owes_answers

    def go_on(self) -> None:
        """Apply what is committed, for YIELD_SECONDS: the rest is for the next turns, in which the other members are
        heard and answered meanwhile. Nothing is applied while the disk is far behind; what is applied is answered."""
        began = time.perf_counter()
        applied = self._keyspace.applied[0]
        if self._work is None:
            self._work = self._committed()
        while True:
            if self._applier.owes_answers:
                self._applier.answer(ANSWERS)
            elif self._flusher.is_behind:
                break
            elif next(self._work, _END) is _END:
                self._work = None
                break
            if time.perf_counter() - began > YIELD_SECONDS:
                break
        self._spent += time.perf_counter() - began
        if self._keyspace.applied[0] > applied:
            self._timing.add(self._spent)
            self._spent = 0.0

    async def give_way(self) -> None:
        """Let others run before it goes on."""
        if self._flusher.is_behind and not self._applier.owes_answers:
            await trio.sleep(BEHIND_SECONDS)
        else:
            await trio.lowlevel.checkpoint()

    def drop(self) -> None:
        """A snapshot has brought all of it."""
        self._work = None

    def _committed(self) -> Steps[None]:
        while entries := self._raft.committed():
            for entry in entries:
                yield from self._applier.steps(entry)
                yield
