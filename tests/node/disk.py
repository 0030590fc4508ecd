"""A disk in memory that can be full, slow, or lose its power, and a node on it."""

from collections.abc import Callable, Sequence
from random import Random

import trio

from core.kv.keyspace import Keyspace
from core.kv.memory import MemoryStore
from core.kv.transaction import Table
from core.node.clock import ClusterClock
from core.node.headroom import Headroom
from core.node.node import Node
from core.raft.machine import Raft
from core.raft.members import Members
from core.raft.messages import Entry, HardState
from core.store_lmdb.errors import DiskFullError
from core.store_lmdb.log import Place
from core.watch.hub import Hub

MEMBER = 7


class Disk:
    """What survives a crash, and the faults."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.hard_state = HardState()
        self.state = MemoryStore()
        self.commits = 0
        self.room = 1 << 30
        """Commits that still find room; the reserve is one more."""
        self.reserve = True
        self.low = False
        self.before_commit: Callable[[], None] = lambda: None


class DiskLog:
    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self.dropped = 0

    def append(self, entries: Sequence[Entry], hard_state: HardState | None = None) -> None:
        disk = self._disk
        disk.before_commit()
        if disk.room == 0:
            raise DiskFullError("the disk is full; free some space")
        disk.room -= 1
        disk.commits += 1
        disk.entries += entries
        if hard_state is not None:
            disk.hard_state = hard_state

    def drop_until(self, index: int) -> None:
        self.dropped = index

    @property
    def floor(self) -> Place:
        return Place(0, 0)

    @property
    def last(self) -> Place:
        return Place(len(self._disk.entries), self.term(len(self._disk.entries)))

    def term(self, index: int) -> int:
        return self._disk.entries[index - 1].term if index else 0

    def read(self, first: int, last: int, size: int = 0) -> list[Entry]:
        return self._disk.entries[first - 1 : last]


class DiskState(MemoryStore):
    def __init__(self, disk: Disk) -> None:
        super().__init__()
        self._disk = disk
        self._tables = {table: rows.copy() for table, rows in disk.state._tables.items()}
        self.dirty_rows = 0
        self.used = 0
        self.dirty_bytes = 0
        self.leaving_rows = self.leaving_bytes = 0
        self.full = False

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        super().put(table, key, value)
        self.dirty_rows += 1

    def flush(self) -> None:
        if self.full:
            raise DiskFullError("no room for the state")
        self._disk.state._tables = {table: rows.copy() for table, rows in self._tables.items()}
        self.dirty_rows = 0

    def begin_flush(self, start: object) -> None:
        self._error: DiskFullError | None = None
        try:
            self.flush()
        except DiskFullError as error:
            self._error = error

    def settle(self) -> bool:
        error, self._error = self._error, None
        if error is not None:
            raise error
        return True

    def size_in_use(self) -> int:
        return self.used


class DiskSpace:
    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def is_low(self) -> bool:
        return self._disk.low or not self._disk.reserve

    def restore_reserve(self) -> bool:
        if not self._disk.low and self._disk.room > 1:
            self._disk.reserve = True
        return self._disk.reserve

    def release_reserve(self) -> bool:
        had, self._disk.reserve = self._disk.reserve, False
        self._disk.room += had
        return had


class Machine:
    """A node that was just switched on, with what the disk holds."""

    def __init__(self, disk: Disk, quota: int = 1 << 40) -> None:
        self.disk = disk
        self.log = DiskLog(disk)
        self.state = DiskState(disk)
        self.keyspace = Keyspace(self.state)
        applied, _ = self.keyspace.applied
        raft = Raft(MEMBER, Members((MEMBER,)), disk.hard_state, applied, self.log, Random(1))
        self.clock = ClusterClock(self.keyspace.time, lambda: int(trio.current_time() * 1e9), trio.current_time)
        self.hub = Hub(self.keyspace)
        headroom = Headroom(DiskSpace(disk), self.state, quota)
        self.node = Node(raft, self.log, self.state, self.keyspace, self.hub, self.clock, headroom)
