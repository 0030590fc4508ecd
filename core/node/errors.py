"""Why a node does not carry out a command. Each text says why, and what to do."""

from enum import IntEnum

from core.kv.errors import DamagedError


class ProposalError(Exception):
    """The node did not carry out a command, or cannot say whether it did."""


class OverloadedError(ProposalError):
    """The queue is full; nothing was proposed. Try again later."""


class NoSpaceError(ProposalError):
    """The disk or the quota is full; nothing was proposed."""


class NoLeaderError(ProposalError):
    """No leader is known; nothing was proposed."""


class FencedError(NoLeaderError):
    """This member's state differs from that of the others, so that no answer may rest on it; nothing was proposed."""


class GatedError(NoLeaderError):
    """Not all members know this kind of command yet; nothing was proposed."""


class OutcomeUnknownError(ProposalError):
    """Leadership or time ran out in between: the command may or may not take effect. Nobody repeats it."""


class UnreadableEntryError(DamagedError):
    """The log holds what this program does not understand, so that it cannot go on."""


class Obstacle(IntEnum):
    """Why the members are not changed as asked. The numbers travel between members."""

    NOT_A_MEMBER = 1
    REMOVED = 2
    NAME_TAKEN = 3
    URL_TAKEN = 4
    NO_URL = 5
    VOTES_ALREADY = 6
    BEHIND = 7
    """The learner has not caught up."""
    NO_QUORUM = 8
    """Too few voters would be alive."""
    NOT_NOW = 9
    """Another change is under way, or the leader is new."""


class ChangeRefusedError(ProposalError):
    """The members must not be changed so, or not now; nothing was proposed."""

    def __init__(self, obstacle: Obstacle, text: str) -> None:
        super().__init__(text)
        self.obstacle = obstacle
