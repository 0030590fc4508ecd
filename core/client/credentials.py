"""What a client trusts and shows, from files that may be replaced while it runs."""

import ssl
from pathlib import Path

from core.tls import files
from core.tls.contexts import TlsFilesError, client_context


class ClientCredentials:
    """The TLS context of new connections. Those that are open keep the one they began with."""

    def __init__(
        self, authorities: Path | None = None, certificate: Path | None = None, key: Path | None = None
    ) -> None:
        """Without `authorities` those this host trusts anyway. TlsFilesError if a file cannot be used."""
        self._given = (authorities, certificate, key)
        self._files = [file for file in self._given if file is not None]
        self._stamp = files.stamp(self._files)
        self._context = client_context(*self._given)

    def context(self) -> ssl.SSLContext:
        """From what the files hold now; while that cannot be used (a certificate is there and its key is not yet), the
        one from before. Looking costs a call of stat(2) a file."""
        stamp = files.stamp(self._files)
        if stamp != self._stamp:
            try:
                self._context, self._stamp = client_context(*self._given), stamp
            except TlsFilesError:
                return self._context
        return self._context
