"""What came from other members and waits for the next turn: bounded, and checked before it is queued."""

from collections import deque
from typing import Any

import msgspec

from core.kv import commands
from core.kv.commands import Command
from core.node.errors import ProposalError
from core.node.forwarding import read_forward, read_refusal
from core.node.peers import Frame
from core.raft.messages import Append, Message, from_bytes

INBOX_FRAMES = 8192
INBOX_BYTES = 128 << 20
"""Beyond, frames are dropped: raft says again what matters, and a forwarded command is given up by who waits for it."""


class FromRaft(msgspec.Struct, gc=False):
    """A message for the rules."""

    sender: int
    message: Message
    size: int


class Handed(msgspec.Struct, gc=False):
    """Commands that a follower hands over."""

    sender: int
    token: int
    commands: tuple[Command, ...]
    size: int


class Refused(msgspec.Struct, gc=False):
    """A forwarded command that the leader did not propose."""

    sender: int
    token: int
    error: ProposalError
    size: int = 0


class Transfer(msgspec.Struct, gc=False):
    """A follower was asked that the lead be handed over."""

    sender: int
    heir: int
    size: int = 0


class Hashed(msgspec.Struct, gc=False):
    """Somebody's hash of the state at an entry; empty: it is asked for."""

    sender: int
    index: int
    digest: bytes
    size: int = 0


Item = FromRaft | Handed | Refused | Transfer | Hashed


class Inbox:
    """First in, first out."""

    def __init__(self) -> None:
        self._waiting: deque[Item] = deque()
        self._bytes = 0
        self.dropped = 0
        """Frames that found no room."""

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, item: Item) -> None:
        """Queue it, or drop it."""
        if len(self._waiting) >= INBOX_FRAMES or self._bytes + item.size > INBOX_BYTES:
            self.dropped += 1
            return
        self._waiting.append(item)
        self._bytes += item.size

    def take(self) -> Item:
        """The oldest."""
        item = self._waiting.popleft()
        self._bytes -= item.size
        return item

    def clear(self) -> None:
        """Forget all: who sent it counts it as lost."""
        self._waiting.clear()
        self._bytes = 0


def read(sender: int, kind: int, content: Any) -> Item:
    """What a frame holds; ValueError if it is not what its kind says."""
    try:
        if kind == Frame.RAFT and isinstance(content, bytes):
            message = from_bytes(content)
            size = sum(len(entry.data) for entry in message.entries) if isinstance(message, Append) else 0
            return FromRaft(sender, message, size)
        if kind == Frame.FORWARD:
            token, batch = read_forward(content)
            handed = commands.decode(batch).commands
            if any(map(commands.is_too_deep, handed)):
                raise ValueError("a transaction that is nested too deep")
            return Handed(sender, token, handed, len(batch))
    except msgspec.MsgspecError as error:
        raise ValueError(f"a frame with unreadable content: {error}") from error
    if kind == Frame.REFUSE:
        return Refused(sender, *read_refusal(content))
    if kind == Frame.TRANSFER and isinstance(content, int):
        return Transfer(sender, content)
    if kind == Frame.HASH:
        match content:
            case [int(index), bytes(digest)] if len(digest) <= 64:
                return Hashed(sender, index, digest)
    raise ValueError(f"a frame of unknown kind {kind}")
