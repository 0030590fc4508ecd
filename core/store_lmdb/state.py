"""The replicated state: what is applied, some of it on the disk already and the rest in memory."""

import os
import select
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import lmdb

from core.kv.changed import Rows, merged
from core.kv.transaction import Reader, Table
from core.store_lmdb.environment import DATA, Writer, open_environment, open_tables
from core.store_lmdb.errors import SnapshotError, translated
from core.store_lmdb.layout import Layout, name_of, row_of

VIEWS = 8
"""Frozen views at a time. Each holds a reader slot of LMDB, and a flush that finds none would end the process."""
_ROW_COST = 200
"""Bytes of memory that a waiting row takes beside its key and value."""
_LAYER = 2048
"""Rows that come at once and are added to those that wait: some 0.5 ms. More are put over them."""
_MOST_MOVED = 50_000
"""Rows that wait and are added to those of a flush that failed."""
_FORGOTTEN = 8192
"""Rows on the disk that are let go of at once: some 1 ms."""
_AT_ONCE = 256
"""Rows that a flush writes before it lets others run: some 0.4 ms. After each pause it waits for its turn, so with
fewer a flush of a busy node takes so long that what is to be applied waits for it."""
_LOOK_SECONDS = 0.001
"""How often to look whether the rows of a flush are written."""


class Running(Protocol):
    """Something that runs in a thread, such as a `threading.Thread`."""

    def is_alive(self) -> bool: ...

    def join(self) -> None:
        """Return when it has ended."""
        ...


Start = Callable[[Callable[[], None]], Running]


class _Table:
    """One table: what waits in memory, what is on its way to the disk, and what is there. The first that knows a key
    is right about it."""

    __slots__ = ("database", "layout", "older", "waiting")

    def __init__(self, layout: Layout, database: "lmdb._Database") -> None:
        self.layout = layout
        self.database = database
        self.waiting = Rows()
        """Where writes go."""
        self.older: list[Rows] = []
        """What waited before, the newest first: below many rows that came at once, or leaving."""

    def push(self, rows: Rows) -> None:
        """Let writes go to these rows from now on."""
        if self.waiting.rows:
            self.older.insert(0, self.waiting)
        self.waiting = rows

    def pull(self) -> None:
        """Undo a push, unless that would take long: then there is a layer more."""
        if self.older and len(self.waiting.rows) <= _MOST_MOVED:
            newer, self.waiting = self.waiting, self.older.pop(0)
            self.waiting.rows.update(newer.rows)


_Leaving = dict[_Table, list[Rows]]
"""What a flush writes, the oldest first."""


