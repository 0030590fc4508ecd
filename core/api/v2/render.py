"""Nodes and events as v2 JSON.

Strings hold bytes that are UTF-8 as they are; each byte that is not becomes U+FFFD, as Go writes it.
"""

import codecs
from datetime import UTC, datetime

import msgspec

from core.api.store import Store
from core.kv.records import DIRECTORY, GONE, Action, Event, Record

_SECOND = 1_000_000_000


class Node(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """A node in etcd's field order; what is at its default is left out."""

    key: str = ""
    value: str | None = None
    dir: bool = False
    expiration: str | None = None
    ttl: int = 0
    modified_index: int = 0
    created_index: int = 0


class Answer(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """The body of a success."""

    action: str
    node: Node | None = None
    prev_node: Node | None = None


encode = msgspec.json.Encoder().encode


def _replace_one_byte(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "\ufffd", error.start + 1


codecs.register_error("v2-replace-each-byte", _replace_one_byte)


def text(raw: bytes) -> str:
    """Bytes as a JSON string can hold them."""
    try:
        return raw.decode()  # in half the time of looking an error handler up
    except UnicodeDecodeError:
        return raw.decode("utf-8", "v2-replace-each-byte")


def event_body(store: Store, event: Event) -> bytes:
    """One event as a JSON line."""
    record = event.record
    before = event.previous
    previous = None if before is None else _node(store, before, before.modified, record.time)
    return encode(Answer(record.action.word, changed(store, record), previous)) + b"\n"


def quiet_body(action: Action) -> bytes:
    """The JSON line of a write whose client wants no nodes."""
    return encode(Answer(action.word)) + b"\n"


def node_body(store: Store, record: Record) -> bytes:
    """The answer to a GET of a file."""
    return encode(Answer("get", present(store, record))) + b"\n"


def changed(store: Store, record: Record) -> Node:
    """The node of an event: the index of the change, and no content if it is gone."""
    if record.flags & GONE:
        return Node(
            text(record.key),
            dir=record.directory,
            modified_index=record.index,
            created_index=record.created,
        )
    return _node(store, record, record.index, record.time)


def present(store: Store, record: Record) -> Node:
    """A node as it stands; a directory without its children."""
    then = store.clock.now() if record.deadline or record.lease else 0
    return _node(store, record, record.modified, then)


def _node(store: Store, record: Record, modified: int, time: int) -> Node:
    """A node as seen at a cluster time: its TTL is what was left then."""
    directory = record.flags & DIRECTORY != 0
    value = None if directory else text(record.value)
    expiration, remaining = _expiry(store, record, time) if record.deadline or record.lease else (None, 0)
    return Node(text(record.key), value, directory, expiration, remaining, modified, record.created)


def _expiry(store: Store, record: Record, time: int) -> tuple[str | None, int]:
    """When it expires, RFC 3339 in UTC, and in how many seconds of cluster time from `time` on, rounded up; (None, 0)
    for never."""
    deadline = store.deadline(record)
    if not deadline:
        return None, 0
    remaining = -((time - deadline) // _SECOND)
    return rfc3339(store.clock.wall(deadline)), max(remaining, 0)


def rfc3339(wall: float) -> str:
    """A Unix time as Go prints it: UTC, no trailing zeros in the fraction."""
    moment = datetime.fromtimestamp(wall, UTC)
    fraction = f".{moment.microsecond:06d}".rstrip("0") if moment.microsecond else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}Z"
