"""The store as the dialects of this member see it: proposals go to the drive loop, reads to the keyspace."""

from functools import partial
from typing import Any, NoReturn

from core.kv.errors import DivergedError
from core.kv.memo import Memo
from core.kv.tree import Page
from core.node.node import Node
from core.watch.path import PathWatcher


class LocalStore:
    """Fulfils `core.api.store.Store` and `core.client.inside.Node` on a member. Synchronous, on the loop."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._raft = node.raft
        self.clock = node.clock
        self.damage = node.damage
        # Bound once: each of these is on the way of nearly every request.
        self.propose = node.propose
        self.confirm = node.confirm
        self.transfer = node.transfer
        self.node = node.keyspace.node
        self.record = node.keyspace.record
        self.key = node.keyspace.key
        self.page = node.keyspace.page
        self.evaluation = node.keyspace.evaluation
        self.lease = node.keyspace.lease
        self.leases = node.keyspace.leases
        self.host_key = node.keyspace.host_key
        self.hashing = node.keyspace.hashing
        self.deadline = node.keyspace.deadline
        self.watch_keys = node.hub.watch_keys
        self.follow = node.hub.follow
        self.turn = node.hub.turn
        self.switch = node.keyspace.access.switch
        self.numbers = node.keyspace.numbers
        node.fence.on_fenced = self._refuse
        self._refuse(node.fence.why)

    def _refuse(self, why: str) -> None:
        """Serve no reads any more, for a reason, or (without one) serve them."""
        keyspace = self._node.keyspace
        refuse = partial(_diverged, why)
        self.node = refuse if why else keyspace.node
        self.memo = Memo(0) if why else keyspace.memo
        self.record = refuse if why else keyspace.record
        self.key = refuse if why else keyspace.key
        self.page = refuse if why else keyspace.page
        self.evaluation = refuse if why else keyspace.evaluation
        self.lease = refuse if why else keyspace.lease
        self.leases = refuse if why else keyspace.leases
        self.host_key = refuse if why else keyspace.host_key
        self.deadline = refuse if why else keyspace.deadline
        self.watch_keys = refuse if why else self._node.hub.watch_keys

    @property
    def revision(self) -> int:
        """The last index applied."""
        return self.numbers.revision

    @property
    def settled(self) -> bool:
        """Whether every watch was offered all that was applied."""
        return self._node.hub.settled

    @property
    def raft_index(self) -> int:
        """The last log entry applied."""
        return self.numbers.applied_index

    @property
    def swept(self) -> bool:
        """Whether all that compaction hides is removed."""
        return self._node.keyspace.swept

    @property
    def raft_term(self) -> int:
        return self._raft.term

    def children(self, path: bytes, after: bytes = b"", limit: int = 1000, at: int | None = None) -> Page:
        """A page of what is directly in a directory; see `Keyspace.children`."""
        if self._node.fence.why:
            _diverged(self._node.fence.why)
        return self._node.keyspace.children(path, after, limit, at)

    def watch(self, path: bytes, *, recursive: bool = False, start: int = 0) -> PathWatcher:
        """Watch a path; see `Hub.watch`."""
        if self._node.fence.why:
            _diverged(self._node.fence.why)
        return self._node.hub.watch(path, recursive=recursive, start=start)


def _diverged(why: str, *_: Any, **__: Any) -> NoReturn:
    raise DivergedError(why)
