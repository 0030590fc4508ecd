"""What this node needs so that hosts can join by it, and have their certificates renewed: the token records, its
authority, and an open door.

Where every client must show a certificate (--client-cert-auth), TLS turns strangers away in the handshake; so it would
a host that wants to join. While a token is good, therefore, TLS asks for a certificate and does not insist, and `Door`
refuses every request of a connection without one, but for those by which a host joins. With the last token's end the
door is shut again.
"""

from collections.abc import Sequence
from pathlib import Path

import trio

from core.api.access import audit
from core.api.access.hashing import Hashing
from core.api.http.message import Handler, Reply, Request
from core.api.ops.joining import OPEN
from core.api.plain import message
from core.config import Config
from core.credentials import AUTHORITY, Credentials
from core.kv.hosts import Holder
from core.kv.keyspace import Keyspace
from core.kv.membership import Member as KnownMember
from core.kv.tokens import Token
from core.member import Member
from core.sched import keys
from core.tls.authority import ISSUING, ISSUING_KEY, ROOT
from core.tls.contexts import TlsFilesError

LOOK_SECONDS = 0.1
"""How long after a token was made or ended the door follows, at most."""


class Enrolment:
    """Fulfils both `Place` of operations."""

    def __init__(self, config: Config, member: Member) -> None:
        self._config = config
        self._member = member
        self._authority = config.data_dir / AUTHORITY
        self.signing = Hashing()
        """Where the issuing key works, beside the loop."""

    @property
    def cluster(self) -> str:
        return f"{self._member.identity.cluster:x}"

    @property
    def authority(self) -> Path | None:
        there = all((self._authority / name).exists() for name in (ROOT, ISSUING, ISSUING_KEY))
        return self._authority if there else None

    @property
    def client_cert_auth(self) -> bool:
        return self._config.client_cert_auth

    @property
    def links_by_tls(self) -> bool:
        return any(url.secure for url in self._config.listen_peer_urls)

    def token(self, name: str) -> Token | None:
        return self._keyspace.token(name)

    def tokens(self) -> list[Token]:
        return self._keyspace.tokens()

    def root(self) -> str | None:
        file = self._authority / ROOT
        if not file.exists():
            if self._config.peer_trusted_ca_file is None:
                return None
            file = self._config.peer_trusted_ca_file
        try:
            return file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise TlsFilesError(f"{file}: cannot be read as PEM: {error}") from None

    def known(self) -> Sequence[KnownMember]:
        return self._keyspace.members()

    def was_removed(self, member: int) -> bool:
        return self._keyspace.was_removed(member)

    def revoked(self) -> Sequence[int]:
        return self._keyspace.revoked()

    def runs(self, machine: str) -> bool:
        return self._keyspace.key(keys.machine(machine)) is not None

    def holder(self, machine: str) -> Holder | None:
        return self._keyspace.access.holder(machine)

    @property
    def _keyspace(self) -> Keyspace:
        return self._member.keyspace

    def expected(self) -> bool:
        """Whether a host may come: there is a token that is good."""
        now = self._member.node.clock.now()
        return any(not token.revoked and now < token.deadline for token in self.tokens())

    async def run(self, credentials: Credentials) -> None:
        """Sign, and keep the door, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.signing.run)
            nursery.start_soon(self._keep_door, credentials)

    async def _keep_door(self, credentials: Credentials) -> None:
        """Let TLS insist on certificates, or not, as tokens come and go."""
        seen = False
        while self._config.client_cert_auth:
            expected = self.expected()
            if expected != seen:
                credentials.insist(not expected)
                seen = expected
            await trio.sleep(LOOK_SECONDS)


class Door:
    """A handler in front of all others, where clients must show certificates."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    def __call__(self, request: Request, reply: Reply) -> None:
        caller = request.caller
        if caller.certificate is None and request.path not in OPEN and not caller.plain and caller.address != "unix":
            audit.refused("anonymous", request, "showed no certificate")
            reply.send(message(403, "this node accepts only clients with a certificate of its authority"))
        else:
            self._handler(request, reply)
