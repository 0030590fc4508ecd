"""The certificate this node shows, from the files of the configuration, taken up anew when they change."""

import logging
import ssl
from collections.abc import Iterable

import trio

from core.api.http import Listener
from core.config import Config
from core.tls import files
from core.tls.contexts import TlsFilesError, server_context
from core.tls.shown import Shown, describe

LOOK_SECONDS = 2.0
"""How often the files are looked at: six calls of stat(2)."""

AUTHORITY = "authority"
"""Where in the data directory a member keeps the issuing authority, if it is one of those that have it."""

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

_logger = logging.getLogger(__name__)


class Credentials:
    """The TLS context of the listeners, and what it trusts and shows. Connections that are open keep the one they began
    with."""

    def __init__(self, config: Config) -> None:
        """TlsFilesError if the files cannot be used; without --cert-file there is no context."""
        self._config = config
        self._files = [file for file in (config.cert_file, config.key_file, config.trusted_ca_file) if file is not None]
        self._stamp = files.stamp(self._files)
        self._told = ""
        self._insists = True
        self.context, self.shown = self._make(), self._describe()

    def reload(self, listeners: Iterable[Listener]) -> None:
        """Give new connections what the files hold now; if it cannot be used, what they had, and a line in the log."""
        stamp = files.stamp(self._files)
        try:
            context, shown = self._make(), self._describe()
        except TlsFilesError as error:
            if str(error) != self._told:
                self._told = str(error)
                _logger.error("new certificates not taken; going on with the old ones", extra={"why": str(error)})
            return
        self._stamp, self._told = stamp, ""
        self.context, self.shown = context, shown
        for listener in listeners:
            if listener.tls is not None:
                listener.tls = self.context
        if self.context is not None:
            _logger.info("certificates taken anew", extra={"certificate": str(self._config.cert_file)})

    def insist(self, insists: bool) -> None:
        """With --client-cert-auth: whether the handshake itself turns away who shows no certificate, from now on."""
        self._insists = insists
        if self.context is not None and self._config.client_cert_auth:
            self.context.verify_mode = ssl.CERT_REQUIRED if insists else ssl.CERT_OPTIONAL

    async def watch(self, listeners: Iterable[Listener]) -> None:
        """Reload whenever a file has changed. Certificate and key may be replaced one after the other: what does not
        fit together is looked at again."""
        while self.context is not None:
            await trio.sleep(LOOK_SECONDS)
            if files.stamp(self._files) != self._stamp:
                self.reload(listeners)

    def _describe(self) -> Shown | None:
        config = self._config
        if config.cert_file is None:
            return None
        try:
            return describe(config.cert_file, config.trusted_ca_file)
        except OSError as error:
            raise TlsFilesError(f"{error.filename}: {error.strerror}; check its name and mode") from None

    def _make(self) -> ssl.SSLContext | None:
        config = self._config
        if config.cert_file is None or config.key_file is None:
            return None
        context = server_context(
            config.cert_file,
            config.key_file,
            config.trusted_ca_file,
            require_client=config.client_cert_auth,
            minimum=_VERSIONS[config.tls_min_version],
        )
        if config.client_cert_auth and not self._insists:
            context.verify_mode = ssl.CERT_OPTIONAL
        return context
