"""The two slots of the operating system, and the bits by which a boot loader chooses between them.

The bits are those of ChromeOS and CoreOS: 48-51 priority, 52-55 tries left, 56 successful.
"""

from uuid import UUID

import msgspec

from core.partitions.table import Partition, Table, TableError

USR = UUID("5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6")
"""The type of a partition that holds /usr and is chosen by priority."""
USR_A = UUID("7130c94a-213a-4e5a-8e26-6cce9662f132")
USR_B = UUID("e03dd35c-7c2d-4a47-b3fe-27f15780a57c")

PRIORITY_MAX = 15
TRIES_MAX = 15
_PRIORITY, _TRIES, _SUCCESSFUL = 48, 52, 56


class Marks(msgspec.Struct, frozen=True):
    """What the bits of a slot say."""

    priority: int
    """0: never boots; the highest is taken."""
    tries: int
    """Starts it has left to prove itself."""
    successful: bool

    @property
    def bootable(self) -> bool:
        """Whether a boot loader would take it if there were no other."""
        return self.priority > 0 and (self.successful or self.tries > 0)


UNBOOTABLE = Marks(0, 0, False)
"""Of a slot that is being written to."""


def marks_of(partition: Partition) -> Marks:
    """The bits of a partition."""
    bits = partition.attributes
    return Marks(bits >> _PRIORITY & 15, bits >> _TRIES & 15, bool(bits >> _SUCCESSFUL & 1))


def marked(partition: Partition, marks: Marks) -> Partition:
    """The partition with these bits, and all others as they were."""
    if not 0 <= marks.priority <= PRIORITY_MAX or not 0 <= marks.tries <= TRIES_MAX:
        raise TableError(f"priority {marks.priority} and {marks.tries} tries do not fit: each is at most 15")
    others = partition.attributes & ~(0xFF << _PRIORITY | 1 << _SUCCESSFUL)
    bits = marks.priority << _PRIORITY | marks.tries << _TRIES | marks.successful << _SUCCESSFUL
    return msgspec.structs.replace(partition, attributes=others | bits)


def slots_of(table: Table, kind: UUID = USR) -> tuple[Partition, Partition]:
    """The two slots, A before B. TableError unless there are just two of the same size."""
    found = [partition for partition in table.partitions if partition.kind == kind]
    if len(found) != 2:
        numbers = ", ".join(str(partition.number) for partition in found) or "none"
        raise TableError(f"the disk has {len(found)} slots (partitions of type {kind}: {numbers}), and two are needed")
    return found[0], found[1]


def other_slot(table: Table, used: UUID, kind: UUID = USR) -> Partition:
    """The slot that is not in use, which may be written to. TableError if the one in use is none of them."""
    first, second = slots_of(table, kind)
    if used not in (first.id, second.id):
        raise TableError(f"the slot in use, {used}, is not on this disk, which has {first.id} and {second.id}")
    return second if used == first.id else first
