"""Commands that wait for the next turn: bounded in number and bytes, each with whoever waits for its outcome."""

from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from core.kv.commands import (
    Admitted,
    Command,
    CompareAndSwap,
    Create,
    LeaseGrant,
    Operation,
    Put,
    RoleCreate,
    Set,
    Txn,
    Update,
    UserCreate,
)

_WITH_PATH = (Set, Create, Update, CompareAndSwap)
_ADDING = (*_WITH_PATH, Put, LeaseGrant, UserCreate, RoleCreate)
# Tuples, made once: `A | B` makes an object each time it is evaluated.

QUEUE_COMMANDS = 8192
QUEUE_BYTES = 64 << 20
BATCH_OPERATIONS = 1024
"""Those of transactions count one by one: a batch of single writes or of transactions is applied in one piece, in some
10 ms."""
BATCH_BYTES = 2 << 20
"""Of large values, to encode and save so many and send them to two others keeps the loop for some 10 ms."""

Done = Callable[[Any], None]


class Proposal(msgspec.Struct, gc=False):
    """A command and whom to tell."""

    command: Command
    done: Done
    size: int
    operations: int
    member: int = 0
    """The other member that handed it over, and by which token it knows it."""
    token: int = 0


class ProposalQueue:
    """First in, first out. `put` says no rather than wait."""

    def __init__(self) -> None:
        self._waiting: deque[Proposal] = deque()
        self.bytes = 0
        self._operations = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, proposal: Proposal) -> bool:
        """Queue a command; False if the queue is full."""
        if len(self._waiting) >= QUEUE_COMMANDS or self.bytes + proposal.size > QUEUE_BYTES:
            return False
        self._waiting.append(proposal)
        self.bytes += proposal.size
        self._operations += proposal.operations
        return True

    def put_back(self, batch: list[Proposal]) -> None:
        """What was taken could not go on: it is the next again."""
        self._waiting.extendleft(reversed(batch))
        self.bytes += sum([proposal.size for proposal in batch])
        self._operations += sum([proposal.operations for proposal in batch])

    def take_all(self) -> list[Proposal]:
        """Everything."""
        batch = list(self._waiting)
        self._waiting.clear()
        self.bytes = self._operations = 0
        return batch

    def take(self) -> list[Proposal]:
        """The next batch: at least one command if any waits, then as many as fit."""
        if self._operations <= BATCH_OPERATIONS and self.bytes <= BATCH_BYTES:
            return self.take_all()
        waiting = self._waiting
        batch: list[Proposal] = []
        size = operations = 0
        while waiting:
            size += waiting[0].size
            operations += waiting[0].operations
            if batch and (size > BATCH_BYTES or operations > BATCH_OPERATIONS):
                break
            proposal = waiting.popleft()
            self.bytes -= proposal.size
            self._operations -= proposal.operations
            batch.append(proposal)
        return batch


def size_of(command: Command | Operation) -> int:
    """About how many bytes a command holds."""
    if isinstance(command, _WITH_PATH):
        return 128 + len(command.path) + len(command.value)
    if isinstance(command, Put):
        return 128 + len(command.key) + len(command.value)
    if isinstance(command, Admitted):
        return size_of(command.command)
    if isinstance(command, Txn):
        return 128 + sum(size_of(operation) for operation in (*command.success, *command.failure))
    return 128


def operations_of(command: Command | Operation) -> int:
    """How many a command has: one, or those of a transaction with all within."""
    if isinstance(command, Admitted):
        return operations_of(command.command)
    if isinstance(command, Txn):
        return 1 + sum(map(operations_of, (*command.success, *command.failure)))
    return 1


def adds_data(command: Command | Operation) -> bool:
    """Whether a command may make the state larger, so that it is refused when space is short. Taking rights away is
    possible at any time, and so is all that restricts access."""
    if isinstance(command, Admitted):
        return adds_data(command.command)
    if isinstance(command, Txn):
        return any(adds_data(operation) for operation in (*command.success, *command.failure))
    return isinstance(command, _ADDING)
