"""The store over HTTP, in the v3 dialect: a node of corenode, or etcd 3.4 and newer.

Which endpoint is asked. The one that answered last; if it cannot be connected to, breaks off or says that it cannot
serve now, the next. A read is repeated there as long as time is left. A write is repeated only if it is certain that
nothing was done: no connection came about, or the server says that it had no leader to propose it to.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import trio

from core.client import gateway, login
from core.client.errors import (
    AuthenticationError,
    ClientError,
    ConnectionLostError,
    LeaseNotFoundError,
    OutcomeUnknownError,
    RefusedError,
    StrangeAnswerError,
    UnavailableError,
)
from core.client.login import Login
from core.client.remote_watch import RemoteWatch, Wanted
from core.client.store import Store, Watch
from core.client.transport import CALL_SECONDS, Answer, Transport
from core.client.values import Keys, LeaseStatus, Operation, Result, only_reads

MOST_BYTES = 64 << 20
"""How large one answer may be, or what a watch tells of one revision."""
PAUSES = (0.05, 0.5)
"""While no member can serve it is asked again after so long: at first, and at most."""

_UNSURE = frozenset({1, 2, 4, 13, 14})
"""gRPC codes that do not say whether a write was done."""
_NOT_DONE = frozenset({"no leader", "rpc not supported for learner", "not capable"})
"""Of these codes, messages that do say it: refused before it was proposed."""
_NOT_FOUND = 404

T = TypeVar("T")


class RemoteStore(Store):
    """Owns the transport, and closes it."""

    def __init__(
        self,
        transport: Transport,
        user: str | None = None,
        password: str = "",
        seconds: float = CALL_SECONDS,
        most: int = MOST_BYTES,
    ) -> None:
        self._transport = transport
        self._login = Login(transport, user, password, seconds)
        self._seconds = seconds
        self._most = most

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def execute(self, operation: Operation, *, local: bool = False) -> Result:
        path, fields = gateway.request(operation)
        if local:
            fields["serializable"] = True
        reply = await self._ask(path, fields, gateway.REPLIES[path], read=only_reads(operation))
        return reply.result()

    async def compact(self, revision: int) -> None:
        await self._ask("/v3/kv/compaction", {"revision": str(revision)}, gateway.EmptyReply, read=False)

    @asynccontextmanager
    async def watch(
        self,
        keys: bytes | Keys,
        *,
        start: int = 0,
        previous: bool = False,
        puts: bool = True,
        deletes: bool = True,
        progress: bool = False,
        lost: Callable[[str], None] | None = None,
    ) -> AsyncIterator[Watch]:
        wanted = Wanted(keys, previous, puts, deletes, progress)
        watch = RemoteWatch(self._transport, self._login, wanted, start, self._seconds, self._most, lost)
        try:
            await watch.open()
            yield watch
        finally:
            await watch.aclose()

    async def grant(self, ttl: int, lease: int = 0) -> LeaseStatus:
        fields = {"TTL": str(ttl), "ID": str(lease)}
        reply = await self._ask("/v3/lease/grant", fields, gateway.LeaseReply, read=False)
        return LeaseStatus(reply.id, reply.ttl, reply.ttl)

    async def keep_alive(self, lease: int, *, seconds: float | None = None) -> int:
        # Done twice it does no more than done once.
        fields = {"ID": str(lease)}
        reply = await self._ask("/v3/lease/keepalive", fields, gateway.KeptAlive, read=True, seconds=seconds)
        if reply.error is not None:
            raise reply.error.refusal()
        if reply.result.ttl <= 0:
            raise _no_lease()
        return reply.result.ttl

    async def revoke(self, lease: int) -> None:
        await self._ask("/v3/lease/revoke", {"ID": str(lease)}, gateway.EmptyReply, read=False)

    async def time_to_live(self, lease: int, *, keys: bool = False) -> LeaseStatus:
        fields = {"ID": str(lease), "keys": keys}
        reply = await self._ask("/v3/lease/timetolive", fields, gateway.LeaseReply, read=True)
        if reply.ttl < 0:
            raise _no_lease()
        return reply.result()

    async def leases(self) -> list[int]:
        reply = await self._ask("/v3/lease/leases", {}, gateway.LeasesReply, read=True)
        return [each.id for each in reply.leases]

    async def _ask(
        self, path: str, fields: dict[str, Any], kind: type[T], *, read: bool, seconds: float | None = None
    ) -> T:
        """The reply to a request; see the module for what is repeated."""
        body = gateway.encode(fields)
        deadline = trio.current_time() + min(self._seconds, seconds or self._seconds)
        renewed = False
        broken = 0
        pause, longest = PAUSES
        while True:
            left = max(deadline - trio.current_time(), 0)
            hosts = len(self._transport.endpoints)
            # With others to ask, one that accepts and then is silent must leave them some of the time.
            share = left / (hosts - broken) if read and broken < hosts else left
            try:
                token = await self._token(deadline)
                answer = await self._transport.call(
                    "POST", path, body, login.header(token), share, repeatable=read, most=self._most
                )
            except ConnectionLostError:
                broken += 1
                if broken > hosts or deadline - trio.current_time() < PAUSES[0]:
                    raise
                continue
            if answer.status == 200:
                return gateway.decode(answer.body, kind)
            error = _meaning(answer, read)
            if isinstance(error, AuthenticationError) and not renewed:
                renewed = True
                with trio.move_on_at(deadline):
                    if await self._login.renew(token):
                        continue
            if not isinstance(error, UnavailableError) or trio.current_time() + pause >= deadline:
                raise error
            self._transport.avoid(answer.endpoint)
            await trio.sleep(pause)
            pause = min(pause * 2, longest)

    async def _token(self, deadline: float) -> str:
        try:
            with trio.fail_at(deadline):
                return await self._login.token()
        except trio.TooSlowError:
            raise ConnectionLostError("no token in time; nothing was sent") from None


def _meaning(answer: Answer, read: bool) -> ClientError:
    """What an answer other than 200 means. UnavailableError only if nothing was done."""
    refusal: RefusedError = gateway.refusal(answer)
    foreign = refusal.code == 0
    if foreign and answer.status == _NOT_FOUND:
        return StrangeAnswerError(f"{answer.endpoint.text} does not speak the v3 dialect (etcd has it since 3.4)")
    if refusal.code in _UNSURE or (foreign and answer.status >= 500):
        if read or refusal.message in _NOT_DONE:
            return UnavailableError(answer.status, refusal.code, refusal.message)
        return OutcomeUnknownError(f"{answer.endpoint.text}: {refusal.message}: whether it took effect is not known")
    return refusal


def _no_lease() -> LeaseNotFoundError:
    return LeaseNotFoundError(_NOT_FOUND, 5, "requested lease not found")
