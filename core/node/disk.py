"""What the node asks of its disk; `core.store_lmdb` fulfils it."""

from collections.abc import Sequence
from typing import Protocol

from core.raft.messages import Entry, HardState


class Log(Protocol):
    """Entries and hard state."""

    def append(self, entries: Sequence[Entry], hard_state: HardState | None = None) -> None:
        """Make them durable in one commit, whole or not at all."""
        ...

    def drop_until(self, index: int) -> None:
        """Entries up to and with `index` are in the flushed state; the next appends may remove them."""
        ...


class State(Protocol):
    """The maps of the state machine; written ones wait in memory for a flush."""

    @property
    def dirty_rows(self) -> int: ...

    @property
    def dirty_bytes(self) -> int:
        """What the waiting rows take, about."""
        ...

    def flush(self) -> None:
        """Make all of it durable in one commit."""
        ...

    def size_in_use(self) -> int:
        """Bytes of the pages that hold rows."""
        ...


class Space(Protocol):
    """Room on the file system of the data directory."""

    def is_low(self) -> bool:
        """Whether free space is below the low-water mark, or the reserve is in use."""
        ...

    def restore_reserve(self) -> bool:
        """Make the reserve if there is ample room for it; whether it is there now."""
        ...

    def release_reserve(self) -> bool:
        """Give its room to the next commits; False if it was given already."""
        ...
