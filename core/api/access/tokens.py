"""Tokens: what a user of v3 gets for name and password, and shows with each request to whichever member.

etcd gives out random ones and tells every member of each by the log. Here a token is signed with what every member has
anyway, the stored hash of its user's password: any of them can check it, nothing is written, and with another password,
or without the user, it is nothing. Each member lets it live for TTL_SECONDS after its last use there, and takes one
that it sees for the first time if it was made at most so long ago, by the clocks of the two hosts. Where these differ
by more than that, a token is good at the member that made it.
"""

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from collections.abc import Callable

import msgspec

from core.kv.accounts import Accounts

TTL_SECONDS = 300.0
"""From the last use, as etcd's simple tokens."""
KEPT = 65_536
LONGEST = 1024
"""Bytes of a token; a user's name is in it."""
_BEARER = b"Bearer "
_PURPOSE = b"corenode token of v3\0"


class _Token(msgspec.Struct):
    user: str
    password: str | None
    """The hash that was true when it was given: with another password the token ends."""
    until: float


class Tokens:
    """The tokens that one node has seen, under their hashes. The table is bounded: the oldest goes."""

    def __init__(self, accounts: Accounts, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        """`clock` gives seconds, `wall` Unix seconds."""
        self._accounts = accounts
        self._clock = clock
        self._wall = wall
        self._known: dict[bytes, _Token] = {}

    def issue(self, user: str) -> str:
        """A new token for a user who has just proven to be one."""
        record = self._accounts.user(user)
        if record is None:
            raise ValueError(f"there is no user {user}")
        name = urlsafe_b64encode(user.encode()).rstrip(b"=")
        said = b"%b.%x.%b" % (name, int(self._wall()), secrets.token_urlsafe(12).encode())
        token = said + b"." + _signed(said, record.password)
        self._keep(token, user, record.password)
        return token.decode()

    def user(self, header: bytes) -> str | None:
        """Whom an Authorization header with a token proves; each use begins its life anew."""
        shown = header.removeprefix(_BEARER).strip()
        name = _name(shown)
        token = self._known.get(name)
        if token is None:
            return self._take(shown)
        now = self._clock()
        record = self._accounts.user(token.user)
        if now >= token.until or record is None or record.password != token.password:
            del self._known[name]
            return None
        token.until = now + TTL_SECONDS
        return token.user

    def _take(self, token: bytes) -> str | None:
        """Whom a token proves that was not seen here before."""
        said, _, signature = token.rpartition(b".")
        parts = said.split(b".")
        if len(token) > LONGEST or len(parts) != 3:
            return None
        try:
            user, made = urlsafe_b64decode(parts[0] + b"=" * (-len(parts[0]) % 4)).decode(), int(parts[1], 16)
        except (Error, ValueError):
            return None
        record = self._accounts.user(user)
        if record is None or not hmac.compare_digest(_signed(said, record.password), signature):
            return None
        if abs(self._wall() - made) >= TTL_SECONDS:
            return None
        self._keep(token, user, record.password)
        return user

    def _keep(self, token: bytes, user: str, password: str | None) -> None:
        now = self._clock()
        if len(self._known) >= KEPT:
            self._drop_old(now)
        self._known[_name(token)] = _Token(user, password, now + TTL_SECONDS)

    def _drop_old(self, now: float) -> None:
        for name in [name for name, token in self._known.items() if now >= token.until]:
            del self._known[name]
        if len(self._known) >= KEPT:
            del self._known[next(iter(self._known))]


def _signed(said: bytes, password: str | None) -> bytes:
    """The signature of what a token says. Who has no password has no token, and none is good for such a user."""
    key = hashlib.sha256(_PURPOSE + (password or secrets.token_hex()).encode()).digest()
    return urlsafe_b64encode(hmac.digest(key, said, "sha256")).rstrip(b"=")


def _name(token: bytes) -> bytes:
    return hashlib.blake2b(token, digest_size=16).digest()
