"""Elections: who stands, who gets a vote (sections 3.4, 3.6.1, 4.2.3 and 9.6).

PreVote: a member asks whether it would win before it begins a term, so that one who was away, or is cut off in one
direction, does not depose a leader that works. A member that hears from a leader ignores candidates altogether, unless
the leader itself asked for the election, or its connection to the leader broke (`Raft.miss`); the leader in turn steps
down when it does not hear a quorum (CheckQuorum).
"""

from core.raft.messages import PreVote, PreVoteReply, Vote, VoteReply
from core.raft.quorum import has_majority, majority_lost
from core.raft.state import Role, State


class Ballot:
    """The votes of one candidacy, asked for or given."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.granted = {state.member}
        self.refused: set[int] = set()

    def count(self, member: int, granted: bool) -> None:
        """A member answered. Its first answer counts."""
        if member not in self.granted | self.refused:
            (self.granted if granted else self.refused).add(member)

    @property
    def won(self) -> bool:
        return has_majority(self._state.members.voters, self.granted)

    @property
    def lost(self) -> bool:
        return majority_lost(self._state.members.voters, self.refused)


def ask(state: State, *, transfer: bool = False) -> Ballot:
    """Ask the other voters, in the candidate's role that `state` has. Held: the own vote is saved first."""
    log = state.log
    for voter in state.members.voters:
        if voter == state.member:
            continue
        if state.role is Role.PRE_CANDIDATE:
            state.held.append((voter, PreVote(state.term + 1, log.last_index, log.last_term)))
        else:
            state.held.append((voter, Vote(state.term, log.last_index, log.last_term, transfer)))
    return Ballot(state)


def hears_leader(state: State) -> bool:
    """Whether there is no reason for an election. A leader that hears no quorum has stepped down by itself."""
    return state.leader != 0 and state.elapsed < state.settings.election_ticks


def is_up_to_date(state: State, message: Vote | PreVote) -> bool:
    """Whether the candidate's log has all that may be committed, as far as this member can tell."""
    return (message.last_term, message.last_index) >= (state.log.last_term, state.log.last_index)


def on_pre_vote(state: State, sender: int, message: PreVote) -> None:
    granted = message.term > state.term and is_up_to_date(state, message)
    state.held.append((sender, PreVoteReply(message.term if granted else state.term, granted)))


def on_vote(state: State, sender: int, message: Vote) -> None:
    """A candidate of this member's term asks; one vote a term, saved before it is told."""
    free = state.vote == sender or (state.vote == 0 and state.leader == 0)
    granted = free and is_up_to_date(state, message)
    if granted:
        state.vote = sender
        state.elapsed = 0
    state.held.append((sender, VoteReply(state.term, granted)))
