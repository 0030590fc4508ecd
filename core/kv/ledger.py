"""The rows of the keyspace and the few numbers that go with them: how versions are written, found and forgotten.

Everything that changes a row goes through here, so that the tables agree with each other:
- a live version of a key or directory is the newest of its row and has a record in the revision table;
- a record with a deadline has a row in EXPIRY, a record with a lease one in ATTACHED, while it is live.
"""

import copy
import struct
from collections import deque
from collections.abc import Iterable
from typing import Protocol

import msgspec

from core.kv import paths, records, rows
from core.kv.errors import CompactedError, LimitError, MissingRecordError
from core.kv.memo import Memo
from core.kv.outcomes import Marked
from core.kv.records import DIRECTORY, GONE, NOWHERE, POSITION, SPILLED, Action, Event, Record
from core.kv.staged import Staged
from core.kv.steps import CHANGES, Steps
from core.kv.transaction import Table, Transaction

_APPLIED = b"applied"
_APPLIED_ROW = struct.Struct(">QQQQQ12s")
_KNOWN_DIRECTORIES = 4096
_EVENTS = 1024
"""Events looked at in one step."""

SYSTEM_PREFIX = b"\0corenode/"
"""Where the system records live."""

LONGEST_KEY = 65_536
"""Bytes. What a store must hold as a key is a little more: a deadline or lease id in front of this."""

EXPIRES_KEY = b"k"
EXPIRES_DIRECTORY = b"d"
EXPIRES_LEASE = b"l"


class Switch:
    """Whether access is restricted, and the revision of the last change to users, roles or this (0: never)."""

    __slots__ = ("enabled", "revision")

    def __init__(self) -> None:
        self.enabled = False
        self.revision = 0


class Numbers(Protocol):
    """Where a ledger has come to, to look at: plain attributes, for what nearly every answer tells."""

    @property
    def revision(self) -> int:
        """The last index consumed."""
        ...

    @property
    def applied_index(self) -> int:
        """The last log entry applied."""
        ...


