"""Snapshots on connections of their own: sent in pieces as the other side takes them, never whole in memory."""

import logging
import zlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable

import trio

from core.peer import frames, plain
from core.peer.connection import RECEIVED, Connection, read_frames
from core.peer.errors import FrameError, LinkLostError, PeerError, PeerRefusedError
from core.peer.frames import FrameReader, frame
from core.peer.limits import MIB, Limits
from core.peer.plain import Plain
from core.peer.reasons import Reason
from core.peer.secure import fault
from core.peer.together import close_gently, first_failure

Install = Callable[[int, Plain, AsyncIterator[bytes]], Awaitable[None]]

PIECE_BYTES = MIB
"""The largest piece on the wire; larger ones are cut."""
CONTENT_BYTES = MIB
"""The largest description of a snapshot."""
ANSWER_BYTES = 4096

_logger = logging.getLogger(__name__)


class _ArrivedError(PeerError):
    """Not a failure: how the task that listens ends the others."""


class Sending:
    """The sending side of one snapshot."""

    def __init__(self, connection: Connection, limits: Limits) -> None:
        self._stream = connection.stream
        self._behind = connection.behind
        self._limits = limits
        self._turn = trio.Lock()
        self._quiet = 0
        self._unreadable: Exception | None = None
        self._sent = False

    async def run(self, content: Plain, pieces: AsyncIterable[bytes]) -> None:
        """Send all of it and wait until it is installed there. PeerError says why it was not; what `pieces` raises
        comes out as it is."""
        body = plain.encode(content)
        if len(body) > CONTENT_BYTES:
            raise PeerError(f"the description of the snapshot has {len(body)} bytes; at most {CONTENT_BYTES} are sent")
        reader = FrameReader(ANSWER_BYTES)
        reason = await first_failure(
            lambda: self._send(body, pieces),
            lambda: read_frames(self._stream, reader, self._behind, self._take),
            self._beat,
        )
        if self._unreadable is not None:
            raise self._unreadable
        if not isinstance(reason, _ArrivedError):
            raise reason

    async def _send(self, content: bytes, pieces: AsyncIterable[bytes]) -> None:
        await self._write(frames.BEGIN, content)
        size = checksum = 0
        source = aiter(pieces)
        try:
            while (piece := await self._read(source)) is not None:
                for start in range(0, len(piece), PIECE_BYTES):
                    part = piece[start : start + PIECE_BYTES]
                    size += len(part)
                    checksum = zlib.crc32(part, checksum)
                    await self._write(frames.PIECE, part)
        finally:
            if isinstance(source, AsyncGenerator):
                await source.aclose()
        self._sent = True
        await self._write(frames.END, plain.encode([size, checksum]))
        await trio.sleep_forever()

    async def _read(self, source: AsyncIterator[bytes]) -> bytes | None:
        """The next piece; None at the end."""
        try:
            return await anext(source, None)
        except Exception as error:
            self._unreadable = error
            raise PeerError("the snapshot cannot be read") from error

    async def _write(self, kind: int, body: bytes) -> None:
        async with self._turn:
            await self._stream.send_all(frame(kind, body))

    def _take(self, kind: int, body: bytes) -> None:
        self._quiet = 0
        if kind == frames.ARRIVED and self._sent:
            raise _ArrivedError
        if kind == frames.REFUSED:
            match plain.decode(body):
                case [str(reason), str(text)]:
                    raise PeerRefusedError(reason, f"it refuses the snapshot: {text}")
        if kind != frames.PULSE:
            raise FrameError(f"it sent a frame of kind {kind}, which has no business here")

    async def _beat(self) -> None:
        while True:
            if self._quiet >= self._limits.silent_beats:
                raise LinkLostError(f"it has been silent for {self._limits.silent_beats * self._limits.beat_s:g} s")
            self._quiet += 1
            if self._turn.statistics().owner is None:  # else something is being sent anyway
                await self._write(frames.PULSE, b"")
            await trio.sleep(self._limits.beat_s)


