"""The values that raft keeps and exchanges.

Each message is a frozen structure; `to_bytes` makes MessagePack of it, and `from_bytes` checks every type and range
while it reads that back. `check` looks at what types cannot say.
"""

from enum import IntEnum
from typing import Annotated

import msgspec

from core.raft.members import Members, decode

Number = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
"""An index, a term or a round."""


class Kind(IntEnum):
    """What an entry's data is."""

    COMMANDS = 0
    """A batch for the state machine; empty data is the first entry of a term."""
    MEMBERSHIP = 1
    """The members from this entry on, and a context (`core.raft.members.decode`, `context`)."""


class Entry(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One place in the log."""

    index: Number
    """1 for the first entry of a cluster."""
    term: Number
    kind: Annotated[int, msgspec.Meta(ge=0, le=255)]
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

    index: Number
    """The last entry it contains."""
    term: Number
    members: Members
    """As of that entry."""


class _Message(msgspec.Struct, frozen=True, gc=False, array_like=True):
    term: Number
    """The sender's term; in `PreVote` and where it is granted, the one it would begin."""


class PreVote(_Message, frozen=True, gc=False, array_like=True, tag=1):
    """Would you vote for me? Changes nothing at anybody (section 9.6)."""

    last_index: Number
    last_term: Number


class PreVoteReply(_Message, frozen=True, gc=False, array_like=True, tag=2):
    granted: bool


class Vote(_Message, frozen=True, gc=False, array_like=True, tag=3):
    """Vote for me in this term."""

    last_index: Number
    last_term: Number
    transfer: bool
    """The leader asked for this election: hearing from it is no reason to ignore the candidate."""


class VoteReply(_Message, frozen=True, gc=False, array_like=True, tag=4):
    granted: bool


class Append(_Message, frozen=True, gc=False, array_like=True, tag=5):
    """Entries behind the place (`index`, `log_term`), possibly none."""

    index: Number
    log_term: Number
    commit: Number
    entries: tuple[Entry, ...]


class AppendReply(_Message, frozen=True, gc=False, array_like=True, tag=6):
    """The log agrees with the leader's up to `index`; rejected: it has no such place as (`index`, asked term)."""

    index: Number
    rejected: bool = False
    hint_index: Number = 0
    """Where the two logs might agree: the last place here with a term that is not above the asked one."""
    hint_term: Number = 0


class Heartbeat(_Message, frozen=True, gc=False, array_like=True, tag=7):
    commit: Number
    """Never above what the receiver acknowledged."""
    round: Number
    """The round of reads that waits for an answer to this; 0: none."""


class HeartbeatReply(_Message, frozen=True, gc=False, array_like=True, tag=8):
    round: Number


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
    index: Number
    """Reads are linearizable once this is applied; 0: refused."""


Message = (
    PreVote | PreVoteReply | Vote | VoteReply | Append | AppendReply | Heartbeat | HeartbeatReply | InstallSnapshot
    | TimeoutNow | ReadRequest | ReadReply
)  # fmt: skip

Answer = AppendReply | HeartbeatReply | PreVoteReply | VoteReply | ReadRequest
"""What only a member of the receiver's own set has reason to send it."""


class MessageError(ValueError):
    """A message that no rule sends. It changed nothing; whoever brought it deserves no more trust."""


def check(message: Message) -> None:
    """MessageError if the parts of a message contradict each other."""
    match message:
        case Append():
            _check_entries(message)
        case InstallSnapshot(term=term, snapshot=snapshot):
            if not (snapshot.index > 0 and 0 < snapshot.term <= term):
                raise MessageError(f"a snapshot of entry {snapshot.index}, term {snapshot.term}, sent in term {term}")
            try:
                snapshot.members.check()
            except ValueError as error:
                raise MessageError(f"a snapshot with {error}") from error


def _check_entries(message: Append) -> None:
    """They follow one another, in terms that never fall and do not exceed the sender's."""
    index, term = message.index, message.log_term
    if term > message.term:
        raise MessageError(f"entries behind term {term}, sent in term {message.term}")
    for entry in message.entries:
        index += 1
        if entry.index != index:
            raise MessageError(f"entry {entry.index} sent where {index} is due")
        if not max(term, 1) <= entry.term <= message.term:
            raise MessageError(f"entry {index} of term {entry.term} behind term {term}, sent in term {message.term}")
        term = entry.term
        if entry.kind == Kind.MEMBERSHIP:
            try:
                decode(entry.data)
            except ValueError as error:
                raise MessageError(f"entry {index} names no members: {error}") from error


_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def to_bytes(message: Message) -> bytes:
    """An array, in which the first element tells the kind of message."""
    return _ENCODER.encode(message)


def from_bytes(data: bytes) -> Message:
    """The message; msgspec.MsgspecError if it is none."""
    return _DECODER.decode(data)