class StateStore:
    """The ordered maps of the state machine over one LMDB environment; a `core.kv.transaction.Transaction`.

    Writes go to memory and are seen by reads at once. `flush` makes all of them durable in one commit, so the disk
    always holds the state as it was after some whole batch, provided the caller flushes between batches only.
    `begin_flush` does the same beside the caller, in a thread, until `settle` says that it is done; at most one is
    under way. All of this is called from one thread.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        """Open the environment in directory `path`. CorruptError if tables are missing."""
        self.file = path / DATA
        self._environment = open_environment(path, len(Table), create=create)
        self._writer = Writer(self._environment, self.file)
        try:
            names = [table.value for table in Table]
            databases = open_tables(self._environment, self.file, names, create=create)
            self._reading = self._begin()
        except BaseException:
            self._environment.close()
            raise
        self._tables = {
            table: _Table(Layout(self.file, table.value, database), database)
            for table, database in zip(Table, databases, strict=True)
        }
        self._bytes = 0
        """Of keys and values that are not on the disk yet, those included that are leaving."""
        self._leaving = 0
        """How many of these a flush that is under way takes along."""
        self.leaving_rows = self.leaving_bytes = 0
        """What the flush under way takes along."""
        self._spent: list[Rows] = []
        """What is on the disk and to be let go of."""
        self._flush: _FlushBeside | None = None
        self._views: list[_Frozen] = []

    def get(self, table: Table, key: bytes) -> bytes | None:
        """The value at `key`, or None. CorruptError if its row on the disk is damaged."""
        here = self._tables[table]
        rows = here.waiting.rows
        if key in rows:
            return rows[key]
        for older in here.older:
            if key in older.rows:
                return older.rows[key]
        return here.layout.get(self._reading, key)

    def scan(
        self, table: Table, start: bytes = b"", end: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < end in byte order, or from the last backwards; good until a write or flush."""
        here = self._tables[table]
        return _scanned(here.layout, self._reading, (here.waiting, *here.older), start, end, reverse=reverse)

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        """Store a row, in memory until the next flush."""
        self._tables[table].waiting.rows[key] = value
        self._bytes += len(key) + len(value)

    def delete(self, table: Table, key: bytes) -> None:
        """Remove a row, in memory until the next flush; removing what is not there is no error."""
        self._tables[table].waiting.rows[key] = None
        self._bytes += len(key)

    def take_over(self, changed: Mapping[Table, Rows], size: int) -> None:
        """Make many changes at once, in memory until the next flush. Few are added to what waits; many are put over it
        as they are: so there are never many such layers, for a flush takes all of them along."""
        many = sum([len(rows.rows) for rows in changed.values()]) > _LAYER
        for table, rows in changed.items():
            if not many:
                self._tables[table].waiting.rows.update(rows.rows)
            elif rows.rows:
                self._tables[table].push(rows)
        self._bytes += size

    @property
    def dirty_rows(self) -> int:
        """Rows and deletions that are not on the disk yet."""
        count = 0
        for here in self._tables.values():
            count += len(here.waiting.rows)
            for older in here.older:
                count += len(older.rows)
        return count

    @property
    def dirty_bytes(self) -> int:
        """About how many bytes of memory they take; a row written twice counts twice."""
        return self._bytes + _ROW_COST * self.dirty_rows

    def flush(self) -> None:
        """Make every write so far durable; when this returns they are.

        After DiskFullError all is as before and the writes still wait. After DiskFailedError the process must end.
        Blocks for some 5 to 10 microseconds a row and two syncs of the disk, after the flush that is under way.
        """
        if self._flush is not None:
            self.settle(wait=True)
        if not any(here.waiting.rows or here.older for here in self._tables.values()):
            return
        self._reading.abort()  # or this commit could not reuse the pages that the last one freed
        try:
            self._commit(self._all_rows(), _do_not_pause)
        finally:
            self._reading = self._begin()
        for here in self._tables.values():
            here.waiting, here.older = Rows(), []
        self._bytes = 0

    def begin_flush(self, start: Start, *, at_once: bool = False) -> None:
        """Begin to make every write so far durable, beside this thread; what is written from now on waits for the next.
        `start` runs something in a thread. With `at_once` that has written the rows when this returns, and only the
        disk is still to come: two threads that both run Python would hinder each other. RuntimeError if one is under
        way."""
        if self._flush is not None:
            raise RuntimeError("two flushes at a time")
        self._leaving = self._bytes
        self.leaving_rows, self.leaving_bytes = self.dirty_rows, self.dirty_bytes
        for here in self._tables.values():
            here.push(Rows())
        leaving = self._all_rows()
        pause = _do_not_pause if at_once else _let_others_run
        flush = _FlushBeside(leaving, lambda written: self._commit(leaving, pause, written))
        try:
            flush.start(start)
            while at_once and not flush.written:
                _sleep(_LOOK_SECONDS)
        except BaseException:
            self._take_back()
            raise
        self._flush = flush

    def settle(self, *, wait: bool = False) -> bool:
        """Whether no flush is under way (any more); with `wait` that is waited for.

        When one has ended, this is where its errors are raised: after DiskFullError what it was to write waits again.
        What it wrote is let go of in the calls that follow, some of it in each.
        """
        under_way = self._flush
        if under_way is None:
            return self._let_go(wait=wait)
        if not (wait or under_way.ended):
            return False
        self._flush = None
        try:
            under_way.join()
        except BaseException:
            self._take_back()
            raise
        self._reading.abort()
        self._reading = self._begin()
        for here, gone in under_way.leaving.items():
            del here.older[len(here.older) - len(gone) :]
            self._spend(gone)
        self._bytes -= self._leaving
        self.leaving_rows = self.leaving_bytes = 0
        return self._let_go(wait=wait)

    def _spend(self, gone: list[Rows]) -> None:
        """These are on the disk, and to be let go of if no view needs them any more."""
        needed = {id(rows) for view in self._views for rows in view.layers()}
        self._spent += [rows for rows in gone if id(rows) not in needed]

    def _let_go(self, *, wait: bool) -> bool:
        """Whether nothing is left in memory of what is on the disk."""
        if wait:
            self._spent.clear()
        elif self._spent and not self._spent[-1].forget(_FORGOTTEN):
            self._spent.pop()
        return not self._spent

    def _take_back(self) -> None:
        """What was leaving waits again, but for what was written anew meanwhile."""
        for here in self._tables.values() if not self._views else ():  # what a view shows must not change
            here.pull()
        self.leaving_rows = self.leaving_bytes = 0

    def _all_rows(self) -> _Leaving:
        """What is not on the disk yet."""
        return {
            here: [rows for rows in (*reversed(here.older), here.waiting) if rows.rows]
            for here in self._tables.values()
        }

    def _commit(self, leaving: _Leaving, pause: Callable[[], None], written: Callable[[], None] = lambda: None) -> None:
        """Write rows in one commit; `written` is called before the disk is. Rests on nothing that another thread
        changes meanwhile."""
        with self._writer.commit() as transaction:
            for here, layers in leaving.items():
                for changed in layers:
                    with transaction.cursor(here.database) as cursor:
                        _write(cursor, changed.rows, pause)
            written()

    def _begin(self) -> "lmdb.Transaction[bytes]":
        with translated(self.file, "read"):
            return self._environment.begin()

    def size_in_use(self) -> int:
        """Bytes of the pages that hold rows on the disk; free pages, which later writes reuse, are not counted."""
        size = 0
        for here in self._tables.values():
            counts = self._reading.stat(here.database)
            size += counts["psize"] * (counts["branch_pages"] + counts["leaf_pages"] + counts["overflow_pages"])
        return size

    @contextmanager
    def frozen(self) -> Iterator[Reader]:
        """Read the state as it is now, what waits in memory included, however it is written to meanwhile.

        Until the end LMDB cannot reuse pages that are freed meanwhile, so the file may grow, and what waited is kept in
        memory. SnapshotError if VIEWS others are open.
        """
        if len(self._views) == VIEWS:
            raise SnapshotError(f"{self.file}: already read {VIEWS} times at once; try again when a snapshot has ended")
        transaction = self._begin()
        for here in self._tables.values():
            here.push(Rows())
        view = _Frozen({table: (here.layout, tuple(here.older)) for table, here in self._tables.items()}, transaction)
        self._views.append(view)
        try:
            yield view
        finally:
            self._views.remove(view)
            transaction.abort()
            present = {id(rows) for here in self._tables.values() for rows in here.older}
            self._spend([rows for rows in view.layers() if id(rows) not in present])

    def count(self) -> dict[str, int]:
        """Rows on the disk by table, each read and checked. CorruptError at the first that is damaged."""
        return {
            table.value: sum(1 for _ in here.layout.scan(self._reading, b"", None))
            for table, here in self._tables.items()
        }

    def size_on_disk(self) -> int:
        """Bytes of the file."""
        return os.stat(self.file).st_size

    def close(self) -> None:
        """Let go of the files, when a flush that is under way has ended. What was not flushed is forgotten; the log has
        it."""
        if self._flush is not None:
            self._flush.wait()
        self._reading.abort()
        self._environment.close()


