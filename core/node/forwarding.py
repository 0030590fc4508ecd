"""Commands that this member handed to the leader: who waits for them, until they are applied here.

A follower does not wait for the leader's answer but for the entry itself: the leader notes in it who asked
(`core.kv.commands.Origin`), and whoever asked is answered when his own member has applied it, so that he reads what he
wrote. The leader answers only what it did not propose. When another leads, or the time is over, the outcome is unknown.
"""

from collections import OrderedDict
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import msgspec

from core.node.errors import (
    ChangeRefusedError,
    GatedError,
    NoLeaderError,
    NoSpaceError,
    Obstacle,
    OutcomeUnknownError,
    OverloadedError,
    ProposalError,
)
from core.node.queue import Proposal

WAIT_SECONDS = 5.0
"""How long a forwarded command may stay without an outcome."""
FORWARDED_COMMANDS = 8192
FORWARDED_BYTES = 64 << 20
"""How much is at the leader at most; beyond, commands wait in the queue, which refuses when it is full."""

_LOST = "the lead changed while the command was under way; it may or may not take effect, read before repeating it"
_LATE = "the leader did not answer in time; the command may or may not take effect, read before repeating it"


class Refusal(IntEnum):
    """Why a leader did not propose what was forwarded."""

    NO_LEADER = 1
    OVERLOADED = 2
    NO_SPACE = 3
    CHANGE = 4
    GATED = 5


_ERRORS: dict[Refusal, type[ProposalError]] = {
    Refusal.NO_LEADER: NoLeaderError,
    Refusal.OVERLOADED: OverloadedError,
    Refusal.NO_SPACE: NoSpaceError,
    Refusal.GATED: GatedError,
}


def refusal_of(error: ProposalError) -> list[int] | None:
    """How an error travels to the member that forwarded the command; None if the command may yet take effect."""
    if isinstance(error, ChangeRefusedError):
        return [Refusal.CHANGE, error.obstacle]
    return next(([refusal, 0] for refusal, kind in _ERRORS.items() if type(error) is kind), None)


def _error_of(refusal: Refusal, detail: int, why: str) -> ProposalError:
    return ChangeRefusedError(Obstacle(detail), why) if refusal is Refusal.CHANGE else _ERRORS[refusal](why)


class _Waiting(msgspec.Struct, gc=False):
    proposal: Proposal
    deadline: float


class Forwarded:
    """What is at the leader, by token, oldest first."""

    def __init__(self, first_token: int) -> None:
        """Tokens count on from `first_token`; they must not come again after a restart."""
        self._first = self._next = first_token
        self._waiting: OrderedDict[int, _Waiting] = OrderedDict()
        self._bytes = 0
        self.leader = 0
        """To whom all of these went."""

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def total(self) -> int:
        """All that were ever sent."""
        return self._next - self._first

    @property
    def has_room(self) -> bool:
        return len(self._waiting) < FORWARDED_COMMANDS and self._bytes < FORWARDED_BYTES

    def add(self, batch: Sequence[Proposal], leader: int, now: float) -> int:
        """Note that a batch goes to the leader; the token of its first command."""
        token = self._next
        self._next += len(batch)
        self.leader = leader
        for number, proposal in enumerate(batch, token):
            self._waiting[number] = _Waiting(proposal, now + WAIT_SECONDS)
            self._bytes += proposal.size
        return token

    def take(self, token: int) -> Proposal | None:
        """Who waits for that command; nobody does any more."""
        waiting = self._waiting.pop(token, None)
        if waiting is None:
            return None
        self._bytes -= waiting.proposal.size
        return waiting.proposal

    def refuse(self, token: int, error: ProposalError) -> None:
        """The leader did not propose this one."""
        proposal = self.take(token)
        if proposal is not None:
            proposal.done(error)

    def give_up(self) -> None:
        """Another leads now: say of all that nobody knows."""
        self._give_up(list(self._waiting), _LOST)

    def give_up_overdue(self, now: float) -> None:
        """Say of those that waited for too long that nobody knows."""
        overdue = []
        for token, waiting in self._waiting.items():
            if waiting.deadline > now:
                break
            overdue.append(token)
        self._give_up(overdue, _LATE)

    def _give_up(self, tokens: list[int], why: str) -> None:
        for token in tokens:
            proposal = self.take(token)
            if proposal is not None:
                proposal.done(OutcomeUnknownError(why))


def read_forward(content: Any) -> tuple[int, bytes]:
    """Token and encoded batch of a FORWARD frame; ValueError if it is none."""
    match content:
        case [int(token), bytes(batch)] if token >= 0:
            return token, batch
    raise ValueError("not a forwarded batch")


def read_refusal(content: Any) -> tuple[int, ProposalError]:
    """Token and error of a REFUSE frame; ValueError if it is none."""
    match content:
        case [int(token), int(refusal), int(detail), str(why)] if refusal in set(Refusal):
            return token, _error_of(Refusal(refusal), detail, why)
    raise ValueError("not a refusal")
