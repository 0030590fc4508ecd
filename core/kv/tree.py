"""The tree operations of the v2 dialect on the one keyspace.

Each checks first and writes then, so a refusal changes nothing. Exact behaviour: etcd 2.3's v2 API; the conformance
table in `tests/conformance` is run against etcd as well.
"""

from collections.abc import Iterator

import msgspec

from core.kv import paths
from core.kv.commands import CompareAndDelete, CompareAndSwap, Create, Delete, Set, Update
from core.kv.errors import LimitError, TreeError
from core.kv.ledger import Ledger
from core.kv.records import DIRECTORY, REFRESH, Action, Event, Record
from core.kv.steps import CHANGES, Steps, scan
from core.kv.transaction import Table

_SECOND = 1_000_000_000


def find(ledger: Ledger, path: bytes) -> Record:
    """The file or directory at a clean path other than the root; TreeError 100 or 104."""
    record = ledger.live(Table.KEY, path)
    if ledger.knows_open_above(path):
        record = record or ledger.live(Table.DIRECTORY, path)
        if record is None:
            raise TreeError(TreeError.KEY_NOT_FOUND, path.decode(), ledger.revision)
        return record
    for directory in paths.ancestors(path):
        if ledger.is_live(Table.KEY, directory):
            raise TreeError(TreeError.NOT_A_DIRECTORY, directory.decode(), ledger.revision)
        if not ledger.is_live(Table.DIRECTORY, directory):
            raise TreeError(TreeError.KEY_NOT_FOUND, directory.decode(), ledger.revision)
    record = record or ledger.live(Table.DIRECTORY, path)
    if record is None:
        raise TreeError(TreeError.KEY_NOT_FOUND, path.decode(), ledger.revision)
    return record


def find_if_any(ledger: Ledger, path: bytes) -> Record | None:
    """As `find`, but None for what is not there. TreeError 104 below a file."""
    _check_above(ledger, path)
    return ledger.live(Table.KEY, path) or ledger.live(Table.DIRECTORY, path)


def set_(ledger: Ledger, command: Set) -> Event:
    """Create or replace."""
    path = command.path
    _check_path(ledger, path)
    row = None
    previous: Record | None
    if command.refresh:
        previous = find(ledger, path)
    else:
        _check_above(ledger, path)
        row = ledger.rows.get(Table.KEY, path)
        previous = ledger.newest(row) or ledger.live(Table.DIRECTORY, path)
    value = previous.value if command.refresh and previous is not None else command.value
    if previous is not None and previous.directory:
        raise TreeError(TreeError.NOT_A_FILE, path.decode(), ledger.revision)
    deadline = _deadline(ledger, command.ttl)
    return _make(ledger, path, Action.SET, value, command.directory, deadline, previous, command.refresh, row)


def create(ledger: Ledger, command: Create) -> Event:
    """Create what must not exist, in order if asked."""
    path = command.path
    if command.in_order:
        name = b"%020d" % (ledger.revision + 1)
        path = paths.ROOT + name if path == paths.ROOT else path + b"/" + name
    _check_path(ledger, path)
    previous = find_if_any(ledger, path)
    if previous is not None:
        raise TreeError(TreeError.KEY_EXISTS, path.decode(), ledger.revision)
    deadline = _deadline(ledger, command.ttl)
    return _make(ledger, path, Action.CREATE, command.value, command.directory, deadline, None, False, None)


def update(ledger: Ledger, command: Update) -> Event:
    """New value and TTL for a file, new TTL for a directory."""
    path = command.path
    _check_path(ledger, path)
    previous = find(ledger, path)
    deadline = _deadline(ledger, command.ttl)
    if not previous.directory:
        value = previous.value if command.refresh else command.value
        return _rewrite(ledger, previous, Action.UPDATE, value, deadline, command.refresh)
    if command.value:
        raise TreeError(TreeError.NOT_A_FILE, path.decode(), ledger.revision)
    record = ledger.write(
        Table.DIRECTORY,
        path,
        ledger.revision + 1,
        0,
        Action.UPDATE,
        flags=DIRECTORY | (REFRESH if command.refresh else 0),
        previous=previous,
        keep_created=True,
        keep_modified=True,
        deadline=deadline,
    )
    return ledger.tell(record, previous)