class _Frozen:
    """The rows of one moment: those on the disk, and what waited in memory above them, the newest first."""

    def __init__(
        self, tables: Mapping[Table, tuple[Layout, tuple[Rows, ...]]], transaction: "lmdb.Transaction[bytes]"
    ) -> None:
        self._tables = tables
        self._transaction = transaction

    def layers(self) -> Iterator[Rows]:
        """What waited, of all tables."""
        for _, layers in self._tables.values():
            yield from layers

    def get(self, table: Table, key: bytes) -> bytes | None:
        layout, layers = self._tables[table]
        for rows in layers:
            if key in rows.rows:
                return rows.rows[key]
        return layout.get(self._transaction, key)

    def scan(
        self, table: Table, start: bytes = b"", end: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        layout, layers = self._tables[table]
        return _scanned(layout, self._transaction, layers, start, end, reverse=reverse)


def _scanned(
    layout: Layout,
    transaction: "lmdb.Transaction[bytes]",
    layers: tuple[Rows, ...],
    start: bytes,
    end: bytes | None,
    *,
    reverse: bool,
) -> Iterator[tuple[bytes, bytes]]:
    """Stored rows with the layers over them, the newest first."""
    found = (layout.scan_back if reverse else layout.scan)(transaction, start, end)
    for newer in reversed(layers):
        if newer.rows:
            found = merged(found, newer.keys(start, end, reverse=reverse), newer.rows, reverse=reverse)
    return found


class _FlushBeside:
    """A flush in a thread of its own."""

    def __init__(self, leaving: _Leaving, commit: Callable[[Callable[[], None]], None]) -> None:
        self.leaving = leaving
        self.written = False
        """All rows are in the commit that is to come, or it has failed."""
        self._commit = commit
        self._error: BaseException | None = None
        self._thread: Running | None = None

    def start(self, start: Start) -> None:
        self._thread = start(self._run)

    @property
    def ended(self) -> bool:
        return self._thread is None or not self._thread.is_alive()

    def wait(self) -> None:
        """Return when it has ended, however."""
        if self._thread is not None:
            self._thread.join()

    def join(self) -> None:
        """Return when it has succeeded; raise what it failed with."""
        self.wait()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            self._commit(self._was_written)
        except BaseException as error:
            self._error = error
        finally:
            self._was_written()

    def _was_written(self) -> None:
        self.written = True


def _do_not_pause() -> None:
    pass


def _let_others_run() -> None:
    """Give up the interpreter for as long as a thread that wants it takes to wake up: else that would get it after the
    5 ms of a switch only, since this one takes it back at once between two puts."""
    _sleep(0.0001)


def _sleep(seconds: float) -> None:
    select.select((), (), (), seconds)  # not time.sleep, which fails under libfaketime


def _write(cursor: "lmdb.Cursor[bytes]", rows: dict[bytes, bytes | None], pause: Callable[[], None]) -> None:
    """Bring the rows of one table to the disk, in the order of their names so that neighbours share page writes."""
    named = {name_of(key): key for key in rows}
    names = sorted(named)
    last = cursor.key() if cursor.last() else b""
    for start in range(0, len(names), _AT_ONCE):
        puts: list[tuple[bytes, bytes]] = []
        behind: list[tuple[bytes, bytes]] = []
        for name in names[start : start + _AT_ONCE]:
            key = named[name]
            value = rows[key]
            if value is not None:
                (behind if name > last else puts).append((name, row_of(name, key, value)))
            elif cursor.set_key(name):
                cursor.delete()
        if puts:
            cursor.putmulti(puts)
        if behind:  # names behind the last stored one are appended: LMDB then fills pages instead of halving them
            cursor.putmulti(behind, append=True)
        pause()
