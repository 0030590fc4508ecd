"""Puts and deletes, alone or in a transaction: their commands, and what follows the header in their answers."""

from collections import deque
from collections.abc import Iterable, Iterator

from core.api.v3.encoding import int64
from core.api.v3.errors import invalid
from core.api.v3.messages import DeleteRangeRequest, PutRequest
from core.api.v3.render import key_value, key_values
from core.kv.commands import DeleteRange, Put
from core.kv.outcomes import DeleteDone, PutDone
from core.kv.records import Record

SLICE = 500
"""Records of a piece of an answer: about a millisecond."""
SLICE_BYTES = 256 << 10
"""Of the values of such a piece, and more if the last is larger."""


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


def delete_pieces(done: DeleteDone, *, prev_kv: bool) -> Iterator[bytes]:
    """What follows the header in the answer to a delete, in pieces, a slice of work each."""
    if not done.deleted:
        return
    yield b',"deleted":"%d"' % done.deleted
    if prev_kv:
        yield b',"prev_kvs":['
        yield from key_value_pieces(done.previous)
        yield b"]"


def key_value_pieces(records: Iterable[Record], *, keys_only: bool = False) -> Iterator[bytes]:
    """Keys with their values and commas between them, not too many at once, nor too large ones. Each is let go of as it
    is shown: all of many at the end would take a while."""
    left = deque(records)
    del records
    before = b""
    while left:
        part: list[Record] = []
        size = 0
        while left and len(part) < SLICE and size < SLICE_BYTES:
            record = left.popleft()
            size += len(record.value)
            part.append(record)
        yield before + key_values(part, keys_only=keys_only)
        before = b","
