"""Forgetting history. The floor is a command of the log; removing what it hides is local work in slices.

A version may go when the one that replaced it is older than the floor: no readable revision shows it, and no readable
change names it as its previous one. So the sweep walks the revision table from where it stopped to the floor and
removes, for each change there, what that change replaced: work in proportion to change, not to the number of keys.
"""

from core.kv import records, rows
from core.kv.commands import Advance, Compact
from core.kv.errors import CompactedError, FutureRevisionError
from core.kv.ledger import SYSTEM_PREFIX, Ledger
from core.kv.outcomes import Compacted
from core.kv.records import POSITION, SPILLED, Action
from core.kv.transaction import Table

_MINUTE = 60_000_000_000
_LAST = b"last minute"
_ADVANCED = SYSTEM_PREFIX + b"advanced"


def compact(ledger: Ledger, command: Compact) -> Compacted:
    """Raise the floor. Nothing below it can be read from now on."""
    if command.revision <= ledger.floor:
        raise CompactedError(ledger.floor)
    if command.revision > ledger.revision:
        raise FutureRevisionError
    ledger.floor = command.revision
    for time, revision in list(ledger.rows.scan(Table.TIME)):
        if int.from_bytes(revision, "big") >= ledger.floor:
            break
        ledger.rows.delete(Table.TIME, time)
    return Compacted(ledger.revision, ledger.floor)


def sweep(ledger: Ledger, limit: int, floor: int) -> int:
    """Remove up to `limit` changes' worth of what `floor`, the present one or an earlier, hides; how many changes it
    walked, 0 at the end."""
    end = POSITION.pack(floor, 0)
    found = []
    for position, row in ledger.rows.scan(Table.REVISION, ledger.swept, end):
        found.append(records.decode(position, row))
        if len(found) == limit:
            break
    walked = ledger.swept
    for record in found:
        if record.revision >= floor:
            break
        walked = (int.from_bytes(record.position, "big") + 1).to_bytes(12, "big")
        if record.previous:
            ledger.rows.delete(Table.REVISION, record.previous)
        if record.flags & SPILLED:
            ledger.rows.delete(Table.OLDER, record.position)
        if record.gone:
            _forget(ledger, record)
    if walked == ledger.swept:
        return 0
    ledger.swept = walked
    return len(found)


def is_swept(ledger: Ledger) -> bool:
    """Whether there is nothing left to remove."""
    left = next(ledger.rows.scan(Table.REVISION, ledger.swept, POSITION.pack(ledger.floor, 0)), None)
    return left is None or records.decode(*left).revision >= ledger.floor


def advance(ledger: Ledger, command: Advance) -> Compacted:
    """Consume a revision: what the last one replaced can be forgotten then, which its own floor would still tell."""
    previous = ledger.live(Table.KEY, _ADVANCED)
    record = ledger.write(Table.KEY, _ADVANCED, ledger.revision + 1, 0, Action.SET, previous=previous)
    ledger.tell(record, previous)
    return Compacted(ledger.revision, ledger.floor)


def note_time(ledger: Ledger) -> None:
    """Once a minute of cluster time, write down which revision it has come to."""
    last = ledger.rows.get(Table.META, _LAST)
    if last is None or ledger.time - int.from_bytes(last, "big") >= _MINUTE:
        now = ledger.time.to_bytes(8, "big")
        ledger.rows.put(Table.META, _LAST, now)
        ledger.rows.put(Table.TIME, now, ledger.revision.to_bytes(8, "big"))


def revision_at(ledger: Ledger, time: int) -> int:
    """The last noted revision that was reached at cluster time `time` or before; 0 if none is noted."""
    if time <= 0:
        return 0
    noted = next(ledger.rows.scan(Table.TIME, b"", (time + 1).to_bytes(8, "big"), reverse=True), None)
    return 0 if noted is None else int.from_bytes(noted[1], "big")


def _forget(ledger: Ledger, deletion: records.Record) -> None:
    """Remove a deletion itself, and its row if nothing came after it."""
    ledger.rows.delete(Table.REVISION, deletion.position)
    table = Table.DIRECTORY if deletion.directory else Table.KEY
    row = ledger.rows.get(table, deletion.key)
    if row is not None and rows.newest(row) == deletion.position:
        ledger.rows.delete(table, deletion.key)
