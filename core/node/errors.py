"""Why a node does not carry out a command. Each text says why, and what to do."""


class ProposalError(Exception):
    """The node did not carry out a command, or cannot say whether it did."""


class OverloadedError(ProposalError):
    """The queue is full; nothing was proposed. Try again later."""


class NoSpaceError(ProposalError):
    """The disk or the quota is full; nothing was proposed."""


class NoLeaderError(ProposalError):
    """No leader is known; nothing was proposed."""


class OutcomeUnknownError(ProposalError):
    """Leadership or time ran out in between: the command may or may not take effect. Nobody repeats it."""


class ChangeRefusedError(ProposalError):
    """The members must not be changed so, or not now; nothing was proposed."""
