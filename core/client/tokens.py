"""The tokens by which hosts join."""

from urllib.parse import quote

import msgspec

from core.client.errors import StrangeAnswerError
from core.client.transport import CALL_SECONDS, Answer, Transport
from core.client.tree import refusal

_JSON = ((b"Content-Type", b"application/json"),)


class Token(msgspec.Struct, frozen=True):
    """A token as a node knows it; times are Unix time."""

    id: str
    role: str
    uses: int
    used: int
    created: float
    expires: float
    creator: str
    state: str
    """usable, used up, expired or revoked."""


class NewToken(Token, frozen=True):
    """One that was just made, with its text."""

    token: str = ""


class _List(msgspec.Struct, frozen=True):
    tokens: tuple[Token, ...]


class Tokens:
    """Each call asks one node: the first endpoint that can be connected to. ClientError."""

    def __init__(self, transport: Transport, seconds: float = CALL_SECONDS) -> None:
        self._transport = transport
        self._seconds = seconds

    async def create(self, ttl: int, uses: int, role: str) -> NewToken:
        """Make one that is good for `ttl` seconds. Its text is told this once."""
        answer = await self._call("POST", "", {"ttl": ttl, "uses": uses, "role": role})
        try:
            return msgspec.json.decode(answer.body, type=NewToken)
        except msgspec.DecodeError as error:
            raise StrangeAnswerError(f"the answer is not a token: {error}") from None

    async def list(self) -> tuple[Token, ...]:
        """All that are known."""
        answer = await self._call("GET", "")
        try:
            return msgspec.json.decode(answer.body, type=_List).tokens
        except msgspec.DecodeError as error:
            raise StrangeAnswerError(f"the answer is not a list of tokens: {error}") from None

    async def revoke(self, token: str) -> None:
        """Make one useless."""
        await self._call("DELETE", f"/{quote(token, safe='')}")

    async def _call(self, method: str, below: str, body: object = None) -> Answer:
        content = b"" if body is None else msgspec.json.encode(body)
        answer = await self._transport.call(method, f"/corenode/tokens{below}", content, _JSON, self._seconds)
        if answer.status != 200:
            raise refusal(answer)
        return answer