def compare_and_swap(ledger: Ledger, command: CompareAndSwap) -> Event:
    """Replace a file that is as expected."""
    _check_path(ledger, command.path)
    previous = find(ledger, command.path)
    _compare(ledger, previous, command.previous_value, command.previous_index)
    value = previous.value if command.refresh else command.value
    deadline = _deadline(ledger, command.ttl)
    return _rewrite(ledger, previous, Action.COMPARE_AND_SWAP, value, deadline, command.refresh)


def delete(ledger: Ledger, command: Delete) -> Steps[Event]:
    """Delete a file, an empty directory, or a tree."""
    path = command.path
    _check_path(ledger, path)
    previous = find(ledger, path)
    if previous.directory:
        if not (command.directory or command.recursive):
            raise TreeError(TreeError.NOT_A_FILE, path.decode(), ledger.revision)
        if not command.recursive and not is_empty(ledger, path):
            raise TreeError(TreeError.DIRECTORY_NOT_EMPTY, path.decode(), ledger.revision)
    return take(ledger, previous, Action.DELETE)


def compare_and_delete(ledger: Ledger, command: CompareAndDelete) -> Steps[Event]:
    """Delete a file that is as expected."""
    if command.path == paths.ROOT:
        raise TreeError(TreeError.NOT_A_FILE, "", ledger.revision)
    previous = find(ledger, command.path)
    _compare(ledger, previous, command.previous_value, command.previous_index)
    return take(ledger, previous, Action.COMPARE_AND_DELETE)


def take(ledger: Ledger, previous: Record, action: Action) -> Steps[Event]:
    """End a file, or a directory with all that v2 sees below it, as one visible change."""
    index = ledger.revision + 1
    table = Table.DIRECTORY if previous.directory else Table.KEY
    record = ledger.remove(table, previous, index, 0, action)
    files: list[Event] = []
    if previous.directory:
        for part, (below, found) in enumerate(_below(ledger, previous.key), 1):
            if part % CHANGES == 0:
                yield
            ended = ledger.remove(below, found, index, part, action)
            if not found.directory:
                files.append(Event(ended, found))
    return ledger.tell(record, previous, files)


def is_empty(ledger: Ledger, directory: bytes) -> bool:
    """Whether v2 sees nothing in a directory, hidden names included."""
    for table in (Table.KEY, Table.DIRECTORY):
        for key, row in ledger.rows.scan(table, *paths.below(directory)):
            if paths.is_clean(key) and ledger.shown(row, None) is not None:
                return False
    return True


SCANNED = 1000
"""Rows that one page of a directory looks at, at most: about a millisecond."""
_JUMP = 4
"""Rows that a jump over what lies deeper counts for."""


class Page(msgspec.Struct, frozen=True, gc=False):
    """A part of a directory, in order of paths."""

    records: tuple[Record, ...]
    more: bytes | None
    """Ask again for what comes behind this path; None: there is no more."""


def children(ledger: Ledger, directory: bytes, after: bytes, limit: int, at: int | None) -> Page:
    """Files and directories directly in a directory, as `core.api.store.Store.children` says."""
    if at is not None:
        ledger.check_readable(at)
    files, files_end = _names(ledger, Table.KEY, directory, after, limit, at)
    directories, directories_end = _names(ledger, Table.DIRECTORY, directory, after, limit, at)
    positions = directories | files  # a file hides the directory of its path
    ends = [end for end in (files_end, directories_end) if end is not None]
    more = min(ends, default=None)
    found = sorted(path for path in positions if more is None or path <= more)
    if len(found) > limit:
        found = found[:limit]
        more = found[-1]
    return Page(tuple([ledger.existing(positions[path]) for path in found]), more)


def _names(
    ledger: Ledger, table: Table, directory: bytes, after: bytes, limit: int, at: int | None
) -> tuple[dict[bytes, bytes], bytes | None]:
    """Positions of up to `limit` direct children in one table by path, jumping over what lies deeper; and the path
    behind which it stopped, None at the end. It also stops after SCANNED rows: most may be deleted."""
    start, end = paths.below(directory)
    prefix = len(start)
    found: dict[bytes, bytes] = {}
    start = max(start, after + b"\0") if after else start
    scanned = 0
    while True:
        deeper = None
        for path, row in ledger.rows.scan(table, start, end):
            scanned += 1
            slash = path.find(b"/", prefix)
            if slash != -1:
                deeper = path[:slash] + b"0"
                scanned += _JUMP
                if scanned >= SCANNED:
                    return found, path[:slash] + b"/\xff"
                break
            position = ledger.shown(row, at)
            if position is not None and paths.is_clean(path):
                found[path] = position
            if len(found) == limit or scanned >= SCANNED:
                return found, path
        if deeper is None:
            return found, None
        start = deeper


