"""What this dialect asks of the store beyond what v2 asks. Declared here by its consumer; `core.node` fulfils it."""

from typing import Protocol

from core.api import store
from core.kv.access import Span
from core.kv.commands import Txn
from core.kv.leases import Lease
from core.kv.outcomes import TxnDone
from core.kv.reading import RangePage
from core.kv.records import Record


class Store(store.Store, Protocol):
    """The replicated store with its flat keys."""

    def key(self, name: bytes, at: int = 0) -> Record | None:
        """A key as revision `at` (0: now) shows it. CompactedError, FutureRevisionError."""
        ...

    def page(self, part: Span, at: int = 0, wanted: int = 1000, *, reverse: bool = False) -> RangePage:
        """A page of a range of keys as of revision `at` or now: at most `wanted` records, the others counted, in order
        of the keys or backwards. A call never takes long; it says what is left to be read. CompactedError,
        FutureRevisionError."""
        ...

    def evaluate(self, command: Txn) -> TxnDone:
        """What a transaction that writes nothing comes to now. KeyspaceError."""
        ...

    def lease(self, lease: int) -> tuple[Lease, list[bytes]] | None:
        """The terms and keys of a lease."""
        ...

    def leases(self, after: int = 0, limit: int = 1000) -> list[int]:
        """The ids of the leases behind `after`, in order."""
        ...

    @property
    def swept(self) -> bool:
        """Whether all that compaction hides is removed."""
        ...
