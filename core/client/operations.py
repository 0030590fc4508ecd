"""The operations endpoints: how a node is, a snapshot of it, compaction."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from core.client.errors import StrangeAnswerError
from core.client.transport import CALL_SECONDS, Answer, Stream, Transport
from core.client.tree import refusal


class Health(msgspec.Struct, frozen=True):
    """A node's own judgement of itself."""

    healthy: bool
    reason: str
    """Why not, in etcd's words such as `ALARM NOSPACE`; empty if healthy."""


class _HealthReply(msgspec.Struct, frozen=True):
    health: str | bool
    reason: str = ""


class _RevokeReply(msgspec.Struct, frozen=True):
    new: bool


class Member(msgspec.Struct, frozen=True, rename={"client_urls": "clientURLs"}):
    """A member as `/v2/members` shows it."""

    id: str
    name: str
    client_urls: tuple[str, ...] = ()


class _Members(msgspec.Struct, frozen=True):
    members: tuple[Member, ...]


class _Revocations(msgspec.Struct, frozen=True):
    serials: tuple[str, ...]


class Operations:
    """Each call asks one node: the first endpoint that can be connected to."""

    def __init__(self, transport: Transport, seconds: float = CALL_SECONDS) -> None:
        self._transport = transport
        self._seconds = seconds

    async def status(self) -> dict[str, Any]:
        """What `GET /corenode/status` tells."""
        answer = await self._transport.call("GET", "/corenode/status", seconds=self._seconds)
        if answer.status != 200:
            raise refusal(answer)
        try:
            return msgspec.json.decode(answer.body, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise StrangeAnswerError(f"the answer is not the JSON of a node's status: {error}") from None

    async def members(self) -> tuple[Member, ...]:
        """The members of the cluster; etcd answers this too."""
        answer = await self._transport.call("GET", "/v2/members", seconds=self._seconds)
        if answer.status != 200:
            raise refusal(answer)
        try:
            return msgspec.json.decode(answer.body, type=_Members).members
        except msgspec.DecodeError as error:
            raise StrangeAnswerError(f"the answer is not the JSON of a list of members: {error}") from None

    async def health(self) -> Health:
        """What `GET /health` tells; a node that calls itself unhealthy does so with HTTP 503."""
        answer = await self._transport.call("GET", "/health", seconds=self._seconds)
        try:
            reply = msgspec.json.decode(answer.body, type=_HealthReply)
        except msgspec.DecodeError:
            raise refusal(answer) from None
        return Health(answer.status == 200 and str(reply.health).lower() == "true", reply.reason)

    async def version(self) -> str:
        """The node's own version, or the etcd version of another server."""
        answer = await self._transport.call("GET", "/version", seconds=self._seconds)
        if answer.status != 200:
            raise refusal(answer)
        try:
            found = msgspec.json.decode(answer.body, type=dict[str, str])
        except msgspec.DecodeError as error:
            raise StrangeAnswerError(f"the answer is not the JSON of a version: {error}") from None
        return found.get("corenode") or found.get("etcdserver", "unknown")

    async def compact(self, revision: int) -> None:
        """Forget history before `revision`."""
        answer = await self._transport.call("POST", f"/corenode/compact?revision={revision}", seconds=self._seconds)
        if not 200 <= answer.status < 300:
            raise refusal(answer)

    async def revoked(self) -> frozenset[int]:
        """The serial numbers of all revoked certificates."""
        answer = await self._transport.call("GET", "/corenode/revocations", seconds=self._seconds)
        if answer.status != 200:
            raise refusal(answer)
        try:
            return frozenset(int(each, 16) for each in msgspec.json.decode(answer.body, type=_Revocations).serials)
        except (msgspec.DecodeError, ValueError) as error:
            raise StrangeAnswerError(f"the answer is not the JSON of revocations: {error}") from None

    async def revoke(self, serial: int) -> bool:
        """Take a certificate's rights away; False if it had none left."""
        target = f"/corenode/revocations?serial={serial:x}"
        answer = await self._transport.call("POST", target, seconds=self._seconds)
        if answer.status != 200:
            raise refusal(answer)
        try:
            return msgspec.json.decode(answer.body, type=_RevokeReply).new
        except msgspec.DecodeError as error:
            raise StrangeAnswerError(f"the answer is not the JSON of a revocation: {error}") from None

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Stream]:
        """The store at one revision, as a snapshot file piece by piece. The trailer proves that it is whole."""
        async with self._transport.stream("/corenode/snapshot") as stream:
            if stream.status != 200:
                body = b"".join([piece async for piece in stream.pieces])
                raise refusal(Answer(stream.status, stream.headers, body, stream.endpoint))
            yield stream
