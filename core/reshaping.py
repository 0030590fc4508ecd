"""Changes of the members as the v3 dialect asks for them, carried out by this member's node."""

from collections.abc import Callable, Sequence

from core.api import members
from core.api.store import ChangeRefusedError, NoLeaderError, Obstacle, Outcome, ProposalError
from core.api.v2.cluster import Member
from core.api.v3.cluster import Changed, WhyNot
from core.kv.commands import ChangeMember
from core.kv.membership import Change
from core.node.local import LocalStore
from core.raft.members import Standing

_WHY = {
    Obstacle.NOT_A_MEMBER: WhyNot.NOT_FOUND,
    Obstacle.REMOVED: WhyNot.NOT_FOUND,
    Obstacle.NAME_TAKEN: WhyNot.EXISTS,
    Obstacle.URL_TAKEN: WhyNot.URLS_EXIST,
    Obstacle.NO_URL: WhyNot.NOT_FOUND,
    Obstacle.VOTES_ALREADY: WhyNot.NO_LEARNER,
    Obstacle.BEHIND: WhyNot.BEHIND,
    Obstacle.NO_QUORUM: WhyNot.NOT_ENOUGH,
    Obstacle.NOT_NOW: WhyNot.UNHEALTHY,
}


class Reshaping:
    """Adds, removes, moves and promotes."""

    def __init__(
        self, store: LocalStore, find: Callable[[str], Member | None], leader: Callable[[], str | None]
    ) -> None:
        """`find` gives the member of an id, `leader` the id of the one that leads."""
        self._store = store
        self._find = find
        self._leader = leader

    def add(self, peer_urls: Sequence[str], *, learner: bool, done: Changed) -> None:
        """Let a member in; `done` gets it."""
        command = members.new_member("", peer_urls, learner=learner)
        self._change(command, Member(f"{command.id:x}", "", command.peer_urls, ()), done)

    def remove(self, member: str, done: Changed) -> None:
        """Put a member out."""
        self._change(ChangeMember(int(member, 16), Standing.NONE), None, done)

    def update(self, member: str, peer_urls: Sequence[str], done: Changed) -> None:
        """Reach a member elsewhere."""
        self._change(ChangeMember(int(member, 16), None, "", members.checked(peer_urls)), None, done)

    def promote(self, member: str, done: Changed) -> None:
        """Give a learner a vote."""
        self._change(ChangeMember(int(member, 16), Standing.VOTER), None, done)

    def transfer(self, member: str, own: str, done: Changed) -> None:
        """Let another lead. As in etcd, only the leader is asked."""
        heir = self._find(member)
        if self._leader() != own:
            done(WhyNot.NOT_LEADER)
        elif heir is None:
            done(WhyNot.BAD_TRANSFEREE)
        else:
            self._store.transfer(int(member, 16), lambda error: done(heir if error is None else _why(error)))

    def _change(self, command: ChangeMember, added: Member | None, done: Changed) -> None:
        def settled(outcome: Outcome) -> None:
            done(added if isinstance(outcome, Change) else _why(outcome))

        members.change(self._store, command, settled)


def _why(error: Outcome | ProposalError) -> WhyNot:
    if isinstance(error, ChangeRefusedError):
        return _WHY[error.obstacle]
    return WhyNot.NO_LEADER if isinstance(error, NoLeaderError) else WhyNot.UNKNOWN
