"""Boot control by systemd-boot: an entry a slot on the EFI system partition, counted until it is good.

No file is ever renamed here, because FAT cannot do that in one step. A new entry is made with its `linux` line made a
comment, so that no boot loader sees it; it is read back; then one letter of it changes, and it counts. One that is to
go changes back first. So whatever is left of a power cut either counts and is whole, or does not count and goes at the
next occasion. systemd-boot itself renames when it counts a start; what is left of that if the power goes is one file
under both names, under one, or under none, which is a slot that does not start.

Each entry, kernel and initrd belongs to one slot alone, also if both have the same kernel: what is said of one slot
writes to no file of the other.
"""

import hashlib

import msgspec

from core.partitions.boot import TRIES, BootError, Content, Slot, SlotName, Start
from core.partitions.boot.entries import (
    KERNELS,
    OFF,
    ON,
    SORT_KEY,
    Entry,
    files_of,
    is_entry,
    letter_of,
    name_of,
    ordered,
    renewed,
    switch,
    text_of,
)
from core.partitions.boot.esp import Esp
from core.partitions.device import DeviceError
from core.partitions.disk import Disk
from core.partitions.slots import slots_of
from core.partitions.table import Partition, TableError

ENTRIES = "loader/entries"
_ENTRY_MAX = 8192
"""Bytes of an entry that is read, and set aside for one."""


