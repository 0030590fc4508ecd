"""The `header` of every reply, and whole replies made of it."""

from typing import Any

import msgspec

from core.api.http.message import Response
from core.api.plain import JSON
from core.api.v2.cluster import Cluster
from core.api.v3.store import Store

_encode = msgspec.json.Encoder().encode


class Header:
    """Ids, revision and term as JSON: `{"cluster_id":"1","member_id":"2","revision":"3","raft_term":"4"}`."""

    def __init__(self, store: Store, cluster: Cluster) -> None:
        self._store = store
        self.cluster_id = int(cluster.id, 16)
        self.member_id = int(cluster.self_id, 16)
        ids = b'"cluster_id":"%d","member_id":"%d"' % (self.cluster_id, self.member_id)
        self._form = b"{%b," % ids + b'"revision":"%d","raft_term":"%d"}'
        self._bare = b"{%b," % ids + b'"raft_term":"%d"}'

    def at(self, revision: int) -> bytes:
        """The header of what is of this revision."""
        return self._form % (revision, self._store.raft_term)

    def now(self) -> bytes:
        """The header at the store's present revision."""
        return self.at(self._store.revision)

    def without_revision(self) -> bytes:
        """The header of replies about the cluster, which have no revision."""
        return self._bare % self._store.raft_term


def ok(body: bytes) -> Response:
    """A success."""
    return Response(200, JSON, body)


def reply_body(header: bytes, fields: dict[str, Any] | None = None) -> bytes:
    """A reply: the header, then the fields that are not at their default."""
    kept = {name: value for name, value in (fields or {}).items() if value}
    if not kept:
        return b'{"header":%b}' % header
    return b'{"header":%b,%b' % (header, _encode(kept)[1:])


def result_line(body: bytes) -> bytes:
    """One message of a stream: one line, sent as one chunk."""
    return b'{"result":%b}\n' % body
