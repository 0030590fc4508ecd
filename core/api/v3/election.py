"""`/v3/election/...`: the first key in line is the leader, and its value what the leader says."""

from __future__ import annotations

from functools import partial

from core.api.http.message import Handler
from core.api.v3.calls import Context, Unary
from core.api.v3.encoding import Int64, Message, base64_of, int64
from core.api.v3.errand import Errand, errand
from core.api.v3.errors import Code, RpcError
from core.api.v3.header import result_line
from core.api.v3.queue import Place, Queue, foremost, line_of, unchanged
from core.api.v3.render import key_value
from core.kv.access import Right, span
from core.kv.commands import DeleteRange, Put
from core.kv.errors import CompactedError
from core.kv.outcomes import TxnDone
from core.kv.records import Record


class LeaderKey(Message, forbid_unknown_fields=True, frozen=True, gc=False):
    """What shows that a client leads: the key it was answered with."""

    name: bytes = b""
    key: bytes = b""
    rev: Int64 = 0
    lease: Int64 = 0


class CampaignRequest(Message, forbid_unknown_fields=True, frozen=True, gc=False):
    """Stand for election, and be told when it is won."""

    name: bytes = b""
    lease: Int64 = 0
    value: bytes = b""


class ProclaimRequest(Message, forbid_unknown_fields=True, frozen=True, gc=False):
    """Say something else as leader."""

    leader: LeaderKey | None = None
    value: bytes = b""


class LeaderRequest(Message, forbid_unknown_fields=True, frozen=True, gc=False):
    """Ask who leads, or follow who leads."""

    name: bytes = b""


class ResignRequest(Message, forbid_unknown_fields=True, frozen=True, gc=False):
    """Lead no longer."""

    leader: LeaderKey | None = None


def election_handlers(context: Context, queue: Queue) -> dict[str, Handler]:
    """The handlers by path."""
    elections = _Elections(context, queue)
    return {
        "election/campaign": Unary(context, CampaignRequest, errand(context, elections.campaign)),
        "election/proclaim": Unary(context, ProclaimRequest, errand(context, elections.proclaim)),
        "election/leader": Unary(context, LeaderRequest, errand(context, elections.leader)),
        "election/observe": Unary(context, LeaderRequest, errand(context, elections.observe)),
        "election/resign": Unary(context, ResignRequest, errand(context, elections.resign)),
    }


class _Elections:
    """The handlers."""

    def __init__(self, context: Context, queue: Queue) -> None:
        self._context = context
        self._header = context.header
        self._queue = queue

    async def campaign(self, request: CampaignRequest, one: Errand) -> None:
        """Answer when whoever asks leads."""
        self._context.check_size(len(request.name) + len(request.value))
        place = await self._queue.enter(one, request.name, int64(request.lease), request.value)
        await self._queue.wait(
            one,
            request.name,
            place,
            partial(self._elected, request, place, one),
            partial(self._say, request, place, one),
        )

    async def _say(self, request: CampaignRequest, place: Place, one: Errand) -> None:
        """The key may be there from before, with another value."""
        if place.value != request.value:
            put = Put(place.key, request.value, place.lease)
            done: TxnDone = await one.propose(unchanged(place.key, place.created, put))
            _check_leads(done)

    async def _elected(self, request: CampaignRequest, place: Place, one: Errand) -> None:
        leader = b'{"name":"%b","key":"%b","rev":"%d","lease":"%d"}' % (
            base64_of(request.name),
            base64_of(place.key),
            place.created,
            place.lease,
        )
        await one.send(b'{"header":%b,"leader":%b}' % (self._header.at(place.revision), leader))

    async def proclaim(self, request: ProclaimRequest, one: Errand) -> None:
        """Write the leader's key, if it still is the leader's."""
        leader = _given(request.leader)
        self._context.check_size(len(leader.key) + len(request.value))
        one.need(Right.WRITE, span(leader.key, None))
        put = Put(leader.key, request.value, int64(leader.lease))
        done: TxnDone = await one.propose(unchanged(leader.key, int64(leader.rev), put))
        _check_leads(done)
        await one.send(b'{"header":%b}' % self._header.at(done.revision))

    async def resign(self, request: ResignRequest, one: Errand) -> None:
        """Delete the leader's key, if it still is the leader's."""
        leader = _given(request.leader)
        self._context.check_size(len(leader.key))
        one.need(Right.WRITE, span(leader.key, None))
        done: TxnDone = await one.propose(unchanged(leader.key, int64(leader.rev), DeleteRange(leader.key)))
        await one.send(b'{"header":%b}' % self._header.at(done.revision))

    async def leader(self, request: LeaderRequest, one: Errand) -> None:
        """Answer with the leader's key as it is now."""
        one.need(Right.READ, line_of(request.name))
        await one.confirm()
        at = one.store.revision
        found = await foremost(one, request.name, at)
        if found is None:
            raise RpcError(Code.UNKNOWN, "election: no leader")
        await one.send(self._shown(found, at))

    async def observe(self, request: LeaderRequest, one: Errand) -> None:
        """Tell of each leader, and of all that a leader says."""
        one.need(Right.READ, line_of(request.name))
        await one.confirm()
        await one.begin()
        while True:
            at = one.store.revision
            try:
                found = await foremost(one, request.name, at)
                if found is None:
                    found = await self._first_to_come(one, request.name, at)
                    at = found.revision
                await self._tell(one, found, at)
                await self._follow(one, found.key, at)
            except CompactedError:  # it was too slow: what is now is what it must know
                continue

    async def _first_to_come(self, one: Errand, name: bytes, since: int) -> Record:
        line = line_of(name)
        with one.store.follow(line.start, line.stop or b"\0", start=since + 1) as watch:
            while True:
                for event in await watch.next():
                    if not event.record.gone:
                        return event.record

    async def _follow(self, one: Errand, key: bytes, since: int) -> None:
        """Tell of what a leader says until it leads no longer."""
        with one.store.follow(key, None, start=since + 1) as watch:
            while True:
                for event in await watch.next():
                    if event.record.gone:
                        return
                    await self._tell(one, event.record, event.record.revision)

    async def _tell(self, one: Errand, record: Record, at: int) -> None:
        one.check()
        await one.send(result_line(self._shown(record, at)))

    def _shown(self, record: Record, at: int) -> bytes:
        return b'{"header":%b,"kv":%b}' % (self._header.at(at), key_value(record))


def _given(leader: LeaderKey | None) -> LeaderKey:
    if leader is None:
        raise RpcError(Code.UNKNOWN, '"leader" field must be provided')
    return leader


def _check_leads(done: TxnDone) -> None:
    if not done.succeeded:
        raise RpcError(Code.UNKNOWN, "election: not leader")
