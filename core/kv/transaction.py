"""What the state machine asks of its storage: a handful of ordered byte maps.

The state machine never knows whether it runs over LMDB (`core.store_lmdb`) or over the in-memory twin
(`core.kv.memory`); one conformance suite in `tests/` holds both to this page.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Protocol

from core.kv.changed import Rows


class Table(StrEnum):
    """The ordered maps of the replicated state. A name is part of the on-disk format."""

    META = "meta"
    """Small fixed rows: applied position, compaction progress, members."""
    REVISION = "rev"
    """Position (8-byte index, 4-byte sub-number) -> record. Append only but for compaction."""
    KEY = "key"
    """User key -> its row of versions."""
    DIRECTORY = "dir"
    """Clean path -> the row of versions of its directory record."""
    OLDER = "older"
    """Position of the write that moved them here -> older versions of one row, chained."""
    EXPIRY = "expiry"
    """Deadline (8 bytes), kind, name -> nothing. What is due next comes first."""
    LEASE = "lease"
    """Lease id (8 bytes) -> its terms."""
    ATTACHED = "attached"
    """Lease id (8 bytes), user key -> nothing."""
    TIME = "time"
    """Cluster time (8 bytes) -> the revision reached then; one row a minute, for compaction by age."""

    __hash__ = str.__hash__  # that of Enum is a Python function, and every read and write looks a table up


class Reader(Protocol):
    """Reads see every write made before them, whether it is on the disk yet or not."""

    def get(self, table: Table, key: bytes) -> bytes | None:
        """The value at `key`, or None. Keys are 0 B to 64 KiB; values up to 2 GiB."""
        ...

    def scan(
        self, table: Table, start: bytes = b"", end: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < end (None: to the end) in byte order, or from the last backwards.

        The iterator is good until the next write; drop it before writing.
        """
        ...


class Transaction(Reader, Protocol):
    """The same maps, writable. Writes are in order and cannot fail for want of space."""

    def put(self, table: Table, key: bytes, value: bytes) -> None: ...

    def delete(self, table: Table, key: bytes) -> None:
        """Remove the row; removing what is not there is no error."""
        ...

    def take_over(self, changed: Mapping[Table, Rows], size: int) -> None:
        """Make all these changes, of about `size` bytes, at once; however many they are, that takes no time to speak
        of. The caller touches them no more."""
        ...