def _below(ledger: Ledger, directory: bytes) -> Iterator[tuple[Table, Record]]:
    """All that v2 sees below a directory; good while what it has shown is removed."""
    for table in (Table.KEY, Table.DIRECTORY):
        for key, row in scan(ledger.rows, table, *paths.below(directory)):
            position = ledger.shown(row, None)
            if position is not None and paths.is_clean(key):
                yield table, ledger.existing(position)


def _make(
    ledger: Ledger,
    path: bytes,
    action: Action,
    value: bytes,
    directory: bool,
    deadline: int,
    previous: Record | None,
    refresh: bool,
    row: bytes | None,
) -> Event:
    """A new file or directory in the place of `previous`, which is a file or None. `row`: as `Ledger.write` takes it,
    for the file."""
    index = ledger.revision + 1
    part = ledger.make_parents(path, index, 1)
    flags = REFRESH if refresh else 0
    if not directory:
        record = ledger.write(
            Table.KEY, path, index, 0, action, value, flags=flags, previous=previous, deadline=deadline, row=row
        )
        return ledger.tell(record, previous)
    files: tuple[Event, ...] = ()
    if previous is not None:
        files = (Event(ledger.remove(Table.KEY, previous, index, part, action), previous),)
        hidden = ledger.live(Table.DIRECTORY, path)
        if hidden is not None:
            # A directory that v3 put the file over: its terms end here, what lies below it stays and shows again.
            ledger.remove(Table.DIRECTORY, hidden, index, part + 1, action)
    record = ledger.write(
        Table.DIRECTORY, path, index, 0, action, flags=flags | DIRECTORY, previous=previous, deadline=deadline
    )
    return ledger.tell(record, previous, files)


def _rewrite(ledger: Ledger, previous: Record, action: Action, value: bytes, deadline: int, refresh: bool) -> Event:
    """A new value for an existing file."""
    record = ledger.write(
        Table.KEY,
        previous.key,
        ledger.revision + 1,
        0,
        action,
        value,
        flags=REFRESH if refresh else 0,
        previous=previous,
        keep_created=True,
        deadline=deadline,
    )
    return ledger.tell(record, previous)


def _compare(ledger: Ledger, record: Record, value: bytes | None, index: int) -> None:
    """TreeError 102 for a directory, 101 with v2's words for what differs."""
    if record.directory:
        raise TreeError(TreeError.NOT_A_FILE, record.key.decode(), ledger.revision)
    causes = []
    if value is not None and value != record.value:
        causes.append(f"[{value.decode(errors='replace')} != {record.value.decode(errors='replace')}]")
    if index and index != record.modified:
        causes.append(f"[{index} != {record.modified}]")
    if causes:
        raise TreeError(TreeError.COMPARE_FAILED, " ".join(causes), ledger.revision)


def _deadline(ledger: Ledger, ttl: int | None) -> int:
    """Cluster time in ns when a TTL given now runs out; 0: never."""
    return 0 if ttl is None else ledger.time + max(0, min(ttl, LONGEST_TTL)) * _SECOND


LONGEST_TTL = 9_223_372_036
"""Seconds; what is longer is as good as this (285 years), and fits 64 bits of nanoseconds."""


def _check_above(ledger: Ledger, path: bytes) -> None:
    """TreeError 104 below a file."""
    file = ledger.file_above(path)
    if file is not None:
        raise TreeError(TreeError.NOT_A_DIRECTORY, file.decode(), ledger.revision)


def _check_path(ledger: Ledger, path: bytes) -> None:
    """TreeError 107 for the root, LimitError for what is too long or too deep."""
    if path == paths.ROOT:
        raise TreeError(TreeError.ROOT_READ_ONLY, "/", ledger.revision)
    ledger.check_length(path)
    if path.count(b"/") > paths.MAX_DEPTH:
        raise LimitError(f"the key has {path.count(b'/')} components; at most {paths.MAX_DEPTH} are possible")
