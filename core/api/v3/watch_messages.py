"""The requests of the service Watch, as in etcd's rpc.proto, and its replies."""

from __future__ import annotations

from core.api.v3.encoding import Enumeration, Int64, Message, Name

FILTERS = Enumeration("WatchCreateRequest_FilterType", "NOPUT", "NODELETE")
NO_PUT, NO_DELETE = 0, 1
NOBODY = -1
"""The id of replies that are about no watch, or about all."""


class WatchCreateRequest(Message, forbid_unknown_fields=True, frozen=True, gc=False):
    """Open a watch."""

    key: bytes = b""
    range_end: bytes = b""
    start_revision: Int64 = 0
    progress_notify: bool = False
    filters: tuple[Name, ...] = ()
    prev_kv: bool = False
    watch_id: Int64 = 0
    fragment: bool = False


class WatchCancelRequest(Message, forbid_unknown_fields=True, frozen=True, gc=False):
    """Close a watch."""

    watch_id: Int64 = 0


class WatchProgressRequest(Message, forbid_unknown_fields=True, frozen=True, gc=False):
    """Ask how far the stream has come."""


class WatchRequest(Message, forbid_unknown_fields=True, frozen=True, gc=False):
    """One of the three."""

    create_request: WatchCreateRequest | None = None
    cancel_request: WatchCancelRequest | None = None
    progress_request: WatchProgressRequest | None = None


END = b"}}\n"
"""Of a line."""


def beginning(header: bytes, watch_id: int) -> bytes:
    """A line of the stream up to its further fields."""
    if watch_id:
        return b'{"result":{"header":%b,"watch_id":"%d"' % (header, watch_id)
    return b'{"result":{"header":%b' % header


def reply(header: bytes, watch_id: int, rest: bytes = b"") -> bytes:
    """A line of the stream; `rest` are further fields, each with a comma before it."""
    return b"%b%b%b" % (beginning(header, watch_id), rest, END)
