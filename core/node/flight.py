"""Entries that this member proposed and that are not applied yet: whom to tell what their commands came to."""

from collections.abc import Sequence

from core.node.errors import OutcomeUnknownError, ProposalError
from core.node.queue import Done

ENTRIES = 64
BYTES = 64 << 20
"""How much may be proposed and not applied: beyond, commands wait in the queue, which refuses when it is full."""

LOST = "the lead was lost while the command was under way; it may or may not take effect, read before repeating it"


class Flight:
    """By log index."""

    def __init__(self) -> None:
        self._entries: dict[int, tuple[int, Sequence[Done], int]] = {}
        """Index -> term in which it was proposed, who waits for each of its commands, bytes."""
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def has_room(self) -> bool:
        return len(self._entries) < ENTRIES and self._bytes < BYTES

    def add(self, index: int, term: int, waiting: Sequence[Done], size: int) -> None:
        """Entry `index` was proposed, with `size` bytes of commands for those who wait."""
        self._entries[index] = term, waiting, size
        self._bytes += size

    def land(self, index: int, term: int) -> Sequence[Done]:
        """Who waits for the entry that was applied. If another leader wrote it they are told so."""
        found = self._entries.get(index)
        if found is not None and found[0] != term:
            self.fail(index, OutcomeUnknownError(LOST))
        _, waiting, size = self._entries.pop(index, (0, (), 0))
        self._bytes -= size
        return waiting

    def fail(self, index: int, error: ProposalError) -> None:
        """Tell those that wait for that entry why they wait in vain."""
        _, waiting, size = self._entries.pop(index, (0, (), 0))
        self._bytes -= size
        for done in waiting:
            done(error)

    def fail_all(self, error: ProposalError) -> None:
        """Tell all."""
        for index in list(self._entries):
            self.fail(index, error)
