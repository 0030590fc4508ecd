"""Boot control by the attribute bits of the slots in the partition table, as CoreOS's GRUB and cgpt read them."""

from collections.abc import Iterator
from contextlib import contextmanager

from core.partitions import choice
from core.partitions.boot import TRIES, BootError, Slot, SlotName, Start
from core.partitions.disk import Disk
from core.partitions.slots import marks_of, slots_of
from core.partitions.table import Partition, Table, TableError


class GptControl:
    """A change is one change of the table, which a power cut leaves as it was or done."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def status(self) -> tuple[Slot, Slot]:
        table = self._disk.table
        with _refusing():
            chosen = choice.choose(table)
            a, b = slots_of(table)
        number = None if chosen is None else chosen.number
        return _slot("A", a, table, number), _slot("B", b, table, number)

    def begin(self, name: SlotName, start: Start) -> None:
        if start.kernel is not None or start.initrd is not None:
            raise BootError(
                "the image brings a kernel or an initrd of its own, and the boot loader of this disk takes them from "
                "the slot; build the image without --kernel and --initrd"
            )
        with _refusing():
            self._disk.change(choice.begin_install(self._disk.table, self._number(name)))

    def end(self, name: SlotName, start: Start, tries: int = TRIES) -> None:
        with _refusing():
            self._disk.change(choice.end_install(self._disk.table, self._number(name), tries))

    def good(self, name: SlotName) -> None:
        with _refusing():
            self._disk.change(choice.mark_good(self._disk.table, self._number(name)))

    def prefer(self, name: SlotName) -> None:
        with _refusing():
            number = self._number(name)
            marks = marks_of(self._disk.table.partition(number))
            if not (marks.successful or marks.tries):
                raise BootError(f"slot {name} holds nothing that may start; there is no way back")
            self._disk.change(choice.prioritise(self._disk.table, number))

    def _number(self, name: SlotName) -> int:
        return slots_of(self._disk.table)["AB".index(name)].number


def _slot(name: SlotName, partition: Partition, table: Table, following: int | None) -> Slot:
    marks = marks_of(partition)
    return Slot(
        name,
        partition.number,
        partition.id,
        partition.sectors * table.sector_size,
        marks.priority,
        marks.tries,
        marks.successful,
        partition.number == following,
    )


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except TableError as error:
        raise BootError(str(error)) from error
