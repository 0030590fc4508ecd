"""Puts and deletes, alone or in a transaction: their commands, and what follows the header in their answers."""

from core.api.v3.encoding import int64
from core.api.v3.errors import invalid
from core.api.v3.messages import DeleteRangeRequest, PutRequest
from core.api.v3.render import key_value, key_values
from core.kv.commands import DeleteRange, Put
from core.kv.outcomes import DeleteDone, PutDone


def put_of(request: PutRequest) -> Put:
    """The command of a request. RpcError 3."""
    if not request.key:
        raise invalid("key is not provided")
    lease = int64(request.lease)
    if request.ignore_value and request.value:
        raise invalid("value is provided")
    if request.ignore_lease and lease:
        raise invalid("lease is provided")
    return Put(request.key, request.value, lease, request.ignore_value, request.ignore_lease)


def delete_of(request: DeleteRangeRequest) -> DeleteRange:
    """The command of a request. RpcError 3."""
    if not request.key:
        raise invalid("key is not provided")
    return DeleteRange(request.key, request.range_end or None, request.prev_kv)


def put_fields(done: PutDone, *, prev_kv: bool) -> bytes:
    """What follows the header in the answer to a put. A v2 directory that was in its place is no key."""
    if not prev_kv or done.previous is None:
        return b""
    return b',"prev_kv":%b' % key_value(done.previous)


def delete_fields(done: DeleteDone, *, prev_kv: bool) -> bytes:
    """What follows the header in the answer to a delete."""
    if not done.deleted:
        return b""
    shown = b',"prev_kvs":[%b]' % key_values(done.previous) if prev_kv else b""
    return b',"deleted":"%d"%b' % (done.deleted, shown)
