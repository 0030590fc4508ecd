"""Who leads, as this member learned of it: for the log, for clients and for the figures."""

import logging
import time

from core.node.timing import Counts
from core.raft.machine import Raft

_logger = logging.getLogger(__name__)


class Lead:
    """What was last told of the leader."""

    def __init__(self, raft: Raft, counts: Counts) -> None:
        self._raft = raft
        self._counts = counts
        self._told = (0, 0)
        """Leader and term."""
        self.since = time.time()
        """Unix time when it was first known."""

    def skip(self) -> None:
        """What is so by now is not worth a word: a member that is alone leads from its start."""
        self._told = (self._raft.leader, self._raft.term)

    def look(self) -> None:
        """After each turn: tell of a change."""
        leader, term = now = (self._raft.leader, self._raft.term)
        if now == self._told:
            return
        self._told = now
        self.since = time.time()
        if not leader:
            _logger.warning("no leader is known", extra={"term": term})
        else:
            self._counts.leaders += 1
            who = "this member" if leader == self._raft.member else f"{leader:x}"
            _logger.info("a leader is elected", extra={"leader": who, "term": term})
