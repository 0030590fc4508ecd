"""Tokens: what a user of v3 gets for name and password, and shows with each request. Random, in memory, short-lived."""

import hashlib
import secrets
from collections.abc import Callable

import msgspec

from core.kv.accounts import Accounts

TTL_SECONDS = 300.0
"""From the last use, as etcd's simple tokens."""
KEPT = 65_536
_BEARER = b"Bearer "


class _Token(msgspec.Struct):
    user: str
    password: str | None
    """The hash that was true when it was given: with another password the token ends."""
    until: float


class Tokens:
    """The tokens of one node, under their hashes. The table is bounded: the oldest goes."""

    def __init__(self, accounts: Accounts, clock: Callable[[], float]) -> None:
        """`clock` gives seconds."""
        self._accounts = accounts
        self._clock = clock
        self._known: dict[bytes, _Token] = {}

    def issue(self, user: str) -> str:
        """A new token for a user who has just proven to be one."""
        record = self._accounts.user(user)
        if record is None:
            raise ValueError(f"there is no user {user}")
        now = self._clock()
        if len(self._known) >= KEPT:
            self._drop_old(now)
        token = secrets.token_urlsafe(24)
        self._known[_name(token.encode())] = _Token(user, record.password, now + TTL_SECONDS)
        return token

    def user(self, header: bytes) -> str | None:
        """Whom an Authorization header with a token proves; each use begins its life anew."""
        name = _name(header.removeprefix(_BEARER).strip())
        token = self._known.get(name)
        if token is None:
            return None
        now = self._clock()
        record = self._accounts.user(token.user)
        if now >= token.until or record is None or record.password != token.password:
            del self._known[name]
            return None
        token.until = now + TTL_SECONDS
        return token.user

    def _drop_old(self, now: float) -> None:
        for name in [name for name, token in self._known.items() if now >= token.until]:
            del self._known[name]
        if len(self._known) >= KEPT:
            del self._known[next(iter(self._known))]


def _name(token: bytes) -> bytes:
    return hashlib.blake2b(token, digest_size=16).digest()