class SystemdBootControl:
    """The slots are those of the table; their attribute bits are not looked at."""

    def __init__(self, disk: Disk, esp: Esp) -> None:
        self._disk = disk
        self._esp = esp

    def status(self) -> tuple[Slot, Slot]:
        try:
            partitions = slots_of(self._disk.table)
        except TableError as error:
            raise BootError(str(error)) from error
        order = [entry for entry in ordered(self._entries()) if self._whole(entry)]
        first = order[0] if order else None
        sector = self._disk.table.sector_size
        a = _off("A", partitions[0], sector)
        b = _off("B", partitions[1], sector)
        mine = {slot.name: [entry for entry in order if _belongs(entry, slot)] for slot in (a, b)}
        places = sorted((order.index(found[0]), name) for name, found in mine.items() if found)
        ranks = {name: len(places) - place for place, (_, name) in enumerate(places)}
        return _judged(a, mine["A"], first, ranks), _judged(b, mine["B"], first, ranks)

    def begin(self, name: SlotName, start: Start) -> None:
        slot, other = self._both(name)
        if start.kernel is None:
            raise BootError("the image brings no kernel, and systemd-boot needs one; build the image with --kernel")
        text_of(slot, start, 0)
        self._check_order()
        if not other.bootable:
            raise BootError(f"without slot {name} no slot could start; mark the one in use as good first")
        self._mend()
        self._check_room(name, start)
        self._clear(name, keep=None)

    def end(self, name: SlotName, start: Start, tries: int = TRIES) -> None:
        if tries < 1:
            raise BootError("a new slot needs one try at least, or it would never start")
        slot, _ = self._both(name)
        if start.kernel is None:
            raise BootError("the image brings no kernel, and systemd-boot needs one; build the image with --kernel")
        self._check_order()
        self._mend()
        self._clear(name, keep=None)
        generation = self._next_generation()
        self._esp.make_directory(KERNELS)
        for path, content in zip(files_of(generation, name), (start.kernel, start.initrd), strict=True):
            if content is not None:
                self._put(path, content)
        self._activate(name_of(generation, name, tries), text_of(slot, start, generation))

    def good(self, name: SlotName) -> None:
        self._mend()
        entry = self._current(name)
        if entry.left is not None:
            fresh = name_of(entry.generation, name, None)
            self._activate(fresh, renewed(entry.text, entry.generation))
            self._clear(name, keep=fresh)
        slot, _ = self._both(name)
        if not slot.next:
            self.prefer(name)

    def prefer(self, name: SlotName) -> None:
        self._check_order()
        self._mend()
        slot, _ = self._both(name)
        if not slot.bootable:
            raise BootError(f"slot {name} holds nothing that may start; there is no way back")
        if slot.next:
            return
        entry = self._current(name)
        generation = self._next_generation()
        fresh = name_of(generation, name, entry.left)
        self._activate(fresh, renewed(entry.text, generation))
        self._clear(name, keep=fresh)

    def _both(self, name: SlotName) -> tuple[Slot, Slot]:
        """The one that is spoken of, and the other one."""
        a, b = self.status()
        return (a, b) if name == "A" else (b, a)

    def _entries(self) -> list[Entry]:
        found = []
        for file in self._esp.names(ENTRIES):
            path = f"{ENTRIES}/{file}"
            if is_entry(file) and self._esp.has(path) and self._esp.size(path) <= _ENTRY_MAX:
                found.append(Entry(file, self._esp.read(path).decode(errors="replace")))
        return found

    def _whole(self, entry: Entry) -> bool:
        """Whether its files are there; systemd-boot passes over one whose kernel is not."""
        named = (entry.field("linux"), entry.field("initrd"), entry.field("efi"))
        return all(self._esp.has(path.strip("/")) for path in named if path)

    def _current(self, name: SlotName) -> Entry:
        """The entry that starts a slot. BootError if none does."""
        slot, _ = self._both(name)
        for entry in ordered(self._entries()):
            if _belongs(entry, slot) and self._whole(entry):
                return entry
        raise BootError(f"slot {name} holds nothing that may start; `corenode slot install` puts an image into it")

    def _next_generation(self) -> int:
        return 1 + max((entry.generation for entry in self._entries()), default=0)

    def _check_order(self) -> None:
        """BootError if the boot loader would not go by the order of our entries."""
        path = "loader/loader.conf"
        settings = self._esp.read(path).decode(errors="replace") if self._esp.has(path) else ""
        if any(line.split()[:1] == ["default"] for line in settings.splitlines()):
            raise BootError(f"{path} has a `default`, which knows no tries; remove that line from it")
        for entry in ordered(self._entries()):
            if entry.letter:
                return
            if entry.left != 0:
                raise BootError(
                    f"{ENTRIES}/{entry.file} comes before any entry of a slot; give it a sort-key behind {SORT_KEY!r}"
                )

    def _check_room(self, name: SlotName, start: Start) -> None:
        """BootError if kernel, initrd and entry have no room when what the slot has now is gone."""
        gone = [f"{ENTRIES}/{entry.file}" for entry in self._entries() if entry.letter == name]
        gone += self._files_of(name, kept=None)
        free = self._esp.free + sum(self._esp.needed(self._esp.size(path)) for path in gone)
        # an entry twice: `good` and `prefer` make the new one before the old one goes; and room for the names
        contents = [content.size for content in (start.kernel, start.initrd) if content is not None]
        needed = sum(self._esp.needed(size) for size in (*contents, _ENTRY_MAX, _ENTRY_MAX))
        if needed > free:
            raise BootError(
                f"kernel and initrd need {needed} bytes of the EFI system partition, and {free} are free; remove what "
                "is not needed there, or make a smaller initrd"
            )

    def _put(self, path: str, content: Content) -> None:
        """A file that is what it should be. DeviceError if the disk gives back something else."""
        self._esp.create(path, content.size, content.pieces())
        whole = hashlib.sha256()
        for piece in self._esp.pieces(path):
            whole.update(piece)
        if whole.hexdigest() != content.sha256:
            raise DeviceError(f"{path} is not what was written to it; the disk may be failing, and the slot stays off")

    def _activate(self, file: str, text: str) -> None:
        path = f"{ENTRIES}/{file}"
        data = text.encode()
        if len(data) > _ENTRY_MAX:
            raise BootError(f"the entry of the boot loader would have {len(data)} bytes; make the command line shorter")
        if self._esp.has(path):  # of an attempt that was interrupted, or of a name that comes again
            self._drop(Entry(file, self._esp.read(path).decode(errors="replace")))
        self._esp.create(path, len(data), [data])
        if self._esp.read(path) != data:
            raise DeviceError(f"{path} is not what was written to it; the disk may be failing, and the slot stays off")
        self._esp.patch(path, switch(text), ON)

    def _drop(self, entry: Entry) -> None:
        """First it does not count, then it goes."""
        path = f"{ENTRIES}/{entry.file}"
        if entry.field("linux"):
            self._esp.patch(path, switch(entry.text), OFF)
        self._esp.remove(path)

    def _clear(self, name: SlotName, keep: str | None) -> None:
        """All entries of a slot go but one, and then each kernel and initrd of it that this one does not name."""
        kept = None
        for entry in self._entries():
            if entry.letter == name and entry.file == keep:
                kept = entry
            elif entry.letter == name:
                self._drop(entry)
        for path in self._files_of(name, kept):
            self._esp.remove(path)

    def _files_of(self, name: SlotName, kept: Entry | None) -> list[str]:
        """Kernels and initrds of a slot that an entry does not name."""
        named = set() if kept is None else {kept.field("linux").strip("/"), kept.field("initrd").strip("/")}
        found = (f"{KERNELS}/{file}" for file in self._esp.names(KERNELS) if letter_of(file) == name)
        return [path for path in found if path not in named]

    def _mend(self) -> None:
        self._esp.mend(ENTRIES)


def _off(name: SlotName, partition: Partition, sector: int) -> Slot:
    return Slot(name, partition.number, partition.id, partition.sectors * sector, 0, 0, False, False)


def _belongs(entry: Entry, slot: Slot) -> bool:
    return entry.letter == slot.name and entry.starts(slot.id)


def _judged(slot: Slot, entries: list[Entry], first: Entry | None, ranks: dict[SlotName, int]) -> Slot:
    """What the entries of a slot come to."""
    if not entries:
        return slot
    best = entries[0]
    good = best.left is None
    rank = ranks[slot.name] if best.left != 0 else 0
    title = best.field("title").removesuffix(f" (slot {slot.name})")
    return msgspec.structs.replace(
        slot, priority=rank, tries=best.left or 0, good=good, next=first is best, title=title
    )