class Pieces:
    """The pieces of a snapshot as they arrive; the end of the iteration says that all of them came, undamaged."""

    def __init__(self, connection: Connection, limits: Limits) -> None:
        self._stream = connection.stream
        self._limits = limits
        self._reader = FrameReader(PIECE_BYTES)
        self._found: deque[tuple[int, bytes]] = deque(self._reader.feed(connection.behind))
        self._size = 0
        self._checksum = 0
        self.finished = False

    async def content(self) -> Plain:
        """What the snapshot is of. PeerError if the connection begins otherwise."""
        kind, body = await self._next()
        if kind != frames.BEGIN:
            raise FrameError(f"it began a snapshot with a frame of kind {kind}")
        return plain.decode(body)

    def __aiter__(self) -> "Pieces":
        return self

    async def __anext__(self) -> bytes:
        """The next piece. PeerError if the snapshot breaks off or is damaged."""
        if self.finished:
            raise StopAsyncIteration
        kind, body = await self._next()
        if kind == frames.PIECE:
            self._size += len(body)
            self._checksum = zlib.crc32(body, self._checksum)
            return body
        if kind != frames.END:
            raise FrameError(f"it sent a frame of kind {kind} within a snapshot")
        if plain.decode(body) != [self._size, self._checksum]:
            raise FrameError("the pieces of the snapshot are not those that were sent")
        self.finished = True
        raise StopAsyncIteration

    async def _next(self) -> tuple[int, bytes]:
        while True:
            while not self._found:
                self._found.extend(self._reader.feed(await self._read()))
            kind, body = self._found.popleft()
            if kind != frames.PULSE:
                return kind, body

    async def _read(self) -> bytes:
        """The sender says at least once a beat that it lives, so that waiting has an end. Beats are counted: if this
        process was held up, it does not blame the sender."""
        for _ in range(self._limits.silent_beats):
            with trio.move_on_after(self._limits.beat_s):
                try:
                    data = bytes(await self._stream.receive_some(max(RECEIVED, self._reader.missing)))
                except trio.BrokenResourceError as error:
                    raise LinkLostError(fault(error) or "the connection broke in the middle of a snapshot") from error
                if not data:
                    raise LinkLostError("it closed the connection in the middle of a snapshot")
                return data
        patience_s = self._limits.silent_beats * self._limits.beat_s
        raise LinkLostError(f"it has been silent for {patience_s:g} s in the middle of a snapshot")


def _only_peer_error(raised: PeerError | BaseExceptionGroup[BaseException]) -> PeerError:
    """The PeerError that was raised, also out of nurseries of its reader; anything else is raised again."""
    if isinstance(raised, PeerError):
        return raised
    found, rest = raised.split(PeerError)
    if rest is not None or found is None:
        raise raised
    error: BaseException = found
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error if isinstance(error, PeerError) else PeerError(str(error))


class Receiving:
    """The receiving side of one snapshot."""

    def __init__(self, connection: Connection, name: str, install: Install, limits: Limits) -> None:
        self.connection = connection
        self._name = name
        self._install = install
        self._limits = limits
        self.installing = True
        """Until its outcome is known here; the sender is told after that."""
        self._turn = trio.Lock()
        self._cut = trio.CancelScope()

    def cut(self) -> None:
        """End it."""
        self._cut.cancel()

    async def run(self) -> None:
        """Take the snapshot and tell the sender how it went."""
        stream = self.connection.stream
        extra = {"member": self._name, "from": self.connection.remote}
        _logger.info("a snapshot is coming", extra=extra)
        try:
            with self._cut:
                await self._take(extra)
        finally:
            await trio.aclose_forcefully(stream)

    async def _take(self, extra: dict[str, str]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._beat)
            try:
                await self._put_in()
            except (PeerError, BaseExceptionGroup) as raised:
                error = _only_peer_error(raised)
                _logger.warning("a snapshot was not taken", extra=extra | {"why": str(error)})
                reason = error.reason if isinstance(error, PeerRefusedError) else Reason.SNAPSHOT
                await self._tell(frames.REFUSED, plain.encode([str(reason), str(error)]))
            else:
                _logger.info("a snapshot was taken", extra=extra)
                await self._tell(frames.ARRIVED, b"")
            nursery.cancel_scope.cancel()
        await close_gently(self.connection.stream, self._limits.linger_s)

    async def _put_in(self) -> None:
        try:
            pieces = Pieces(self.connection, self._limits)
            await self._install(self.connection.hello.sender, await pieces.content(), pieces)
            if not pieces.finished:
                raise PeerRefusedError(Reason.SNAPSHOT, "it was not read to its end")
        finally:
            self.installing = False

    async def _tell(self, kind: int, body: bytes) -> None:
        """Tell how it went, as long as silence is borne."""
        with trio.move_on_after(self._limits.silent_beats * self._limits.beat_s):
            await self._write(kind, body)

    async def _beat(self) -> None:
        """Whatever the installation takes, the sender hears that this side lives."""
        while True:
            await self._write(frames.PULSE, b"")
            await trio.sleep(self._limits.beat_s)

    async def _write(self, kind: int, body: bytes) -> None:
        """Whether the sender is still there is found out where its pieces are read."""
        try:
            async with self._turn:
                await self.connection.stream.send_all(frame(kind, body))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
