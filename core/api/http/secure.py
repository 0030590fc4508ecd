"""TLS as bytes in, bytes out: an `SSLObject` over two memory buffers. No sockets."""

import contextlib
import ssl

READ_SIZE = 16384
"""Bytes of one record at most, which is what OpenSSL gives at a time."""


_REASONS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it showed no certificate",
    "UNSUPPORTED_PROTOCOL": "it speaks no version of TLS that is accepted here",
    "WRONG_VERSION_NUMBER": "what it sent is not TLS",
    "NO_SHARED_CIPHER": "it knows no cipher that is accepted here",
}
"""What OpenSSL's names of errors mean, where they do not speak for themselves."""


class TlsFailedError(Exception):
    """The handshake or a record failed; the text says why. `outgoing` may still hold an alert to send."""


def _why(error: ssl.SSLError) -> str:
    """One reason for people."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    name = error.reason or ""
    before, alert, what = name.partition("_ALERT_")
    if alert and before.startswith(("TLS", "SSL")):
        return f"it does not accept this node: {what.replace('_', ' ').lower()}"
    return _REASONS.get(name) or name.replace("_", " ").lower() or str(error)


class TlsLayer:
    """The server's end of one TLS connection. `begun` says that bytes came, `finished` that the handshake is done,
    `ended` that the peer sent its last byte."""

    __slots__ = ("_incoming", "_object", "_outgoing", "begun", "ended", "finished")

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.begun = False
        self.finished = False
        self.ended = False

    @property
    def certificate(self) -> bytes | None:
        """The client's verified certificate, DER, once the handshake is done; None if it sent none."""
        return self._object.getpeercert(binary_form=True)

    def outgoing(self) -> bytes:
        """What must be sent now."""
        return self._outgoing.read()

    def decrypt(self, data: bytes) -> bytes:
        """Take received bytes; returns the plain bytes they complete, maybe none. Raises TlsFailedError."""
        self.begun = True
        self._incoming.write(data)
        plain = b""
        try:
            if not self.finished:
                self._object.do_handshake()
                self.finished = True
            plain = piece = self._object.read(READ_SIZE)
            while piece and (self._incoming.pending or self._object.pending()):  # to read on in vain costs an exception
                piece = self._object.read(READ_SIZE)
                plain += piece
            self.ended = not piece
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        except ssl.SSLError as error:
            raise TlsFailedError(_why(error)) from error
        return plain

    def encrypt(self, data: bytes) -> bytes:
        """The records that carry these plain bytes. Raises TlsFailedError."""
        try:
            taken = self._object.write(data) if data else 0
            while taken < len(data):  # OpenSSL may take one record at a time
                taken += self._object.write(memoryview(data)[taken:])
        except ssl.SSLError as error:
            raise TlsFailedError(_why(error)) from error
        return self._outgoing.read()

    def close(self) -> bytes:
        """The record that says no more will come."""
        with contextlib.suppress(ssl.SSLError):  # the peer has not said it yet, or the connection is broken
            self._object.unwrap()
        return self._outgoing.read()
