"""The beginning of a cluster that has several members from the start."""

from collections.abc import Collection

from core.raft.members import Members, encode
from core.raft.messages import Entry, HardState, Kind


def found(voters: Collection[int], context: bytes = b"") -> tuple[Entry, HardState]:
    """What every founding member saves, in one commit, before it opens its empty log with `applied` 0 and `Members()`.

    The entry names the voters and counts as committed: all founders write the same, and who joins later begins with an
    empty log and is sent it. That all of them mean the same, same context included, is for the driver to make sure,
    for example by an id of the cluster that is derived from it: entries of equal index and term are never compared.
    ValueError for what is no set of voters.
    """
    members = Members(tuple(sorted(voters)))
    members.check()
    return Entry(1, 1, Kind.MEMBERSHIP, encode(members, context)), HardState(term=1, vote=0, commit=1)
