"""TLS between members: a stream over a socket, and who is at its other end.

Not `trio.SSLStream`, for two reasons: when a handshake fails it does not send the alert that tells the other side why,
and it returns one record of at most 16 KiB a call, each with a turn of the scheduler.
"""

import logging
import os
import ssl
from collections.abc import Callable

import trio

from core.peer.errors import PeerError, PeerRefusedError
from core.peer.reasons import Reason
from core.tls.contexts import TlsFilesError
from core.tls.identity import Identity, Role, identify

IsRevoked = Callable[[int], bool]

MakeContext = Callable[[], ssl.SSLContext]
"""Makes a context from the certificates as they are then; TlsFilesError if that cannot be done."""

FRESH_S = 1.0
"""How long a context is used for new connections before the files are looked at again."""

ENCRYPTED = 256 * 1024
"""Bytes encrypted at a time."""
RECEIVED = 64 * 1024
ALERT_S = 1.0
"""For the other side to take the alert that says why its handshake failed."""

_logger = logging.getLogger(__name__)

_FAULTS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it showed no certificate",
    "UNSUPPORTED_PROTOCOL": "it speaks no version of TLS that is accepted here",
    "WRONG_VERSION_NUMBER": "it does not speak TLS; is its peer URL an http:// one?",
    "HTTP_REQUEST": "it speaks plain HTTP to a port of TLS; its peer URLs must begin with https:// on both sides",
    "NO_SHARED_CIPHER": "it knows no cipher that is accepted here",
}
"""What OpenSSL's names of errors mean, where they do not speak for themselves."""

_CLOCKS = frozenset((9, 10))
"""OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED."""


def fault(error: BaseException) -> str:
    """Why a connection broke, as far as TLS knows; empty if TLS has nothing to do with it."""
    cause = error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        hint = "; renew it, or compare the clocks" if cause.verify_code in _CLOCKS else ""
        return f"its certificate is not accepted here: {cause.verify_message}{hint}"
    if not isinstance(cause, ssl.SSLError) or isinstance(cause, ssl.SSLEOFError):
        return ""
    name = cause.reason or ""
    before, alert, what = name.partition("_ALERT_")
    if alert and before.startswith(("TLS", "SSL")):
        return f"it does not accept this member's TLS: {what.replace('_', ' ').lower()}"
    return _FAULTS.get(name) or name.replace("_", " ").lower() or str(cause)


class Contexts:
    """The context for new connections. Making one reads files, and strangers may connect as often as they like, so it
    is done at most once in FRESH_S; while the files cannot be used, the last context is."""

    def __init__(self, make: MakeContext) -> None:
        self._make = make
        self._context: ssl.SSLContext | None = None
        self._looked = 0.0
        self._told = ""

    def current(self) -> ssl.SSLContext:
        """PeerError if there was none yet that could be made."""
        now = trio.current_time()
        if self._context is not None and now - self._looked < FRESH_S:
            return self._context
        self._looked = now
        try:
            self._context = self._make()
            self._told = ""
        except TlsFilesError as error:
            if self._context is None:
                raise PeerError(f"this member's own certificate cannot be used: {error}") from error
            if str(error) != self._told:
                self._told = str(error)
                _logger.error("new peer certificates not taken; going on with the old ones", extra={"why": str(error)})
        return self._context


def write_now(stream: trio.SocketStream, data: bytes) -> int:
    """How many bytes the kernel took at once; none if the connection is broken, which the next `send_all` finds."""
    try:
        return os.write(stream.socket.fileno(), data)
    except OSError:
        return 0


