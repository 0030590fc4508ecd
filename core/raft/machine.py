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
        self, member: int, voters: Sequence[int], hard_state: HardState, applied: int, tail: Sequence[Entry]
    ) -> None:
        """`applied` is the last entry the state machine has, `tail` the durable entries behind it."""
        if tuple(voters) != (member,):
            raise ValueError("this member must be the only voter")
        for expected, entry in enumerate(tail, applied + 1):
            if entry.index != expected:
                raise ValueError(f"the log has entry {entry.index} where {expected} is due")
        self.member = member
        self.voters = tuple(voters)
        self.role = Role.FOLLOWER
        self.term = hard_state.term
        self.vote = hard_state.vote
        self.commit = applied
        """Highest committed index. Invariant: commit <= _saved_index <= last_index."""
        self.leader = 0
        """Member id of the leader of this term, 0 if unknown."""
        self.last_index = applied + len(tail)
        """End of the log, saved or not."""
        self._saved_index = self.last_index
        """End of what is durable here."""
        self._term_start = 0
        """Index of the first entry of the own term as leader."""
        self._waiting: list[Entry] = []
        """Entries that no `Ready` carried yet."""
        self._uncommitted: list[Entry] = list(tail)
        """Entries that `committed` did not return yet, oldest first."""

    def campaign(self) -> None:
        """Stand for leader in a new term. A quorum of one is won by the own vote, which is durable with the first
        entry of the term; nothing of the term is seen outside before that."""
        self.term += 1
        self.vote = self.member
        self.role = Role.LEADER
        self.leader = self.member
        self._term_start = self.last_index + 1
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
        if self.last_index != ready.entries[-1].index or first.index <= self._saved_index:
            raise ValueError("only the last entries, unsaved, can be withdrawn")
        self._uncommitted = [entry for entry in self._uncommitted if entry.index < first.index]
        self.last_index = first.index - 1
        if first.index == self._term_start:
            self.role = Role.FOLLOWER
            self.leader = 0

    def committed(self) -> tuple[Entry, ...]:
        """The entries that became committed since the last call, in order; each is returned once."""
        ready = [entry for entry in self._uncommitted if entry.index <= self.commit]
        del self._uncommitted[: len(ready)]
        return tuple(ready)

    def _append(self, kind: Kind, data: bytes) -> int:
        entry = Entry(self.last_index + 1, self.term, kind, data)
        self.last_index = entry.index
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
