"""Entries of systemd-boot as values: their names, their text, and which of them starts.

Source: the UAPI group's Boot Loader Specification (Type 1) and Automatic Boot Assessment, and systemd-boot(7) of 252.
An entry whose name ends in `+LEFT` or `+LEFT-DONE` is counted: the boot loader renames it before each start, and puts
it behind all others when none is left.
"""

import re
from collections.abc import Iterable

import msgspec

from core.partitions.boot import BootError, Slot, Start

SORT_KEY = "corenode"
KERNELS = "corenode"
"""The directory of kernels and initrds."""
ON, OFF = b"l", b"#"
"""The first letter of an entry's `linux` line: without that line a boot loader passes the entry over."""
RESETS = "panic=5 oops=panic softlockup_panic=1 systemd.watchdog_sec=60"
"""So that a start that panics or hangs ends in the next one. An image may say other numbers behind it."""

_FILE = re.compile(r"^(?P<id>.+?)(?:\+(?P<left>\d+)(?:-(?P<done>\d+))?)?\.conf$", re.IGNORECASE)
_OURS = re.compile(r"^corenode-(?P<generation>\d+)-(?P<slot>[ab])$", re.IGNORECASE)


class Entry(msgspec.Struct, frozen=True):
    """A file of loader/entries."""

    file: str
    text: str

    @property
    def left(self) -> int | None:
        """Starts that are left; None: it is not counted."""
        left = _named(self)["left"]
        return None if left is None else int(left)

    @property
    def generation(self) -> int:
        """The higher, the sooner it starts; 0 of entries of other makes."""
        ours = _OURS.match(_named(self)["id"] or "")
        return int(ours["generation"]) if ours else 0

    @property
    def letter(self) -> str:
        """A or B, as its name says; empty for entries of other makes."""
        ours = _OURS.match(_named(self)["id"] or "")
        return ours["slot"].upper() if ours else ""

    @property
    def active(self) -> bool:
        """Whether a boot loader sees it at all."""
        return bool(self.field("linux") or self.field("efi"))

    def field(self, key: str) -> str:
        """What a line says; empty if there is none."""
        for line in self.text.splitlines():
            name, _, value = line.strip().partition(" ")
            if name == key:
                return value.strip()
        return ""

    def starts(self, slot_id: object) -> bool:
        """Whether it names this PARTUUID."""
        return f"PARTUUID={slot_id}" in self.field("options")


def is_entry(file: str) -> bool:
    """By its name."""
    return _FILE.match(file) is not None


def name_of(generation: int, letter: str, left: int | None) -> str:
    """The file of an entry. Numbers have six digits, so that it also comes first by name."""
    counted = "" if left is None else f"+{left}"
    return f"corenode-{generation:06}-{letter.lower()}{counted}.conf"


def files_of(generation: int, letter: str) -> tuple[str, str]:
    """Where kernel and initrd lie."""
    stem = f"{KERNELS}/{generation:06}-{letter.lower()}"
    return f"{stem}.linux", f"{stem}.initrd"


def letter_of(file: str) -> str:
    """The slot a kernel or initrd belongs to; empty for what is none of ours."""
    found = re.match(r"^\d+-([ab])\.(linux|initrd)$", file)
    return found[1].upper() if found else ""


def text_of(slot: Slot, start: Start, generation: int) -> str:
    """An entry that does not count yet. BootError if the image's words cannot stand in one."""
    if not (start.title + start.cmdline).isprintable():
        raise BootError("the command line of the image has characters that are no text; build the image without them")
    kernel, initrd = files_of(generation, slot.name)
    lines = [f"title {start.title} (slot {slot.name})", f"sort-key {SORT_KEY}", f"version {generation}"]
    lines.append(f"{OFF.decode()}inux /{kernel}")
    if start.initrd is not None:
        lines.append(f"initrd /{initrd}")
    lines.append(f"options {command_line(slot, start)}")
    return "\n".join(lines) + "\n"


def command_line(slot: Slot, start: Start) -> str:
    """Of the kernel: what resets it, what the image says, and where its /usr is, in systemd's words."""
    usr = f"PARTUUID={slot.id}"
    if start.root_hash:
        where = (
            f"mount.usr=/dev/mapper/usr mount.usrflags=ro usrhash={start.root_hash} systemd.verity_usr_data={usr} "
            f"systemd.verity_usr_hash={usr} systemd.verity_usr_options=hash-offset={start.hash_offset}"
        )
    else:
        where = f"mount.usr={usr} mount.usrflags=ro"
    return " ".join(part for part in (RESETS, start.cmdline, where) if part)


def switch(text: str) -> int:
    """Where the letter lies that makes an entry count or not."""
    found = re.search(r"^[l#]inux ", text, re.MULTILINE)
    if found is None:
        raise BootError("an entry of the boot loader has no kernel")
    return len(text[: found.start()].encode())


def renewed(text: str, generation: int) -> str:
    """The same entry with another place in the order; it does not count yet."""
    text = re.sub(r"^version .*$", f"version {generation}", text, count=1, flags=re.MULTILINE)
    at = switch(text)
    return text[:at] + OFF.decode() + text[at + 1 :]


def ordered(entries: Iterable[Entry]) -> list[Entry]:
    """Those a boot loader sees, the one that starts next first.

    Those without a start left come last, so one of them still starts if there is nothing else. Entries of other makes
    are held to come first unless their sort key says otherwise.
    """

    def key(entry: Entry) -> tuple[bool, bool, str, int, str]:
        sort_key = entry.field("sort-key")
        ours = bool(entry.letter)
        return entry.left == 0, not sort_key, sort_key, -entry.generation if ours else -(1 << 62), entry.file

    return sorted((entry for entry in entries if entry.active), key=key)


def _named(entry: Entry) -> re.Match[str]:
    found = _FILE.match(entry.file)
    if found is None:
        raise ValueError(f"{entry.file} is no entry")
    return found
