"""`corenode slot`: the two slots of the operating system on a disk or a disk image."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from core.commands import output
from core.commands.failure import Failure
from core.commands.slot_install import install

if TYPE_CHECKING:
    from core.partitions.disk import Disk
    from core.partitions.table import Partition

disk_option = click.option(
    "--disk",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="A disk, or a file with the image of one.  [default: the disk this host runs from]",
)


@click.group()
def command() -> None:
    """The two slots of the operating system: which one starts, and which one is the way back.

    Works on disks and on files with the image of one; for a file nobody has to be root.

    \b
    Examples:
      corenode slot status
      corenode slot status --disk disk.img
      corenode slot install image --disk disk.img
      corenode slot rollback
    """


command.add_command(install)


@command.command()
@disk_option
@output.format_option(output.TABLE, output.JSON)
def status(disk: Path | None, output_: str) -> None:
    """Show both slots, and which one starts next.

    \b
    Example:
      corenode slot status --disk disk.img -o json
    """
    from core.partitions.choice import choose

    used = _used(disk)
    with _opened(disk, writable=False) as opened:
        choice = choose(opened.table)
        following = None if choice is None else choice.number
        shown = [_shown(name, slot, opened, used, following) for name, slot in _slots(opened).items()]
        problems = opened.problems
    if output_ == output.JSON:
        output.json({"slots": shown, "problems": problems})
        return
    headings = ("SLOT", "PARTITION", "ID", "MIB", "PRIORITY", "TRIES", "GOOD", "NEXT", "IN USE")
    output.table(headings, [[_cell(value) for value in msgspec.structs.astuple(slot)] for slot in shown])
    for problem in problems:
        output.note(f"the table is damaged: {problem}; `corenode slot repair` mends it")


@command.command()
@disk_option
def rollback(disk: Path | None) -> None:
    """Let the other slot start next, the one that does not start now.

    \b
    Example:
      corenode slot rollback && systemctl reboot
    """
    from core.partitions.choice import choose, prioritise
    from core.partitions.slots import marks_of

    with _opened(disk, writable=True) as opened:
        choice = choose(opened.table)
        slots = _slots(opened)
        name = next((name for name, slot in slots.items() if choice is None or slot.number != choice.number), "A")
        marks = marks_of(slots[name])
        if not (marks.successful or marks.tries):
            raise Failure(f"Slot {name} holds nothing that may start; there is no way back.")
        opened.change(prioritise(opened.table, slots[name].number))
    output.note(f"slot {name} starts next")


@command.command("mark-good")
@disk_option
@click.option("--slot", type=click.Choice(["A", "B"]), help="Which one.  [default: the one this host runs from]")
def mark_good(disk: Path | None, slot: str | None) -> None:
    """Let a slot start from now on without counting its tries. A host does so by itself when it is well.

    \b
    Example:
      corenode slot mark-good
    """
    from core.partitions import choice

    used = _used(disk)
    with _opened(disk, writable=True) as opened:
        slots = _slots(opened)
        name = slot or next((name for name, each in slots.items() if each.number == used), None)
        if name is None:
            raise Failure("This host runs from neither slot; say which one you mean with --slot.")
        opened.change(choice.mark_good(opened.table, slots[name].number))
    output.note(f"slot {name} is good")


@command.command()
@disk_option
def repair(disk: Path | None) -> None:
    """Mend the disk's table of partitions from the copy that is whole.

    \b
    Example:
      corenode slot repair --disk disk.img
    """
    with _opened(disk, writable=True) as opened:
        problems = opened.problems
        opened.repair()
    for problem in problems:
        output.note(f"mended: {problem}")
    if not problems:
        output.note("both copies of the table are whole")


@contextmanager
def _opened(path: Path | None, *, writable: bool) -> "Iterator[Disk]":
    from core.partitions.device import DeviceError
    from core.partitions.disk import Disk
    from core.partitions.in_use import in_use
    from core.partitions.table import TableError

    try:
        chosen = in_use().disk if path is None else path
        with Disk.open(chosen, writable=writable) as disk:
            yield disk
    except DeviceError as error:
        raise Failure(f"{error}.") from None
    except TableError as error:
        raise Failure(f"{path or 'The disk'} has no table that can be used: {error}.") from None


def _used(path: Path | None) -> int | None:
    """The number of the partition in use, None if it is on another disk or on none."""
    from core.partitions.device import DeviceError
    from core.partitions.in_use import in_use

    try:
        found = in_use()
    except DeviceError:
        return None
    here = path is None or (path.exists() and found.disk.exists() and path.samefile(found.disk))
    return found.number if here else None


def _slots(disk: "Disk") -> "dict[str, Partition]":
    from core.partitions.slots import slots_of

    return dict(zip("AB", slots_of(disk.table), strict=True))


class _Slot(msgspec.Struct, frozen=True):
    slot: str
    partition: int
    id: str
    mib: int
    priority: int
    tries: int
    good: bool
    next: bool
    in_use: bool


def _shown(name: str, slot: "Partition", disk: "Disk", used: int | None, following: int | None) -> _Slot:
    from core.partitions.slots import marks_of

    marks = marks_of(slot)
    size = slot.sectors * disk.table.sector_size >> 20
    number = slot.number
    return _Slot(
        name,
        number,
        str(slot.id),
        size,
        marks.priority,
        marks.tries,
        marks.successful,
        number == following,
        number == used,
    )


def _cell(value: object) -> object:
    return ("yes" if value else "no") if isinstance(value, bool) else value