class Ledger:
    """Owner of the rows. `time` is the cluster time of the batch that is being applied, in ns."""

    def __init__(self, transaction: Transaction) -> None:
        self.expired = 0
        """What expired since the ledger was made, for statistics."""
        self.access = Switch()
        """As the rows of `core.kv.accounts` say."""
        self.revocations = 0
        """Certificates revoked since the ledger was made: whoever guards connections looks again when it moves."""
        self.accusations = 0
        """How often `core.kv.suspicion` changed since the ledger was made."""
        self.memo = Memo()
        """What readers made of live files."""
        self.open(transaction)

    def open(self, transaction: Transaction) -> None:
        """Begin from what the rows hold."""
        self.rows = transaction
        self.memo.clear()
        self.applied_index = 0
        self.applied_term = 0
        self.revision = 1
        """Last index consumed. An empty keyspace is at 1."""
        self.time = 1
        self.floor = 1
        """Oldest revision that can be read."""
        self.swept = bytes(12)
        """Position up to which compaction has removed what the floor hides."""
        self.events: list[Event] = []
        """Visible changes of the batch in progress."""
        self.marked: Marked | None = None
        """Where states are to be compared; until that is done no more is swept than its floor hides."""
        self._group: list[tuple[Table, Record]] | None = None
        """What the command in progress wrote, if its last revision is not known yet."""
        self._last = 0
        """The last revision of the command in progress, if its changes share that and it is known beforehand."""
        self._open_directories: set[bytes] = set()
        """Directories known to be live with no file at or above them; forgotten whole when in doubt. With a directory
        all those above it are in the set."""
        row = transaction.get(Table.META, _APPLIED)
        if row is not None:
            (self.applied_index, self.applied_term, self.revision, self.time, self.floor, self.swept) = (
                _APPLIED_ROW.unpack(row)
            )

    def ahead(self) -> "Ledger":
        """A ledger that goes on from here, of which this one shows nothing before `overtake`."""
        other = copy.copy(self)
        other.rows = Staged(self.rows)
        other.access = copy.copy(self.access)
        other._open_directories = set(self._open_directories)
        return other

    def overtake(self, ahead: "Ledger") -> None:
        """Come to where `ahead` is. This one must not have changed meanwhile."""
        rows, access = self.rows, self.access
        if isinstance(ahead.rows, Staged):
            self.memo.changed_all(ahead.rows.changed(Table.KEY))  # again: it was read as it was before, meanwhile
            ahead.rows.pour()
        access.enabled, access.revision = ahead.access.enabled, ahead.access.revision
        vars(self).update(vars(ahead))
        self.rows, self.access = rows, access

    def save_numbers(self) -> None:
        """Write the numbers beside the rows, so that both rest in one transaction."""
        self.rows.put(
            Table.META,
            _APPLIED,
            _APPLIED_ROW.pack(self.applied_index, self.applied_term, self.revision, self.time, self.floor, self.swept),
        )

    # Finding

    def record(self, position: bytes) -> Record | None:
        """The record at a position, or None if it was compacted."""
        row = self.rows.get(Table.REVISION, position)
        return None if row is None else records.decode(position, row)

    def live(self, table: Table, key: bytes) -> Record | None:
        """The current version of a key or directory."""
        return self.newest(self.rows.get(table, key))

    def newest(self, row: bytes | None) -> Record | None:
        """The current version that a row shows."""
        position = rows.newest_live(row)
        if position is None:
            return None
        found = self.rows.get(Table.REVISION, position)
        return self.existing(position) if found is None else records.decode(position, found)

    def is_live(self, table: Table, key: bytes) -> bool:
        """Whether a key or directory is there."""
        return rows.newest_live(self.rows.get(table, key)) is not None

    def shown(self, row: bytes, at: int | None) -> bytes | None:
        """Position of the version of a row that revision `at` (None: now) shows."""
        if at is None:
            return rows.newest_live(row)
        position, older = rows.find(row, at)
        while older is not None:
            chunk = self.rows.get(Table.OLDER, older)
            if chunk is None:
                return None
            position, older = rows.find(chunk, at)
        return position

    def check_readable(self, at: int) -> None:
        """CompactedError if revision `at` can no longer be read."""
        if at < self.floor:
            raise CompactedError(self.floor)

    def check_length(self, key: bytes) -> None:
        """LimitError if a key is too long to be written."""
        if len(key) > LONGEST_KEY:
            raise LimitError(f"a key has {len(key):,} bytes; at most {LONGEST_KEY:,} can be stored")

    def existing(self, position: bytes) -> Record:
        """The record that a row shows at a readable revision. MissingRecordError if it is not there."""
        record = self.record(position)
        if record is None:
            index, part = POSITION.unpack(position)
            raise MissingRecordError(f"the revision table has no record {index}.{part}, which a live row names")
        return record

    # Directories

    def file_above(self, path: bytes) -> bytes | None:
        """The first ancestor of `path` that is a file, if any."""
        if self.knows_open_above(path):
            return None
        for directory in paths.ancestors(path):
            if self.is_live(Table.KEY, directory):
                return directory
        return None

    def knows_open_above(self, path: bytes) -> bool:
        """Whether the directory that holds a clean path is known to be live with no file at or above it. False says
        nothing."""
        directory = path[: path.rindex(b"/")]
        return not directory or directory in self._open_directories

    def make_parents(self, path: bytes, index: int, part: int) -> int:
        """Make the missing directories above a clean path, silently, as parts of the change `index` from sub-number
        `part` on; the next free sub-number."""
        if self.knows_open_above(path):
            return part
        above = paths.ancestors(path)
        if len(self._open_directories) + len(above) > _KNOWN_DIRECTORIES:
            self._open_directories.clear()
        no_file = True
        for directory in above:
            no_file = no_file and not self.is_live(Table.KEY, directory)
            if not self.is_live(Table.DIRECTORY, directory):
                self.write(Table.DIRECTORY, directory, index, part, Action.CREATE, flags=DIRECTORY)
                part += 1
            if no_file:
                self._open_directories.add(directory)
        return part

    # Writing

    def write(
        self,
        table: Table,
        key: bytes,
        index: int,
        part: int,
        action: Action,
        value: bytes = b"",
        *,
        flags: int = 0,
        previous: Record | None = None,
        keep_created: bool = False,
        keep_modified: bool = False,
        lease: int = 0,
        deadline: int = 0,
        row: bytes | None = None,
    ) -> Record:
        """Add a version to `key` at position (index, part).

        `previous` is what it replaces, in this table or the other. `keep_created` leaves v2's createdIndex as it was,
        `keep_modified` its modifiedIndex. `row` is that of the key, from whoever read it in this command; None: it is
        read here.
        """
        position = POSITION.pack(index, part)
        revision = self._last or index
        row = row or self.rows.get(table, key) or rows.EMPTY
        if rows.is_full(row):
            row = rows.pruned(row, self.floor)
            if rows.is_full(row):
                self.rows.put(Table.OLDER, position, row)
                row = rows.pointing_to(position)
                flags |= SPILLED
        modified = created = index
        create_revision, version, replaced = revision, 1, NOWHERE
        if previous is not None:
            replaced = previous.position
            if keep_modified:
                modified = previous.modified
            if keep_created:
                created = previous.created
            if previous.flags & DIRECTORY == flags & DIRECTORY:
                create_revision = previous.create_revision
                version = previous.version + 1
        record = Record(
            position,
            key,
            value,
            action,
            flags,
            revision,
            modified,
            created,
            create_revision,
            version,
            lease,
            deadline,
            replaced,
            self.time,
        )
        self._store(table, record, rows.appended(row, position, revision, gone=False))
        if previous is not None and previous.deadline | previous.lease:
            self._unschedule(previous)
        if deadline:
            kind = EXPIRES_DIRECTORY if flags & DIRECTORY else EXPIRES_KEY
            self.rows.put(Table.EXPIRY, _expiry(deadline, kind, key), b"")
        if lease:
            self.rows.put(Table.ATTACHED, lease.to_bytes(8, "big") + key, b"")
        if table is Table.KEY and key in self._open_directories:
            self._open_directories.clear()
        return record

    def remove(
        self, table: Table, previous: Record, index: int, part: int, action: Action, revision: int = 0
    ) -> Record:
        """End a key or directory with a deletion at position (index, part), of that v3 revision (0: `index`)."""
        key = previous.key
        position = POSITION.pack(index, part)
        revision = revision or index
        row = self.rows.get(table, key) or rows.EMPTY
        record = Record(
            position,
            key,
            b"",
            action,
            GONE | (previous.flags & DIRECTORY),
            revision,
            index,
            previous.created,
            0,
            0,
            0,
            0,
            previous.position,
            self.time,
        )
        self._store(table, record, rows.appended(row, position, revision, gone=True))
        if previous.deadline | previous.lease:
            self._unschedule(previous)
        if table is Table.DIRECTORY:
            self._open_directories.clear()
        return record

    def remove_all(self, found: Iterable[Record], count: int, action: Action) -> Steps[None]:
        """End `count` keys as one command, or as a part of the group that has begun."""
        last = self.revision + count
        for number, previous in enumerate(found, 1):
            index = self.revision + 1
            self.tell(self.remove(Table.KEY, previous, index, 0, action, last), previous)
            if number % CHANGES == 0:
                yield

    def tell(self, record: Record, previous: Record | None, files: Iterable[Event] = ()) -> Event:
        """Count the change as visible: it consumes its index and goes to the watchers, with the files that ended."""
        self.revision += 1
        event = Event(record, previous)
        self.events.append(event)
        self.events.extend(files)
        return event

    def begin_group(self, changes: int | None) -> None:
        """Begin a command of so many changes, which share the mod revision of the last of them; None: nobody knows how
        many."""
        self._group = [] if changes is None else None
        self._last = 0 if changes is None else self.revision + changes

    def end_group(self, first_event: int) -> Steps[dict[bytes, Record]]:
        """Give every version written since `begin_group` the revision of the last change; `first_event` is where
        the group's events begin in `events`. The records this changed, by position: none, if that was known."""
        group, self._group = deque(self._group or ()), None
        expected, self._last = self._last, 0
        last = self.revision
        if expected and expected != last:
            raise ValueError(f"a command that was to end at revision {expected} ended at {last}")
        moved: dict[bytes, Record] = {}
        while group:
            table, record = group.popleft()
            if len(group) % CHANGES == 0:
                yield
            if record.revision == last:
                continue
            updated = _at_revision(record, last)
            moved[record.position] = updated
            self.rows.put(Table.REVISION, record.position, records.encode(updated))
            row = self.rows.get(table, record.key) or rows.EMPTY
            self.rows.put(table, record.key, rows.with_newest_revision(row, last))
        for place in range(first_event, len(self.events) if moved else 0):
            if place % _EVENTS == 0:
                yield
            event = self.events[place]
            if event.record.position in moved:
                self.events[place] = Event(moved[event.record.position], event.previous)
        return moved

    def _store(self, table: Table, record: Record, row: bytes) -> None:
        self.rows.put(Table.REVISION, record.position, records.encode(record))
        self.rows.put(table, record.key, row)
        if table is Table.KEY:
            self.memo.changed(record.key)
        if self._group is not None:
            self._group.append((table, record))

    def _unschedule(self, record: Record) -> None:
        if record.deadline:
            kind = EXPIRES_DIRECTORY if record.directory else EXPIRES_KEY
            self.rows.delete(Table.EXPIRY, _expiry(record.deadline, kind, record.key))
        if record.lease:
            self.rows.delete(Table.ATTACHED, record.lease.to_bytes(8, "big") + record.key)


def _expiry(deadline: int, kind: bytes, name: bytes) -> bytes:
    return deadline.to_bytes(8, "big") + kind + name


def _at_revision(record: Record, revision: int) -> Record:
    """The record as part of a command whose last change is `revision`."""
    create_revision = revision if record.version == 1 else record.create_revision
    return msgspec.structs.replace(record, revision=revision, create_revision=create_revision)