class TlsStream(trio.abc.Stream):
    """TLS over a connected socket. One task may read while another writes."""

    def __init__(self, socket: trio.SocketStream, context: ssl.SSLContext, host: str | None) -> None:
        """The client's end, which expects the certificate of `host`; None: the server's end."""
        self.socket = socket
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=host is None, server_hostname=host)
        self._torn = False
        """Something is being sent, or was sent in part only."""

    @property
    def certificate(self) -> bytes:
        """The verified certificate of the other end, DER."""
        return self._object.getpeercert(binary_form=True) or b""

    async def shake_hands(self) -> None:
        """Begin. PeerError says why it failed; so does an alert to the other side."""
        while True:
            try:
                self._object.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._receive(RECEIVED)
            except ssl.SSLEOFError:
                raise PeerError("it closed the connection in the middle of the TLS handshake") from None
            except ssl.SSLError as error:
                await self._say_alert()
                broken = trio.BrokenResourceError()
                broken.__cause__ = error
                raise PeerError(fault(broken)) from error
            else:
                await self._flush()
                return

    async def _say_alert(self) -> None:
        with trio.move_on_after(ALERT_S):
            try:
                await self._flush()
            except trio.BrokenResourceError:
                return

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of it. Cancelled, the stream is broken: what was sent in part cannot be taken back."""
        if self._torn:
            raise trio.BrokenResourceError("sending was broken off")
        self._torn = True
        view = memoryview(data)
        while view:
            try:
                view = view[self._object.write(view[:ENCRYPTED]) :]
            except ssl.SSLError as error:
                raise trio.BrokenResourceError from error
            if self._outgoing.pending >= ENCRYPTED:
                await self._flush()
        await self._flush()
        self._torn = False

    def send_now(self, data: bytes) -> bytes | None:
        """Send without waiting, while no task is in `send_all`: None if all of it left, else what to give to `send_all`
        for it to leave, in which what is encrypted already does not occur again."""
        if self._torn:
            return data
        view = memoryview(data)
        try:
            while view:
                view = view[self._object.write(view) :]
        except ssl.SSLError:
            self._torn = True
            return data
        encrypted = self._outgoing.read()
        sent = write_now(self.socket, encrypted)
        if sent == len(encrypted):
            return None
        self._outgoing.write(encrypted[sent:])
        return b""

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """What has come, at most `max_bytes`; empty at the end. Cancelled, it loses nothing.

        What TLS itself wants to answer waits for the next `send_all`: both ends send something every beat.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        wanted = RECEIVED if max_bytes is None else max_bytes
        parts: list[bytes] = []
        size = 0
        while True:
            try:
                while size < wanted and (part := self._object.read(wanted - size)):
                    parts.append(part)
                    size += len(part)
            except ssl.SSLWantReadError:
                if not parts:
                    await self._receive(wanted)
                    continue
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                pass
            except ssl.SSLError as error:
                raise trio.BrokenResourceError from error
            return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _receive(self, size: int) -> None:
        if data := await self.socket.receive_some(size):
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def wait_send_all_might_not_block(self) -> None:
        """As the socket says."""
        await self.socket.wait_send_all_might_not_block()

    async def _flush(self) -> None:
        if data := self._outgoing.read():
            await self.socket.send_all(data)

    async def aclose(self) -> None:
        """Close the socket. Frames say where they end; nothing rests on TLS saying it."""
        await self.socket.aclose()


def holder(stream: TlsStream, is_revoked: IsRevoked) -> Identity:
    """Who the certificate at the other end belongs to; PeerRefusedError unless it is a valid one of a peer."""
    try:
        identity = identify(stream.certificate)
    except ValueError:
        raise PeerRefusedError(Reason.NOT_A_PEER, "the certificate shown cannot be read") from None
    if identity.role is not Role.PEER:
        role = f"a {identity.role}" if identity.role is not None else "no role known here"
        text = f"the certificate of {identity.name!r} is for {role}; between members it must be one of the role peer"
        raise PeerRefusedError(Reason.NOT_A_PEER, text)
    if is_revoked(identity.serial):
        text = f"the certificate of {identity.name!r}, serial {identity.serial:x}, is revoked; issue a new one"
        raise PeerRefusedError(Reason.REVOKED, text)
    return identity
