"""Reads of v3 in slices: one key, or a range page by page, now or at a revision that is still kept."""

import msgspec

from core.kv.access import Span
from core.kv.errors import FutureRevisionError
from core.kv.ledger import Ledger
from core.kv.records import Record
from core.kv.reserved import clipped, is_hidden, is_reserved, world_end
from core.kv.transaction import Table

SCANNED = 1000
"""Rows that one page looks at, at most: about a millisecond."""
RECORD_COST = 4
"""Rows that a record counts for."""
PAGE_BYTES = 256 * 1024
"""About how many bytes of values one page brings."""


class RangePage(msgspec.Struct, frozen=True, gc=False):
    """A part of a range, in the order it was asked for."""

    records: tuple[Record, ...]
    count: int
    """Keys there are in this part, those left out included."""
    rest: Span | None
    """What was not looked at yet; None: nothing."""


def key(ledger: Ledger, name: bytes, at: int) -> Record | None:
    """The version of a key that revision `at` (0: now) shows. CompactedError, FutureRevisionError."""
    if at:
        check_revision(ledger, at)
    row = ledger.rows.get(Table.KEY, name)
    if row is None or is_hidden(name, name):
        return None
    position = ledger.shown(row, at or None)
    return None if position is None else ledger.existing(position)


def page(ledger: Ledger, part: Span, at: int, wanted: int, *, reverse: bool = False) -> RangePage:
    """The next page of a range as of revision `at` (0: now): its first `wanted` records, the others only counted.
    It may bring fewer, even none, and yet say that there is more: a call never takes long."""
    if at:
        check_revision(ledger, at)
    found: list[Record] = []
    scanned = count = size = 0
    start, stop = part.start, clipped(part.start, part.stop)
    reserved = is_reserved(start)
    for name, row in ledger.rows.scan(Table.KEY, start, stop, reverse=reverse):
        if scanned >= SCANNED or size >= PAGE_BYTES:
            # What is left must not begin in another world than the whole.
            begin = name if reserved or not is_reserved(name) else world_end(name)
            rest = Span(start, name + b"\0") if reverse else Span(begin, stop)
            return RangePage(tuple(found), count, rest)
        scanned += 1
        if is_hidden(name, start):
            continue
        position = ledger.shown(row, at or None)
        if position is not None:
            count += 1
            if len(found) < wanted:
                record = ledger.existing(position)
                size += len(record.value) + len(name)
                scanned += RECORD_COST
                found.append(record)
    return RangePage(tuple(found), count, None)


def check_revision(ledger: Ledger, revision: int) -> None:
    """CompactedError, FutureRevisionError."""
    if revision > ledger.revision:
        raise FutureRevisionError
    ledger.check_readable(revision)
