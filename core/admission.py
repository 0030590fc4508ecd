"""Who of those with a verified certificate comes in: not the revoked."""

from typing import Protocol

import trio

from core.api.http import Frontend
from core.kv.errors import DamagedError
from core.node.damage import Damage
from core.tls.identity import identify

REVIEW_SECONDS = 0.2
"""How long a connection outlives the revocation of its certificate, at most."""


class Revocations(Protocol):
    """The replicated record of revoked certificates; `Keyspace`."""

    @property
    def revocations(self) -> int:
        """Counts up with each one."""
        ...

    def is_revoked(self, serial: int) -> bool: ...


class Admission:
    """Asked by the front end at each handshake, so that what was revoked a moment ago is already outside."""

    def __init__(self, known: Revocations, damage: Damage) -> None:
        self._known = known
        self._damage = damage

    def __call__(self, certificate: bytes) -> str:
        """Why its holder is not let in; empty if it is."""
        try:
            identity = identify(certificate)
        except ValueError:
            return "its certificate cannot be read"
        try:
            revoked = self._known.is_revoked(identity.serial)
        except DamagedError as error:
            self._damage.met(error)
            return "whether its certificate is revoked cannot be read"
        if revoked:
            return f"its certificate is revoked: {identity.name}, serial {identity.serial:x}"
        return ""

    async def keep(self, frontend: Frontend) -> None:
        """Close the open connections of those who are revoked. Runs until cancelled."""
        seen = self._known.revocations
        while True:
            await trio.sleep(REVIEW_SECONDS)
            if self._known.revocations != seen:
                seen = self._known.revocations
                frontend.review()
