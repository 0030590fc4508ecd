"""What the node asks of its disk; `core.store_lmdb` fulfils it."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Protocol

from core.kv.transaction import Transaction
from core.raft.messages import Entry, HardState, Snapshot
from core.store_lmdb.reception import Reception
from core.store_lmdb.state import Start


class Log(Protocol):
    """Entries and hard state."""

    def append(self, entries: Sequence[Entry], hard_state: HardState | None = None) -> None:
        """Make them durable in one commit, whole or not at all."""
        ...

    def drop_until(self, index: int) -> None:
        """Entries up to and with `index` are in the flushed state; the next appends may remove them."""
        ...


class State(Transaction, Protocol):
    """The maps of the state machine; written ones wait in memory for a flush."""

    @property
    def dirty_rows(self) -> int: ...

    @property
    def dirty_bytes(self) -> int:
        """What the waiting rows take, about."""
        ...

    @property
    def leaving_rows(self) -> int:
        """How many of them the flush under way takes along."""
        ...

    @property
    def leaving_bytes(self) -> int:
        """What those take."""
        ...

    def flush(self) -> None:
        """Make all of it durable in one commit."""
        ...

    def begin_flush(self, start: Start) -> None:
        """Begin to do that beside the caller, in a thread that `start` makes; what is written from now on waits for the
        next."""
        ...

    def settle(self) -> bool:
        """Whether no flush is under way any more; raises what the last one failed with, once."""
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


class Snapshots(Protocol):
    """Whole states, going out and coming in; `core.node.snapshots`."""

    def outgoing(self, place: Snapshot, revision: int) -> AsyncGenerator[bytes]:
        """The state of this moment, which contains the log up to `place`, in pieces; to be closed. StoreError."""
        ...

    async def receive(self, place: Snapshot, pieces: AsyncIterator[bytes]) -> Reception:
        """Take in a state of `place`, to be installed and closed by the caller. StoreError."""
        ...

    def install(self, reception: Reception, place: Snapshot, hard_state: HardState) -> State:
        """Put it in the place of the state, with the log beginning anew behind it."""
        ...

    def close(self, reception: Reception) -> None:
        """Let go of it, installed or not."""
        ...
