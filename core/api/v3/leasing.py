"""What leases mean for permissions: whoever can end a lease deletes its keys."""

from collections.abc import Sequence

from core.api.v3.calls import Call
from core.api.v3.store import Store
from core.kv.access import Permission, Right, span
from core.kv.reserved import is_reserved


def permit_lease(store: Store, call: Call, lease: int) -> None:
    """RpcError unless whoever asks may write every key of a lease. One that is not there is for the command to say.

    A lease of a host is for that host alone, restricted or not: it could not renew one with another's keys on it."""
    host_key = store.host_key(lease) if lease else None
    if host_key is not None:
        call.permit(Right.WRITE, host_key)
    found = store.lease(lease) if lease and call.identity is not None else None
    if found is not None:
        call.permit_spans(Right.WRITE, tuple([span(key, None) for key in found[1] if not is_reserved(key)]))


def rules_reserved(store: Store, call: Call, lease: int) -> bool:
    """Whether whoever asks may prolong and end a lease although reserved keys hang on it."""
    reserve = call.reserve
    if not reserve:
        return False
    found = store.lease(lease)
    return found is None or not any(withheld(reserve, Right.WRITE, found[1]))


def withheld(reserve: Sequence[Permission], right: Right, keys: Sequence[bytes]) -> list[bool]:
    """For each key whether it is reserved and the permissions do not give the right on it. A host may have thousands,
    of a few ranges."""
    spans = [span(each.key, each.end) for each in reserve if each.right & right]
    ends = [(part.start, part.stop or b"") for part in spans]
    return [is_reserved(key) and not any(start <= key < stop for start, stop in ends) for key in keys]
