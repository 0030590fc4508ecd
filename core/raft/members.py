"""Who belongs to the cluster, and how that changes: one member at a time.

Joint consensus was refused. Of two sets of members that differ in one voter any two majorities have a member in common,
so a change needs no phase in between, no second commit rule and no entry to end it; what operators do (add, promote,
remove) is one at a time anyway, and replacing a member is two changes. The known flaw of the method (two leaders'
changes, each unknown to the other) is closed by the rule of Ongaro's note of 2015: a leader changes nothing before an
entry of its own term is committed, nor while another change is not.

An entry carries the whole set of members, not the difference: to take it back is to look at the one before. It counts
from when it is in the log, not from its commit (dissertation, section 4.1). Beside the members it carries a context,
bytes that mean nothing here: what the state machine keeps of the member that changed, for example its name and URLs.

An id is never given twice. Who lost its disk, or was removed, comes back under a new one: raft cannot tell a member
that forgot its vote from one that never gave it.
"""

from enum import IntEnum

import msgspec


class Standing(IntEnum):
    """What a member is to the cluster."""

    NONE = 0
    LEARNER = 1
    """Receives the log, counts in no quorum."""
    VOTER = 2


class ChangeRefusedError(Exception):
    """A change of the members that must not be made now; says why."""


class Members(msgspec.Struct, frozen=True, array_like=True):
    """The members, by id, ascending."""

    voters: tuple[int, ...] = ()
    learners: tuple[int, ...] = ()

    @property
    def all(self) -> tuple[int, ...]:
        return self.voters + self.learners

    def standing(self, member: int) -> Standing:
        if member in self.voters:
            return Standing.VOTER
        return Standing.LEARNER if member in self.learners else Standing.NONE

    def check(self) -> None:
        """ValueError unless the ids are positive, ascending and different, and there is a voter."""
        everyone = sorted(self.all)
        ascending = list(self.voters) == sorted(self.voters) and list(self.learners) == sorted(self.learners)
        if not self.voters or not ascending or len(set(everyone)) != len(everyone) or everyone[0] <= 0:
            raise ValueError(f"no set of members: voters {self.voters}, learners {self.learners}")
        if everyone[-1] >= 1 << 64:
            raise ValueError(f"member id {everyone[-1]:x} has more than 64 bits")

    def changed(self, member: int, standing: Standing) -> "Members":
        """The members after one change; ChangeRefusedError if nothing would change, or no voter be left."""
        if not 0 < member < 1 << 64:
            raise ChangeRefusedError(f"{member} cannot be the id of a member")
        if self.standing(member) is standing:
            raise ChangeRefusedError(f"member {member:x} is {standing.name.lower()} already")
        voters = set(self.voters) - {member}
        learners = set(self.learners) - {member}
        if standing is Standing.VOTER:
            voters.add(member)
        elif standing is Standing.LEARNER:
            learners.add(member)
        if not voters:
            raise ChangeRefusedError("the last voter must stay")
        return Members(tuple(sorted(voters)), tuple(sorted(learners)))


class _Change(msgspec.Struct, frozen=True, array_like=True):
    members: Members
    context: bytes


_decoder = msgspec.msgpack.Decoder(_Change)


def encode(members: Members, context: bytes = b"") -> bytes:
    """The data of a membership entry."""
    return msgspec.msgpack.encode(_Change(members, context))


def decode(data: bytes) -> Members:
    """The members in the data of a membership entry; ValueError for anything but `encode`'s outcome."""
    members = _decoder.decode(data).members
    members.check()
    return members


def context(data: bytes) -> bytes:
    """The context in the data of a membership entry; ValueError for anything but `encode`'s outcome."""
    return _decoder.decode(data).context


class Membership:
    """The members as the log has them at each index that matters: the applied one and those behind it."""

    def __init__(self, index: int, members: Members) -> None:
        self._history = [(index, members)]
        """Ascending by index, never empty; the first is committed."""
        self.current = members

    @property
    def changed_at(self) -> int:
        """Index of the last change, committed or not."""
        return self._history[-1][0]

    def at(self, index: int) -> Members:
        """The members as of entry `index`, which is the applied one or behind it."""
        for changed, members in reversed(self._history):
            if changed <= index:
                return members
        raise IndexError(f"the members at {index} are forgotten")

    def append(self, index: int, members: Members) -> None:
        self._history.append((index, members))
        self.current = members

    def truncate(self, index: int) -> None:
        """Entries from `index` on are gone."""
        while self._history[-1][0] >= index:
            self._history.pop()
        self.current = self._history[-1][1]

    def forget(self, applied: int) -> None:
        """Nobody will ask for what was before `applied`."""
        while len(self._history) > 1 and self._history[1][0] <= applied:
            self._history.pop(0)

    def restore(self, index: int, members: Members) -> None:
        self._history = [(index, members)]
        self.current = members
