"""Which slot a boot loader starts: one small interface, and two ways behind it.

Purpose. An update has to say four things to a boot loader: this slot must not start now, it starts next and has so many
tries, it is good, the other one shall start. `BootControl` is these four and a question. `gpt` says them by the
attribute bits of the slots, as CoreOS's GRUB reads them; `systemd_boot` by counted entries on the EFI system partition.
`opening` finds out which of the two a disk has.

Promises
- Each word is durable when its method returns, and a power cut in the middle leaves the old or the new state, or one
  in which the slot that was spoken of does not start; the other one, which may start, is never touched by it.
- The order of an update: `begin` (the slot does not start) → the slot is written, made durable, read back, compared →
  `end` (kernel and initrd likewise, and only then the slot may start, counted) → restart → `good`. Each may be said
  again after a crash.
- What would leave no slot that starts, or does not fit, is a BootError before the first byte is written.

Refused: a boot loader's own `default` setting, which knows no tries; naming a slot by anything but its partition's id.

All is synchronous and blocks, so tasks call it in a thread. A control belongs to the `with` block that opened it.
"""

from collections.abc import Iterator
from typing import Literal, Protocol
from uuid import UUID

import msgspec

SlotName = Literal["A", "B"]
TRIES = 3
"""Starts that a new slot has to prove itself."""


class BootError(Exception):
    """What a boot loader cannot be told. The text says what, why, and what to do next."""


class Slot(msgspec.Struct, frozen=True):
    """One of the two, and what the boot loader would do with it."""

    name: SlotName
    partition: int
    id: UUID
    """The PARTUUID."""
    size: int
    """Bytes."""
    priority: int
    """The highest that may start does; 0 never starts."""
    tries: int
    """Starts that are left; of no meaning for one that is good."""
    good: bool
    next: bool
    """Whether it starts next."""
    title: str = ""
    """Product and version, where the boot loader knows them."""

    @property
    def bootable(self) -> bool:
        """Whether it may start, if it were alone."""
        return self.priority > 0 and (self.good or self.tries > 0)


class Content(Protocol):
    """The bytes of a file that a boot loader reads."""

    @property
    def size(self) -> int: ...
    @property
    def sha256(self) -> str: ...
    def pieces(self) -> Iterator[bytes]:
        """All of it, in order; may be asked for again."""
        ...


class Start(msgspec.Struct, frozen=True):
    """What starting a slot takes, beyond the slot itself."""

    title: str
    """Product and version, for people."""
    kernel: Content | None = None
    initrd: Content | None = None
    cmdline: str = ""
    """Of the image. What names /usr is added to it."""
    root_hash: str = ""
    """Of a slot that is checked by dm-verity."""
    hash_offset: int = 0
    """Bytes from the start of the slot to that tree."""


class BootControl(Protocol):
    """What an update tells a boot loader. DeviceError from each if the disk fails, BootError for what is refused."""

    def status(self) -> tuple[Slot, Slot]:
        """A and B as they are on the disk now."""
        ...

    def begin(self, name: SlotName, start: Start) -> None:
        """Before the first byte of a slot: it does not start. BootError if then nothing would, or `end` cannot succeed
        for a reason that shows already: no room, no kernel."""
        ...

    def end(self, name: SlotName, start: Start, tries: int = TRIES) -> None:
        """After its last byte is durable and compared: it starts next, so many times unless it proves itself."""
        ...

    def good(self, name: SlotName) -> None:
        """It has started and is well: it starts from now on, without counting."""
        ...

    def prefer(self, name: SlotName) -> None:
        """It starts next, with the tries or the goodness it has: the way back. BootError if it may not start."""
        ...


def passive(slots: tuple[Slot, Slot], used: int | None) -> Slot:
    """The slot to write to: not the one in use; where none is, not the one that starts next.

    `used`: the partition of the running system, None if it is not on this disk. BootError if no slot may start.
    """
    kept = next((slot for slot in slots if slot.partition == used), None)
    kept = kept or next((slot for slot in slots if slot.next), None)
    if kept is None:
        raise BootError("neither slot of the disk may start; `corenode slot mark-good --slot` says which one is kept")
    return next(slot for slot in slots if slot.name != kept.name)
