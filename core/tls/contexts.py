"""SSL contexts from PEM files."""

import ssl
import stat
from pathlib import Path


class TlsFilesError(Exception):
    """A certificate, key or authority file cannot be used. The text names the file and says what to do."""


def server_context(
    certificate: Path,
    key: Path,
    authorities: Path | None = None,
    *,
    require_client: bool = False,
    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> ssl.SSLContext:
    """A context for the server's end: TLS 1.3 or newer, or from `minimum` on.

    There are no session tickets: whoever comes back is verified again.
    `certificate` holds the server's chain, leaf first; `authorities` those that may issue client certificates.
    With `authorities` a client that shows a certificate is verified, with `require_client` one that shows none is
    turned away. Raises TlsFilesError.
    """
    if require_client and authorities is None:
        raise TlsFilesError("client certificates are required, but no authority is named; name a CA file")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = minimum
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION  # those of TLS 1.2
    context.set_alpn_protocols(["http/1.1"])
    _load_pair(context, certificate, key)
    if authorities is not None:
        _load_authorities(context, authorities)
        context.verify_mode = ssl.CERT_REQUIRED if require_client else ssl.CERT_OPTIONAL
    return context


def peer_server_context(certificate: Path, key: Path, authorities: Path) -> ssl.SSLContext:
    """The accepting end between members: TLS 1.3, and nobody without a certificate. Raises TlsFilesError."""
    return server_context(certificate, key, authorities, require_client=True)


def peer_client_context(certificate: Path, key: Path, authorities: Path) -> ssl.SSLContext:
    """The dialling end between members: TLS 1.3; it shows its own certificate, and verifies the other's and its host,
    by these authorities alone. Raises TlsFilesError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificate and host
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    _load_pair(context, certificate, key)
    _load_authorities(context, authorities)
    return context


def _load_pair(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    check_key(key)
    _require_readable(certificate, "certificate")
    try:
        context.load_cert_chain(certificate, key, password=_refuse_password)
    except ssl.SSLError as error:
        raise TlsFilesError(_chain_fault(certificate, key, error)) from error


def _load_authorities(context: ssl.SSLContext, authorities: Path) -> None:
    _require_readable(authorities, "CA file")
    try:
        context.load_verify_locations(cafile=authorities)
    except ssl.SSLError as error:
        raise TlsFilesError(f"{authorities}: no usable CA certificate in it; it must hold PEM") from error


def client_context(
    authorities: Path | None = None, certificate: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """A context for the client's end, which verifies the server and its name.

    `authorities` may have issued the server's certificate, by default those this host trusts anyway; `certificate`, a
    chain with the leaf first, and its `key` are what is shown to servers that ask. Raises TlsFilesError.
    """
    if authorities is not None:
        _require_readable(authorities, "CA file")
    try:
        context = ssl.create_default_context(cafile=authorities)
    except ssl.SSLError as error:
        raise TlsFilesError(f"{authorities}: no usable CA certificate in it; it must hold PEM") from error
    if certificate is not None and key is not None:
        _require_readable(certificate, "certificate")
        _require_readable(key, "private key")
        try:
            context.load_cert_chain(certificate, key)
        except ssl.SSLError as error:
            raise TlsFilesError(_chain_fault(certificate, key, error)) from error
    return context


def check_key(key: Path) -> None:
    """Refuse a private key that other users can read. A group may read it, as Debian's `ssl-cert` does."""
    _require_readable(key, "private key")
    if key.stat().st_mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise TlsFilesError(f"{key}: other users of this host can use this private key; run: chmod go-rwx {key}")


def _require_readable(path: Path, what: str) -> None:
    try:
        with path.open("rb"):
            return
    except OSError as error:
        raise TlsFilesError(f"{path}: cannot read the {what}: {error.strerror}; check its name and mode") from error


def _refuse_password() -> str:
    """Called for an encrypted key. Without it OpenSSL would ask on the terminal, and a daemon would hang."""
    raise ssl.SSLError("the private key is encrypted")


def _chain_fault(certificate: Path, key: Path, error: ssl.SSLError) -> str:
    if "encrypted" in str(error):
        return f"{key}: the private key is encrypted; a daemon needs it in plain, protected by its file mode"
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"{key}: this private key does not belong to {certificate}; name the pair that was made together"
    return f"{certificate} and {key}: no usable PEM certificate and key ({error.reason or error}); check both files"
