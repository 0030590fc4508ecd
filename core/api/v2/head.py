"""The header lines of `/v2/keys`."""

from core.api.store import Store


class Head:
    """Headers, with what seldom changes made beforehand: many answers are of one log entry."""

    def __init__(self, store: Store, cluster_id: str) -> None:
        self._store = store
        self._numbers = store.numbers
        fixed = b"Content-Type: application/json\r\nX-Etcd-Cluster-Id: %b\r\n" % cluster_id.encode()
        self._error = fixed + b"X-Etcd-Index: %d\r\n"
        self._of = (0, 0)
        """Raft's index and term as `_success` has them."""
        self._success = self._error
        self._now = b""
        self._revision = 0
        """That of `_now`."""

    def success(self, index: int) -> bytes:
        """Of an answer that is of this index."""
        self._keep_up()
        return self._success % index

    def now(self) -> bytes:
        """Of an answer that is of the present index."""
        self._keep_up()
        revision = self._numbers.revision
        if revision != self._revision:
            self._now = self._success % revision
            self._revision = revision
        return self._now

    def error(self, index: int) -> bytes:
        """Of a refusal at this index."""
        return self._error % index

    def _keep_up(self) -> None:
        of = self._numbers.applied_index, self._store.raft_term
        if of != self._of:
            self._success = self._error + b"X-Raft-Index: %d\r\nX-Raft-Term: %d\r\n" % of
            self._of = of
            self._revision = 0
