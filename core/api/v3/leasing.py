"""What leases mean for permissions: whoever can end a lease deletes its keys."""

from core.api.v3.calls import Call
from core.api.v3.store import Store
from core.kv.access import Right, span


def permit_lease(store: Store, call: Call, lease: int) -> None:
    """RpcError unless whoever asks may write every key of a lease. One that is not there is for the command to say."""
    found = store.lease(lease) if lease and call.identity is not None else None
    if found is not None:
        call.permit_spans(Right.WRITE, tuple([span(key, None) for key in found[1]]))
