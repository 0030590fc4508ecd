"""`/v3/lock/lock` and `/v3/lock/unlock`: the first key in line holds the lock."""

from functools import partial

from core.api.http.message import Handler
from core.api.v3.calls import Context, Unary
from core.api.v3.encoding import Int64, Message, base64_of, int64
from core.api.v3.errand import Errand, errand
from core.api.v3.errors import invalid
from core.api.v3.queue import Place, Queue
from core.kv.access import Right, span
from core.kv.commands import DeleteRange
from core.kv.outcomes import DeleteDone


class LockRequest(Message, forbid_unknown_fields=True, frozen=True, gc=False):
    """Take a lock; it is held until it is given back or the lease ends."""

    name: bytes = b""
    lease: Int64 = 0


class UnlockRequest(Message, forbid_unknown_fields=True, frozen=True, gc=False):
    """Give a lock back: the key that taking it was answered with."""

    key: bytes = b""


def lock_handlers(context: Context, queue: Queue) -> dict[str, Handler]:
    """The handlers by path."""
    locks = _Locks(context, queue)
    return {
        "lock/lock": Unary(context, LockRequest, errand(context, locks.lock)),
        "lock/unlock": Unary(context, UnlockRequest, errand(context, locks.unlock)),
    }


class _Locks:
    """The handlers."""

    def __init__(self, context: Context, queue: Queue) -> None:
        self._context = context
        self._header = context.header
        self._queue = queue

    async def lock(self, request: LockRequest, one: Errand) -> None:
        """Answer when the lock is held."""
        self._context.check_size(len(request.name))
        place = await self._queue.enter(one, request.name, int64(request.lease), b"")
        await self._queue.wait(one, request.name, place, partial(self._held, place, one))

    async def _held(self, place: Place, one: Errand) -> None:
        await one.send(b'{"header":%b,"key":"%b"}' % (self._header.now(), base64_of(place.key)))

    async def unlock(self, request: UnlockRequest, one: Errand) -> None:
        """Give it back; no error if it was not held."""
        if not request.key:
            raise invalid("key is not provided")
        self._context.check_size(len(request.key))
        one.need(Right.WRITE, span(request.key, None))
        done: DeleteDone = await one.propose(DeleteRange(request.key, previous=False))
        await one.send(b'{"header":%b}' % self._header.at(done.revision))
