"""Which slot starts, and how an update, a good start and a way back change that.

The rules are those of `gptprio.next` in CoreOS's GRUB, and of `cgpt`. A boot loader's decision is made here too, so
that a table can be asked what it would start.
"""

from uuid import UUID

import msgspec

from core.partitions.slots import PRIORITY_MAX, UNBOOTABLE, USR, Marks, marked, marks_of
from core.partitions.table import Partition, Table, TableError


class Choice(msgspec.Struct, frozen=True):
    """What starts, and the table as it must be written before that."""

    number: int
    table: Table


def choose(table: Table, kind: UUID = USR) -> Choice | None:
    """The slot with the highest priority that may start; of equal ones the first. None: nothing may start.

    A try is taken off before the start, so that a slot that dies is not tried for ever.
    """
    best: Partition | None = None
    for partition in _slots(table, kind):
        marks = marks_of(partition)
        if marks.bootable and (best is None or marks.priority > marks_of(best).priority):
            best = partition
    if best is None:
        return None
    marks = marks_of(best)
    if marks.tries:
        table = table.replaced(marked(best, msgspec.structs.replace(marks, tries=marks.tries - 1)))
    return Choice(best.number, table)


def prioritise(table: Table, number: int, kind: UUID = USR) -> Table:
    """The table with one slot alone at the top, and the others below it in their order, as `cgpt prioritize` does it.

    Priorities become as low as they can; a slot with priority 0 keeps it unless it is the one; none is lowered to 0.
    """
    chosen = _slot(table, number, kind)
    others = [slot for slot in _slots(table, kind) if slot.number != number and marks_of(slot).priority]
    ranks = sorted({marks_of(slot).priority for slot in others})
    top = min(len(ranks) + 1, PRIORITY_MAX)
    fresh = {rank: max(top - (len(ranks) - place), 1) for place, rank in enumerate(ranks)}
    changed = [_with_priority(slot, fresh[marks_of(slot).priority]) for slot in others]
    return table.replaced(_with_priority(chosen, top), *changed)


def begin_install(table: Table, number: int, kind: UUID = USR) -> Table:
    """Before the first byte is written to a slot: it no longer starts. TableError if then nothing could."""
    fresh = table.replaced(marked(_slot(table, number, kind), UNBOOTABLE))
    if choose(fresh, kind) is None:
        raise TableError(f"without partition {number} no slot could start; mark the one in use as good first")
    return fresh


def end_install(table: Table, number: int, tries: int, kind: UUID = USR) -> Table:
    """After its last byte is durable and compared: it starts next, so many times at most unless it proves itself."""
    if tries < 1:
        raise TableError("a new slot needs one try at least, or it would never start")
    fresh = marked(_slot(table, number, kind), Marks(0, tries, False))
    return prioritise(table.replaced(fresh), number, kind)


def mark_good(table: Table, number: int, kind: UUID = USR) -> Table:
    """It has started and is well: it starts from now on, without counting."""
    slot = _slot(table, number, kind)
    good = marked(slot, Marks(marks_of(slot).priority, 0, True))
    return prioritise(table.replaced(good), number, kind)


def _slots(table: Table, kind: UUID) -> list[Partition]:
    return [partition for partition in table.partitions if partition.kind == kind]


def _slot(table: Table, number: int, kind: UUID) -> Partition:
    slot = table.partition(number)
    if slot.kind != kind:
        raise TableError(f"partition {number} is no slot: its type is {slot.kind}")
    return slot


def _with_priority(slot: Partition, priority: int) -> Partition:
    return marked(slot, msgspec.structs.replace(marks_of(slot), priority=priority))
