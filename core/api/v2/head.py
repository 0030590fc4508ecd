"""The header lines of `/v2/keys`."""

from core.api.store import Store


class Head:
    """Headers, with what never changes made beforehand."""

    def __init__(self, store: Store, cluster_id: str) -> None:
        self._store = store
        fixed = b"Content-Type: application/json\r\nX-Etcd-Cluster-Id: %b\r\n" % cluster_id.encode()
        self._error = fixed + b"X-Etcd-Index: %d\r\n"
        self._success = fixed + b"X-Etcd-Index: %d\r\nX-Raft-Index: %d\r\nX-Raft-Term: %d\r\n"

    def success(self, index: int) -> bytes:
        """Of an answer that is of this index."""
        store = self._store
        return self._success % (index, store.raft_index, store.raft_term)

    def error(self, index: int) -> bytes:
        """Of a refusal at this index."""
        return self._error % index
