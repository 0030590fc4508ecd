"""Whether the members may be changed as asked: judged by the leader, before the change enters the log.

raft itself allows one change at a time. What is judged here would be allowed and still be a mistake: two members of one
name or URL, a vote for a member that lags behind, and a change after which no quorum is alive.
"""

from collections.abc import Callable, Iterable

from core.kv.commands import ChangeMember
from core.kv.keyspace import Keyspace
from core.kv.membership import Change, Member, encode
from core.node.errors import ChangeRefusedError, Obstacle
from core.raft import members
from core.raft.machine import Raft
from core.raft.members import Standing

BEHIND_ENTRIES = 1000
"""How far a learner may lag behind the leader and still get a vote."""

Alive = Callable[[int], bool]


def propose_change(raft: Raft, keyspace: Keyspace, command: ChangeMember, asking: int, token: int, alive: Alive) -> int:
    """Append the change to the leader's log and return its index. ChangeRefusedError says why not.

    `asking` waits for it by `token` if it is another member. `alive` tells whether a member was heard of lately.
    """
    known = {member.id: member for member in keyspace.members()}
    current = raft.members.standing(command.id)
    standing = current if command.standing is None else Standing(command.standing)
    if standing is Standing.NONE and current is Standing.NONE:
        removed = keyspace.was_removed(command.id)
        why = "was removed from the cluster already" if removed else "does not belong to the cluster"
        obstacle = Obstacle.REMOVED if removed else Obstacle.NOT_A_MEMBER
        raise ChangeRefusedError(obstacle, f"member {command.id:x} {why}; see member list")
    if current is Standing.VOTER and standing is not Standing.NONE and not command.peer_urls:
        raise ChangeRefusedError(Obstacle.VOTES_ALREADY, f"member {command.id:x} votes already")
    if keyspace.was_removed(command.id):
        raise ChangeRefusedError(
            Obstacle.REMOVED, f"member {command.id:x} was removed; add it as a new member with empty data"
        )
    described: tuple[Member, ...] = ()
    if command.peer_urls:
        _check_unique(command, known.values())
        described = (Member(command.id, command.name, command.peer_urls),)
    elif current is Standing.NONE:
        if standing is Standing.VOTER and not command.name:
            raise ChangeRefusedError(
                Obstacle.NOT_A_MEMBER, f"member {command.id:x} does not belong to the cluster; see member list"
            )
        raise ChangeRefusedError(Obstacle.NO_URL, "a new member needs the URLs at which the others reach it")
    if current is Standing.LEARNER and standing is Standing.VOTER:
        _check_caught_up(raft, command.id, alive)
    if standing is not current:
        _check_quorum(raft, command.id, standing, alive)
        _check_sound(raft, keyspace, command.id, standing)
    try:
        return raft.change(command.id, standing, encode(Change(described, asking, token)))
    except members.ChangeRefusedError as error:
        raise ChangeRefusedError(Obstacle.NOT_NOW, f"{error}; try again in a moment") from error


def _check_unique(command: ChangeMember, known: Iterable[Member]) -> None:
    for member in known:
        if member.id == command.id:
            continue
        if command.name and member.name == command.name:
            raise ChangeRefusedError(
                Obstacle.NAME_TAKEN, f"member {member.id:x} has the name {command.name} already; choose another"
            )
        shared = set(member.peer_urls) & set(command.peer_urls)
        if shared:
            raise ChangeRefusedError(
                Obstacle.URL_TAKEN, f"member {member.id:x} is reached at {sorted(shared)[0]} already"
            )


def _check_caught_up(raft: Raft, member: int, alive: Alive) -> None:
    progress = raft.lead.progress.get(member) if raft.lead is not None else None
    if progress is None or not progress.match or not alive(member):
        raise ChangeRefusedError(
            Obstacle.BEHIND, f"learner {member:x} is not heard of; a vote for it could stop the cluster. Start it first"
        )
    behind = raft.last_index - progress.match
    if behind > BEHIND_ENTRIES:
        raise ChangeRefusedError(
            Obstacle.BEHIND,
            f"learner {member:x} is {behind} entries behind; a vote for it could stop the cluster. Try again later",
        )


def _check_sound(raft: Raft, keyspace: Keyspace, member: int, standing: Standing) -> None:
    """Refuse to leave nobody who may lead."""
    if standing is Standing.VOTER:
        return
    fenced = {each.member for each in keyspace.suspicions() if each.judged}
    if fenced >= set(raft.members.voters) - {member}:
        raise ChangeRefusedError(
            Obstacle.NO_QUORUM, f"only members whose state is wrong would stay beside {member:x}; replace those first"
        )


def _check_quorum(raft: Raft, member: int, standing: Standing, alive: Alive) -> None:
    """Refuse a change after which fewer than a quorum of the voters would be alive."""
    voters = set(raft.members.voters)
    after = (voters | {member}) if standing is Standing.VOTER else voters - {member}
    if after == voters or after == {raft.member}:
        return
    needed = len(after) // 2 + 1
    living = {voter for voter in after if voter == raft.member or alive(voter)}
    first_of_two = len(voters) == 1  # how else would a cluster grow
    if len(living) < needed and not (first_of_two and standing is Standing.VOTER):
        missing = ", ".join(f"{voter:x}" for voter in sorted(after - living))
        raise ChangeRefusedError(
            Obstacle.NO_QUORUM,
            f"of the {len(after)} voters there would be then, {needed} must be alive, but {missing} cannot be reached; "
            "remove those that are dead first, or start the new one as a learner",
        )
