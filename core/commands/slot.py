"""`corenode slot`: the two slots of the operating system on a disk or a disk image."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from core.commands import output
from core.commands.failure import Failure
from core.commands.slot_disk import opened, opened_disk, used_partition
from core.commands.slot_install import install

if TYPE_CHECKING:
    from core.partitions.boot import Slot, SlotName

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
    used = used_partition(disk)
    with opened(disk, writable=False) as (table, boot):
        shown = [_shown(slot, slot.partition == used) for slot in boot.status()]
        problems = table.problems
    if output_ == output.JSON:
        output.json({"slots": shown, "problems": problems})
        return
    headings = ("SLOT", "PARTITION", "ID", "MIB", "PRIORITY", "TRIES", "GOOD", "NEXT", "IN USE", "RELEASE")
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
    with opened(disk, writable=True) as (_, boot):
        a, b = boot.status()
        name = b.name if a.next else a.name
        boot.prefer(name)
    output.note(f"slot {name} starts next")


@command.command("mark-good")
@disk_option
@click.option("--slot", type=click.Choice(["A", "B"]), help="Which one.  [default: the one this host runs from]")
def mark_good(disk: Path | None, slot: "SlotName | None") -> None:
    """Let a slot start from now on without counting its tries. A host does so by itself when it is well.

    \b
    Example:
      corenode slot mark-good
    """
    used = used_partition(disk)
    with opened(disk, writable=True) as (_, boot):
        name = slot or next((each.name for each in boot.status() if each.partition == used), None)
        if name is None:
            raise Failure("This host runs from neither slot; say which one you mean with --slot.")
        boot.good(name)
    output.note(f"slot {name} is good")


@command.command()
@disk_option
def repair(disk: Path | None) -> None:
    """Mend the disk's table of partitions from the copy that is whole.

    \b
    Example:
      corenode slot repair --disk disk.img
    """
    with opened_disk(disk, writable=True) as table:
        problems = table.problems
        table.repair()
    for problem in problems:
        output.note(f"mended: {problem}")
    if not problems:
        output.note("both copies of the table are whole")


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
    release: str


def _shown(slot: "Slot", used: bool) -> _Slot:
    return _Slot(
        slot.name,
        slot.partition,
        str(slot.id),
        slot.size >> 20,
        slot.priority,
        slot.tries,
        slot.good,
        slot.next,
        used,
        slot.title,
    )


def _cell(value: object) -> object:
    return ("yes" if value else "no") if isinstance(value, bool) else value
