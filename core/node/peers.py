"""What the node asks of its links to the other members; `core.peer` fulfils it."""

from collections.abc import AsyncIterable, Sequence
from enum import IntEnum
from typing import Any, Protocol

from core.raft.messages import InstallSnapshot, Message, to_bytes


class Frame(IntEnum):
    """What a frame between members holds. A number is never used twice."""

    RAFT = 1
    """A message of raft (`core.raft.messages.to_bytes`)."""
    FORWARD = 2
    """Commands for the leader: [token of the first, an encoded batch of them]."""
    REFUSE = 3
    """A forwarded command that was not proposed: [its token, which `Refusal`, a detail of it, why]."""
    TRANSFER = 4
    """Somebody wants that the leader hands over the lead: to which member."""
    HASH = 5
    """The hash of the state at an entry where states are compared: [index, hash]; without a hash it is asked for."""


class Peers(Protocol):
    """Links to the other members. What they carry is made of lists, integers, booleans, texts and bytes."""

    def send(self, member: int, kind: int, content: Any) -> bool:
        """Hand over a frame without waiting; False if it will not leave: no link, or too much waits already.

        The same bytes for one member after the other are made a frame once.
        """
        ...

    async def send_snapshot(self, member: int, content: Any, pieces: AsyncIterable[bytes]) -> None:
        """Bring a snapshot; returns when the member has installed it. Any failure is an OSError that says why."""
        ...


def post(peers: Peers, messages: Sequence[tuple[int, Message]]) -> list[tuple[int, InstallSnapshot]]:
    """Send raft's messages, but for those that take a whole state along: these are returned. What goes to several
    members in a row is encoded once."""
    states: list[tuple[int, InstallSnapshot]] = []
    last: Message | None = None
    encoded = b""
    for member, message in messages:
        if isinstance(message, InstallSnapshot):
            states.append((member, message))
            continue
        if message is not last:
            last, encoded = message, to_bytes(message)
        peers.send(member, Frame.RAFT, encoded)
    return states


class NoPeers:
    """The links of a member that is alone."""

    def send(self, member: int, kind: int, content: Any) -> bool:
        """Nobody is there."""
        return False

    async def send_snapshot(self, member: int, content: Any, pieces: AsyncIterable[bytes]) -> None:
        """Nobody is there."""
        raise OSError(f"member {member:x} cannot be reached: this node opens no peer port")
