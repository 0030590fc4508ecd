"""Who we are to a server of the v3 dialect: a token, had for a name and password, renewed when it is no longer good."""

import trio

from core.client import gateway
from core.client.errors import RefusedError
from core.client.transport import Transport

_PATH = "/v3/auth/authenticate"
_NOT_ENABLED = "authentication is not enabled"


class Login:
    """The token that all calls of one store show."""

    def __init__(self, transport: Transport, user: str | None, password: str, seconds: float) -> None:
        self._transport = transport
        self._fields = None if user is None else {"name": user, "password": password}
        self._seconds = seconds
        self._token: str | None = None
        self._renewing = trio.Lock()

    async def token(self) -> str:
        """The token to show; empty if there is none to show. AuthenticationError if user and password are wrong."""
        if self._fields is None:
            return ""
        if self._token is None:
            await self.renew(None)
        return self._token or ""

    async def renew(self, refused: str | None) -> bool:
        """Get another token than the one that was refused, which another call may have done meanwhile. False if there
        is no other to be had."""
        if self._fields is None:
            return False
        async with self._renewing:
            if self._token in (None, refused):
                self._token = await self._authenticate(self._fields)
        return self._token != refused

    async def _authenticate(self, fields: dict[str, str]) -> str:
        body = gateway.encode(fields)
        answer = await self._transport.call("POST", _PATH, body, seconds=self._seconds, repeatable=True)
        if answer.status == 200:
            return gateway.decode(answer.body, gateway.TokenReply).token
        refusal: RefusedError = gateway.refusal(answer)
        if refusal.message == _NOT_ENABLED:
            return ""
        raise refusal


def header(token: str) -> list[tuple[bytes, bytes]]:
    """How a token is shown."""
    return [(b"Authorization", token.encode("latin-1"))] if token else []
