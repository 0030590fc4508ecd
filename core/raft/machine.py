"""The rules of one raft member (Ongaro, "Consensus: Bridging Theory and Practice", chapter 3)."""

from collections.abc import Sequence
from enum import Enum

import msgspec

from core.raft.messages import Entry, HardState, Kind


class Role(Enum):
    """What a member is in its term."""

    FOLLOWER = "follower"
    CANDIDATE = "candidate"
    LEADER = "leader"


class NotLeaderError(Exception):
    """Only the leader proposes."""


class Ready(msgspec.Struct, frozen=True, gc=False):
    """What must be made durable, in one commit, before anything that follows from it."""

    entries: tuple[Entry, ...]
    hard_state: HardState

    def __bool__(self) -> bool:
        return bool(self.entries)


class Raft:
    """One member. The loop that drives it is described in the package docstring."""

    def __init__(
        self, member: int, voters: Sequence[int], hard_state: HardState, last_index: int, last_term: int, applied: int
    ) -> None:
        """`last_index` and `last_term` are the end of the durable log (or of the snapshot it follows), `applied`
        the last entry the state machine has."""
        if tuple(voters) != (member,):
            raise ValueError("this member must be the only voter")
        if applied > last_index:
            raise ValueError(f"applied index {applied} is ahead of the log, which ends at {last_index}")
        self.member = member
        self.voters = tuple(voters)
        self.role = Role.FOLLOWER
        self.term = hard_state.term
        self.vote = hard_state.vote
        self.commit = max(hard_state.commit, applied)
        self.leader = 0
        """Member id of the leader of this term, 0 if unknown."""
        self._last_index = last_index
        self._last_term = last_term
        self._saved_index = last_index
        """End of what is durable here. Invariant: commit <= _saved_index <= _last_index."""
        self._handed_out = last_index
        """End of what a `Ready` carried."""
        self._term_start = 0
        """Index of the first entry of the own term as leader."""
        self._waiting: list[Entry] = []
        """Entries that no `Ready` carried yet."""
        self._uncommitted: list[Entry] = []
        """Entries behind the commit index that were made in this run, oldest first."""
        self._returned = applied
        """End of what `committed` returned."""

    @property
    def last_index(self) -> int:
        """End of the log, saved or not."""
        return self._last_index

    def campaign(self) -> None:
        """Stand for leader in a new term. A quorum of one is won by the own vote, which is durable with the first
        entry of the term; nothing of the term is seen outside before that."""
        self.term += 1
        self.vote = self.member
        self.role = Role.LEADER
        self.leader = self.member
        self._term_start = self._last_index + 1
        self._append(Kind.COMMANDS, b"")

    def propose(self, data: bytes, kind: Kind = Kind.COMMANDS) -> int:
        """Append an entry and return its index; NotLeaderError if this member does not lead."""
        if self.role is not Role.LEADER:
            raise NotLeaderError
        return self._append(kind, data)

    def ready(self) -> Ready:
        """What is to be saved now; false if nothing. Each entry is handed out once."""
        entries = tuple(self._waiting)
        self._waiting.clear()
        self._handed_out = self._last_index
        return Ready(entries, HardState(self.term, self.vote, self.commit))

    def saved(self, ready: Ready) -> None:
        """The entries and hard state of `ready` are durable."""
        if ready.entries:
            self._saved_index = ready.entries[-1].index
            self._advance_commit()

    def withdraw(self, ready: Ready) -> None:
        """The entries of `ready` could not be saved and are not in the log. They were neither sent nor counted."""
        if not ready.entries:
            return
        first = ready.entries[0]
        if self._last_index != ready.entries[-1].index or first.index <= self._saved_index:
            raise ValueError("only the last entries, unsaved, can be withdrawn")
        self._uncommitted = [entry for entry in self._uncommitted if entry.index < first.index]
        self._last_index = self._handed_out = first.index - 1
        if first.index == self._term_start:
            self.role = Role.FOLLOWER
            self.leader = 0

    def committed(self) -> tuple[Entry, ...]:
        """The entries of this run that became committed since the last call, in order."""
        ready = [entry for entry in self._uncommitted if entry.index <= self.commit]
        del self._uncommitted[: len(ready)]
        if ready:
            self._returned = ready[-1].index
        return tuple(ready)

    def _append(self, kind: Kind, data: bytes) -> int:
        entry = Entry(self._last_index + 1, self.term, kind, data)
        self._last_index = entry.index
        self._last_term = entry.term
        self._waiting.append(entry)
        self._uncommitted.append(entry)
        return entry.index

    def _advance_commit(self) -> None:
        """Commit what a quorum has, if it is of the current term (section 3.6.2)."""
        matches = sorted((self._match(voter) for voter in self.voters), reverse=True)
        quorum_index = matches[len(self.voters) // 2]
        if quorum_index > self.commit and quorum_index >= self._term_start:
            self.commit = quorum_index

    def _match(self, voter: int) -> int:
        """End of what is known to be durable at `voter`."""
        return self._saved_index if voter == self.member else 0
