"""The members of a cluster, and how they change."""

from typing import Any

import msgspec

from core.client.errors import StrangeAnswerError
from core.client.transport import CALL_SECONDS, Answer, Transport
from core.client.tree import refusal

_JSON = ((b"Content-Type", b"application/json"),)


class Member(msgspec.Struct, frozen=True):
    """A member as the node that was asked sees it."""

    id: str
    """Hexadecimal."""
    name: str
    """Empty until it has started for the first time, if it was added without one."""
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    version: str
    role: str
    """leader, voter or learner."""
    link: str
    """`self`, `up`, or why the node has no connection to it."""
    heard_seconds: float | None = None
    round_trip_ms: float | None = None


class _List(msgspec.Struct, frozen=True):
    members: tuple[Member, ...]


class _Id(msgspec.Struct, frozen=True):
    id: str


class Members:
    """Each call asks one node: the first endpoint that can be connected to. ClientError."""

    def __init__(self, transport: Transport, seconds: float = CALL_SECONDS) -> None:
        self._transport = transport
        self._seconds = seconds

    async def list(self) -> tuple[Member, ...]:
        """All members, by id."""
        answer = await self._call("GET", "")
        try:
            return msgspec.json.decode(answer.body, type=_List).members
        except msgspec.DecodeError as error:
            raise StrangeAnswerError(f"the answer is not a list of members: {error}") from None

    async def add(self, name: str, peer_urls: tuple[str, ...], *, learner: bool) -> str:
        """Let a member in; its id."""
        answer = await self._call("POST", "", {"name": name, "peer_urls": peer_urls, "learner": learner})
        try:
            return msgspec.json.decode(answer.body, type=_Id).id
        except msgspec.DecodeError as error:
            raise StrangeAnswerError(f"the answer is not the id of a member: {error}") from None

    async def update(self, member: str, peer_urls: tuple[str, ...]) -> None:
        """Say where a member is reached from now on."""
        await self._call("PUT", f"/{member}", {"peer_urls": peer_urls})

    async def promote(self, member: str) -> None:
        """Give a learner a vote."""
        await self._call("POST", f"/{member}/promote")

    async def remove(self, member: str) -> None:
        """Put a member out for good."""
        await self._call("DELETE", f"/{member}")

    async def move_leader(self, member: str) -> None:
        """Ask the leader to hand over to a member."""
        answer = await self._transport.call(
            "POST", "/corenode/lead", msgspec.json.encode({"member": member}), _JSON, self._seconds
        )
        if answer.status != 200:
            raise refusal(answer)

    async def _call(self, method: str, below: str, body: Any = None) -> Answer:
        content = b"" if body is None else msgspec.json.encode(body)
        answer = await self._transport.call(method, f"/corenode/members{below}", content, _JSON, self._seconds)
        if answer.status != 200:
            raise refusal(answer)
        return answer
