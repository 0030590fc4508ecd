"""The values that raft keeps and exchanges.

Each message is a frozen structure; `to_plain` makes nested lists of integers, booleans and bytes of it, which any
encoding can carry (MessagePack, CBOR), and `from_plain` checks every type while it reads them back.
"""

from enum import IntEnum
from typing import Any

import msgspec

from core.raft.members import Members


class Kind(IntEnum):
    """What an entry's data is."""

    COMMANDS = 0
    """A batch for the state machine; empty data is the first entry of a term."""
    MEMBERSHIP = 1
    """The members from this entry on, and a context (`core.raft.members.decode`, `context`)."""


class Entry(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One place in the log."""

    index: int
    """1 for the first entry of a cluster."""
    term: int
    kind: int
    data: bytes


class HardState(msgspec.Struct, frozen=True, gc=False):
    """What a member must never forget."""

    term: int = 0
    vote: int = 0
    """Member id this member voted for in `term`; 0: nobody."""
    commit: int = 0
    """Highest index known to be committed. May lag behind the truth, never ahead of it."""


class Snapshot(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What a state of the state machine stands for; the state itself travels apart."""

    index: int
    """The last entry it contains."""
    term: int
    members: Members
    """As of that entry."""


class _Message(msgspec.Struct, frozen=True, gc=False, array_like=True):
    term: int
    """The sender's term; in `PreVote` and where it is granted, the one it would begin."""


class PreVote(_Message, frozen=True, gc=False, array_like=True, tag=1):
    """Would you vote for me? Changes nothing at anybody (section 9.6)."""

    last_index: int
    last_term: int


class PreVoteReply(_Message, frozen=True, gc=False, array_like=True, tag=2):
    granted: bool


class Vote(_Message, frozen=True, gc=False, array_like=True, tag=3):
    """Vote for me in this term."""

    last_index: int
    last_term: int
    transfer: bool
    """The leader asked for this election: hearing from it is no reason to ignore the candidate."""


class VoteReply(_Message, frozen=True, gc=False, array_like=True, tag=4):
    granted: bool


class Append(_Message, frozen=True, gc=False, array_like=True, tag=5):
    """Entries behind the place (`index`, `log_term`), possibly none."""

    index: int
    log_term: int
    commit: int
    entries: tuple[Entry, ...]


class AppendReply(_Message, frozen=True, gc=False, array_like=True, tag=6):
    """The log agrees with the leader's up to `index`; rejected: it has no such place as (`index`, asked term)."""

    index: int
    rejected: bool = False
    hint_index: int = 0
    """Where the two logs might agree: the last place here with a term that is not above the asked one."""
    hint_term: int = 0


class Heartbeat(_Message, frozen=True, gc=False, array_like=True, tag=7):
    commit: int
    """Never above what the receiver acknowledged."""
    round: int
    """The round of reads that waits for an answer to this; 0: none."""


class HeartbeatReply(_Message, frozen=True, gc=False, array_like=True, tag=8):
    round: int


class InstallSnapshot(_Message, frozen=True, gc=False, array_like=True, tag=9):
    """The follower needs entries that are gone. Whoever carries this message brings the state before it is stepped."""

    snapshot: Snapshot


class TimeoutNow(_Message, frozen=True, gc=False, array_like=True, tag=10):
    """Stand for election at once (section 3.10)."""


class ReadRequest(_Message, frozen=True, gc=False, array_like=True, tag=11):
    """From which index on may I read? `token` comes back with the answer."""

    token: int


class ReadReply(_Message, frozen=True, gc=False, array_like=True, tag=12):
    token: int
    index: int
    """Reads are linearizable once this is applied; 0: refused."""


Message = (
    PreVote | PreVoteReply | Vote | VoteReply | Append | AppendReply | Heartbeat | HeartbeatReply | InstallSnapshot
    | TimeoutNow | ReadRequest | ReadReply
)  # fmt: skip


def to_plain(message: Message) -> list[Any]:
    """Nested lists of integers, booleans and bytes; the first element tells the kind of message."""
    plain: list[Any] = msgspec.to_builtins(message, builtin_types=(bytes,))
    return plain


def from_plain(plain: object) -> Message:
    """The message; msgspec.ValidationError if it is none."""
    message: Message = msgspec.convert(plain, Message, builtin_types=(bytes,))
    return message
