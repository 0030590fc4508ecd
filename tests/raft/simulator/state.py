"""A state machine that is small and forgets nothing: two different histories never look the same."""

from struct import Struct
from typing import NamedTuple
from zlib import crc32

from core.raft.members import Members, decode
from core.raft.messages import Entry, Kind

_batch = Struct("<QQ")


class State(NamedTuple):
    """What a member has applied."""

    index: int  # type: ignore[assignment]
    term: int
    time: int
    """The cluster time of the last batch, in ns."""
    writes: int
    digest: int
    """Over every entry since the beginning."""
    members: Members


def encode(time: int, write: int) -> bytes:
    """A batch of one write."""
    return _batch.pack(time, write)


def write_of(entry: Entry) -> int:
    """Which write an entry is; 0: none."""
    return _batch.unpack(entry.data)[1] if entry.kind == Kind.COMMANDS and entry.data else 0


def applied(state: State, entry: Entry) -> State:
    """The state after one more entry."""
    _, _, time, writes, digest, members = state
    if entry.kind == Kind.MEMBERSHIP:
        members = decode(entry.data)
    elif entry.data:
        time = _batch.unpack(entry.data)[0]
        writes += 1
    return State(entry.index, entry.term, time, writes, crc32(entry.data, digest + entry.index), members)
