"""All links of this member, as those see it who use them."""

import logging
import random
import secrets
from collections.abc import AsyncIterable, Callable, Iterable, Mapping

import trio

from core.peer import plain
from core.peer.connection import Connection, Dialler
from core.peer.errors import PeerError, PeerRefusedError
from core.peer.frames import OWN, frame
from core.peer.identity import Address, LinkState, PeerIdentity
from core.peer.incoming import Incoming, Receive
from core.peer.limits import Limits
from core.peer.outgoing import Outgoing
from core.peer.plain import Plain
from core.peer.reasons import Reason
from core.peer.register import Register
from core.peer.secure import Contexts, IsRevoked, MakeContext
from core.peer.snapshots import Install, Receiving, Sending
from core.peer.upgrade import SNAPSHOT

ALIVE_BEATS = 2
"""A link that was heard from within so many beats is not given up for another process with the same identity."""

_logger = logging.getLogger(__name__)


def _nobody(_: int) -> bool:
    return False


def _ignore() -> None:
    return None


def _ignore_member(_: int) -> None:
    return None


class Links:
    """The links of one process to the other members of its cluster."""

    def __init__(
        self,
        identity: PeerIdentity,
        receive: Receive,
        install: Install,
        *,
        connect: MakeContext | None = None,
        is_revoked: IsRevoked = _nobody,
        removed: Callable[[], None] = _ignore,
        lost: Callable[[int], None] = _ignore_member,
        limits: Limits | None = None,
        chance: random.Random | None = None,
    ) -> None:
        """`receive(sender, kind, content)` is called on the loop for each frame, and must not take long; FrameError
        from it, for content that makes no sense, closes the connection.

        `install(sender, content, pieces)` takes a snapshot; PeerRefusedError from it is told to the sender, and what
        the pieces raise (PeerError) may pass through it. `connect` makes the TLS context for new connections, from
        the files as they are then; without it only plain peers on loopback can be reached. `is_revoked` is asked at
        each handshake. `removed` is called when a member says that this one was removed from the cluster, `lost` when
        the connection on which a member is heard ended and no newer one took its place. `chance` spreads the attempts
        to connect.
        """
        self.identity = identity
        self.limits = limits or Limits()
        self.is_revoked = is_revoked
        self.instance = secrets.token_hex(8)
        self.register = Register(identity)
        self._receive = receive
        self._install = install
        self._removed = removed
        self._lost = lost
        self._chance = chance or random.Random(secrets.randbits(64))  # noqa: S311
        self._dialler = Dialler(self.register, self.instance, connect and Contexts(connect), is_revoked, self.limits)
        self._outgoing: dict[int, Outgoing] = {}
        self._incoming: dict[int, Incoming] = {}
        self._sending: dict[int, set[trio.CancelScope]] = {}
        self._receiving: dict[int, Receiving] = {}
        self._nursery: trio.Nursery | None = None
        self._last: tuple[int, Plain, bytes] = OWN, None, b""
        """Kind and content of the last frame that was made of bytes, and that frame."""

    def follow(self, members: Mapping[int, Address], removed: Iterable[int] = ()) -> None:
        """Be linked with these members, and no others, from now on.

        Others are cut off at once: nothing more is received from them. `removed` are the ids of those who were removed
        for good: they are told so when they call. Others are only told that they are unknown, and go on trying: raft
        may take a change back that is not committed, so give only those whose removal is. ValueError if this member is
        among `members`.
        """
        if self.identity.member in members:
            raise ValueError("a member is not linked with itself")
        self.register.set(members, removed)
        for member, outgoing in list(self._outgoing.items()):
            if members.get(member) != outgoing.address:
                outgoing.scope.cancel()
                del self._outgoing[member]
        for member, address in members.items():
            if member not in self._outgoing:
                outgoing = Outgoing(member, address, self._dialler, self._chance, self._removed)
                self._outgoing[member] = outgoing
                if self._nursery is not None:
                    self._nursery.start_soon(outgoing.keep)
        for member, incoming in list(self._incoming.items()):
            address_now = members.get(member)
            if address_now is None or address_now.name not in ("", incoming.connection.hello.name):
                incoming.cut("you are no longer a member known here")
        self._cut_snapshots(members)

    def _cut_snapshots(self, members: Mapping[int, Address]) -> None:
        for member, receiving in self._receiving.items():
            if member not in members:
                receiving.cut()
        for member, scopes in self._sending.items():
            if member not in members:
                for scope in scopes:
                    scope.cancel()

    def send(self, member: int, kind: int, content: Plain) -> bool:
        """Send a value to a member; never waits. False if it was dropped: there is no connection, or its queue is
        full. True is no promise that it arrives. `kind` is below OWN."""
        if not 0 <= kind < OWN:
            raise ValueError(f"kind {kind} is not from 0 to {OWN - 1}")
        outgoing = self._outgoing.get(member)
        return outgoing is not None and outgoing.send(self._frame(kind, content))

    def _frame(self, kind: int, content: Plain) -> bytes:
        """What goes to several members in a row is encoded, and its checksum taken, once."""
        if content is self._last[1] and kind == self._last[0]:
            return self._last[2]
        made = frame(kind, plain.encode(content))
        if isinstance(content, bytes):
            self._last = kind, content, made
        return made

    async def send_snapshot(self, member: int, content: Plain, pieces: AsyncIterable[bytes]) -> None:
        """Send a snapshot on a connection of its own, as fast as it is taken; returns once it is installed there.

        PeerError says why it is not: PeerRefusedError if the other side does not want it. It is then unknown how far
        it came; beginning anew is always right. An asynchronous generator is closed at the end.
        """
        address = self.register.members.get(member)
        if address is None or not address.urls:
            raise PeerError("it is not a member known here")
        scope = trio.CancelScope()
        scopes = self._sending.setdefault(member, set())
        scopes.add(scope)
        try:
            with scope:
                await self._send_snapshot(member, address, content, pieces)
                return
        finally:
            scopes.discard(scope)
            if not scopes:
                self._sending.pop(member, None)
        raise PeerError("it is no longer a member known here")

    async def _send_snapshot(self, member: int, address: Address, content: Plain, pieces: AsyncIterable[bytes]) -> None:
        connection: Connection | None = None
        reason: PeerError | None = None
        for url in address.urls:
            try:
                connection = await self._dialler.dial(member, address, url, SNAPSHOT)
                break
            except PeerError as error:
                reason = reason or error
        if connection is None:
            raise reason or PeerError("it has no peer URL")
        try:
            await Sending(connection, self.limits).run(content, pieces)
        finally:
            await trio.aclose_forcefully(connection.stream)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Connect to whomever `follow` names, and stay connected. Until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                for outgoing in self._outgoing.values():
                    nursery.start_soon(outgoing.keep)
                task_status.started()
                await trio.sleep_forever()
            finally:
                self._nursery = None

    def recheck(self) -> None:
        """Close the links whose certificate was revoked meanwhile."""
        for outgoing in self._outgoing.values():
            outgoing.recheck()
        for incoming in self._incoming.values():
            if self._is_revoked(incoming.connection):
                incoming.cut("your certificate was revoked")
        for receiving in self._receiving.values():
            if self._is_revoked(receiving.connection):
                receiving.cut()

    def _is_revoked(self, connection: Connection) -> bool:
        return connection.serial is not None and self.is_revoked(connection.serial)

    def states(self) -> Mapping[int, LinkState]:
        """How things stand with each member, by id."""
        return {member: self._state(outgoing) for member, outgoing in self._outgoing.items()}

    def _state(self, outgoing: Outgoing) -> LinkState:
        incoming = self._incoming.get(outgoing.member)
        moments = (outgoing.heard, incoming.heard if incoming else None)
        queued_bytes, queued_frames = outgoing.queued
        return LinkState(
            name=outgoing.address.name,
            why_not=outgoing.why_not,
            url=outgoing.url,
            connected_since=outgoing.connected_since,
            heard=max((moment for moment in moments if moment is not None), default=None),
            round_trip_s=outgoing.round_trip_s,
            queued_bytes=queued_bytes,
            queued_frames=queued_frames,
            sent_frames=outgoing.sent,
            dropped_frames=outgoing.dropped,
            connected_from=incoming.connection.remote if incoming else "",
            program=outgoing.program or (incoming.connection.hello.program if incoming else ""),
        )

    def may_begin(self, sender: int, instance: str, *, snapshot: bool) -> None:
        """Whether a member that was let in may begin a link or a snapshot now; PeerRefusedError if not."""
        if snapshot:
            if self._is_installing(sender):
                raise PeerRefusedError(Reason.BUSY, "a snapshot of yours is being taken already")
            return
        older = self._incoming.get(sender)
        if older is None or older.connection.hello.instance == instance:
            return
        if trio.current_time() - older.heard < ALIVE_BEATS * self.limits.beat_s:
            raise PeerRefusedError(
                Reason.TWICE,
                f"{older.connection.hello.name!r} is connected from {older.connection.remote} already, by another"
                " process: do two run with one name or one data directory?",
            )

    async def accepted(self, connection: Connection) -> None:
        """Listen on a link that a member made, to its end. It replaces an older one of the same member."""
        sender = connection.hello.sender
        address = self.register.members.get(sender)
        older = self._incoming.get(sender)
        if older is not None:
            older.cut("a newer connection of yours took its place")
        if address is None or address.name not in ("", connection.hello.name):  # changed since it was let in
            await trio.aclose_forcefully(connection.stream)
            return
        incoming = self._incoming[sender] = Incoming(connection, address, self._receive, self.limits)
        if sender in self._outgoing:
            self._outgoing[sender].hurry()
        try:
            await incoming.run()
        finally:
            if self._incoming.get(sender) is incoming:
                del self._incoming[sender]
                self._lost(sender)

    async def accepted_snapshot(self, connection: Connection) -> None:
        """Take a snapshot that a member sends, to its end."""
        sender = connection.hello.sender
        address = self.register.members.get(sender)
        if address is None or self._is_installing(sender):
            await trio.aclose_forcefully(connection.stream)
            return
        receiving = self._receiving[sender] = Receiving(connection, address.name, self._install, self.limits)
        try:
            await receiving.run()
        finally:
            if self._receiving.get(sender) is receiving:
                del self._receiving[sender]

    def _is_installing(self, sender: int) -> bool:
        receiving = self._receiving.get(sender)
        return receiving is not None and receiving.installing
