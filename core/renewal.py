"""The certificates of this node, renewed at two thirds of their life, or when a new root has taken over from theirs.

That a root takes over is seen where the issuing authority is, and elsewhere by the file of trusted roots: while that
has several, members are asked before it is time. They say no if the certificate is still under the present key.

Where the issuing authority is, it signs; elsewhere members are asked for it, over TLS with the certificate that is
still good. The key stays, so one rename replaces a certificate; who uses it takes it up as any file that changed.
"""

import logging
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import trio
from cryptography import x509

from core.client import renewing
from core.client.credentials import ClientCredentials
from core.client.endpoints import Endpoint
from core.client.errors import ClientError, RefusedError
from core.config import Config
from core.credentials import AUTHORITY
from core.tls import files
from core.tls.authority import FORMER, ISSUING, ISSUING_KEY, Authority, AuthorityError, load_chain, load_key
from core.tls.contexts import TlsFilesError
from core.tls.enrolment import EnrolmentError, check_issued
from core.tls.lifetime import renewal_due
from core.tls.renewal import asked

LOOK_SECONDS = 2.0
RETRY_SECONDS = (4.0, 60.0)
"""After a renewal that failed: at first, and at most."""
REFUSED_SECONDS = 3600.0
"""After one that was refused: another authority's certificates are renewed by somebody else."""

_logger = logging.getLogger(__name__)


class _Pair(msgspec.Struct):
    certificate: Path
    key: Path
    due: float = 0.0
    """Unix seconds; before that nothing is to be done."""
    told: str = ""
    pause: float = RETRY_SECONDS[0]
    early: bool = False
    """Members are to be asked before it is time."""


class Renewal:
    """`run` is a task of the daemon."""

    def __init__(
        self,
        config: Config,
        members: Callable[[], Sequence[Endpoint]],
        credentials: Callable[[], ClientCredentials | None],
    ) -> None:
        """`members` are asked where there is no authority; `credentials` are shown to them, and tell whom to trust."""
        self._asks = config.peer_cert_file is not None
        """Who has nothing to show as a node is renewed by somebody else."""
        self._members = members
        self._credentials = credentials
        self._authority = config.data_dir / AUTHORITY
        self._authority_files = [self._authority / name for name in (ISSUING, ISSUING_KEY, FORMER)]
        self._stamp = files.stamp(self._authority_files)
        trusted = (config.trusted_ca_file, config.peer_trusted_ca_file)
        self._trust_files = [file for file in trusted if file is not None]
        self._trust_stamp: files.Stamp = ()
        given = ((config.cert_file, config.key_file), (config.peer_cert_file, config.peer_key_file))
        self._pairs = [_Pair(file, key) for file, key in given if file is not None and key is not None]

    async def run(self) -> None:
        """Look until cancelled."""
        while self._pairs:
            await trio.sleep(LOOK_SECONDS)
            stamp, trust_stamp = files.stamp(self._authority_files), files.stamp(self._trust_files)
            changed = (stamp, trust_stamp) != (self._stamp, self._trust_stamp)
            for pair in self._pairs:
                if changed:
                    pair.due, pair.early = 0.0, self._is_changing()
                if time.time() >= pair.due:
                    await self._look(pair)
            self._stamp, self._trust_stamp = stamp, trust_stamp

    def _is_changing(self) -> bool:
        """Whether a new root takes over: the old one is trusted as well."""
        try:
            return any(len(load_chain(file)) > 1 for file in self._trust_files)
        except TlsFilesError:
            return False

    async def _look(self, pair: _Pair) -> None:
        try:
            own = load_chain(pair.certificate)[0]
            due = renewal_due(own).timestamp()
            if (self._authority / ISSUING_KEY).exists():
                renewed = self._renew_here(pair, own, due)
            else:
                renewed = self._asks and (pair.early or time.time() >= due) and await self._ask(pair, own)
            if renewed:
                own = load_chain(pair.certificate)[0]
                extra = {"file": str(pair.certificate), "until": str(own.not_valid_after_utc)}
                _logger.info("own certificate renewed", extra=extra)
            pair.due, pair.early = renewal_due(own).timestamp(), False
            pair.told, pair.pause = "", RETRY_SECONDS[0]
        except RefusedError as error:
            if pair.early and error.status < 500 and time.time() < due:
                pair.due = time.time() + REFUSED_SECONDS
            else:
                self._failed(pair, error, REFUSED_SECONDS if error.status < 500 else pair.pause)
        except (AuthorityError, TlsFilesError, EnrolmentError, ClientError, OSError, ValueError) as error:
            self._failed(pair, error, pair.pause)

    def _failed(self, pair: _Pair, error: Exception, seconds: float) -> None:
        pair.due = time.time() + seconds * random.uniform(1, 1.5)  # noqa: S311 - spreads load
        pair.pause = min(2 * pair.pause, RETRY_SECONDS[1])
        if str(error) != pair.told:
            pair.told = str(error)
            extra = {"file": str(pair.certificate), "why": str(error), "again_in_seconds": seconds}
            _logger.error("own certificate not renewed", extra=extra)

    def _renew_here(self, pair: _Pair, own: x509.Certificate, due: float) -> bool:
        """Whether it was due, and is new."""
        authority = Authority.open(self._authority)
        superseded = authority.made(own) and not authority.is_current(own)
        if time.time() < due and not superseded:
            return False
        authority.renew(pair.certificate)
        return True

    async def _ask(self, pair: _Pair, own: x509.Certificate) -> bool:
        """The same, by asking members."""
        credentials = self._credentials()
        if credentials is None:
            return False
        key = load_key(pair.key, None)
        new = await renewing.renew(self._members(), credentials, *asked(own, key))
        check_issued(new, key)
        files.replace(pair.certificate, new.encode())
        return True
