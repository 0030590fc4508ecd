"""`/v3/kv/put`, `/v3/kv/deleterange` and `/v3/kv/compaction`, and the handlers of all of `/v3/kv/`."""

from functools import partial
from itertools import chain

import trio

from core.api.http.message import Handler, Outlet
from core.api.plain import JSON
from core.api.v3.calls import Call, Context, Unary
from core.api.v3.encoding import int64
from core.api.v3.leasing import permit_lease
from core.api.v3.messages import CompactionRequest, DeleteRangeRequest, PutRequest, RangeRequest, TxnRequest
from core.api.v3.operations import delete_of, delete_pieces, put_fields, put_of
from core.api.v3.ranges import Ranges
from core.api.v3.txn import Transactions
from core.kv.access import Right
from core.kv.commands import Compact
from core.kv.outcomes import Compacted, DeleteDone, PutDone

SWEPT_EVERY_SECONDS = 0.05
"""How often a physical compaction looks whether the node has removed what is to go."""


def kv_handlers(context: Context) -> dict[str, Handler]:
    """The handlers by path."""
    keys = _Keys(context)
    return {
        "kv/range": Unary(context, RangeRequest, Ranges(context).serve),
        "kv/put": Unary(context, PutRequest, keys.put),
        "kv/deleterange": Unary(context, DeleteRangeRequest, keys.delete_range),
        "kv/txn": Unary(context, TxnRequest, Transactions(context).serve),
        "kv/compaction": Unary(context, CompactionRequest, keys.compact),
    }


FEW = 8
"""Records that are sent at once, however large: the request that wrote each had the same bound."""


class _Keys:
    """Writes of single requests."""

    def __init__(self, context: Context) -> None:
        self._store = context.store
        self._header = context.header
        self._context = context

    def put(self, request: PutRequest, call: Call) -> None:
        """Store a value."""
        command = put_of(request)
        self._context.check_size(len(command.key) + len(command.value))
        call.permit(Right.WRITE, command.key)
        if request.prev_kv:
            call.permit(Right.READ, command.key)
        permit_lease(self._store, call, command.lease)
        call.propose(command, partial(self._put_done, request.prev_kv, call))

    def _put_done(self, prev_kv: bool, call: Call, done: PutDone) -> None:
        call.send(b'{"header":%b%b}' % (self._header.at(done.revision), put_fields(done, prev_kv=prev_kv)))

    def delete_range(self, request: DeleteRangeRequest, call: Call) -> None:
        """Delete keys."""
        command = delete_of(request)
        self._context.check_size(len(command.key) + len(command.end or b""))
        call.permit(Right.WRITE, command.key, command.end)
        if request.prev_kv:
            call.permit(Right.READ, command.key, command.end)
        call.propose(command, partial(self._deleted, request.prev_kv, call))

    def _deleted(self, prev_kv: bool, call: Call, done: DeleteDone) -> None:
        begun = b'{"header":%b' % self._header.at(done.revision)
        pieces = chain(delete_pieces(done, prev_kv=prev_kv), (b"}",))
        if len(done.previous) <= FEW:
            call.send(begun + b"".join(pieces))
        else:
            call.send_slices(begun, pieces)

    def compact(self, request: CompactionRequest, call: Call) -> None:
        """Forget history; a physical compaction is answered when its space is free."""
        revision = int64(request.revision)
        call.permit_root()

        def compacted(done: Compacted) -> None:
            body = b'{"header":%b}' % self._header.at(done.revision)
            if request.physical:
                call.reply.stream(partial(self._when_swept, body))
            else:
                call.send(body)

        call.propose(Compact(revision), compacted)

    async def _when_swept(self, body: bytes, outlet: Outlet) -> None:
        while not self._store.swept:  # noqa: ASYNC110 - the node sweeps at its own pace and tells nobody
            await trio.sleep(SWEPT_EVERY_SECONDS)
        await outlet.start(200, JSON)
        await outlet.send(body)
