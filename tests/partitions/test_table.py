"""The table on the disk: what foreign programs say of ours, what we say of theirs and of damaged ones, power cuts."""

import contextlib
import random
import subprocess
from collections.abc import Callable
from itertools import product
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.partitions.choice import end_install
from core.partitions.reading import Found, read_table
from core.partitions.slots import Marks, marked, marks_of, other_slot, slots_of
from core.partitions.table import TableError, check, new_table
from core.partitions.writing import Plan, Write, change, repair
from tests.partitions.disks import LINUX, SECTOR, SECTORS, Disk, disk_with, two_slots

GOOD, NEW = Marks(1, 0, True), Marks(0, 0, False)


@pytest.mark.parametrize("sector_size", [512, 4096])
def test_what_is_written_is_read(sector_size: int) -> None:
    table = two_slots(GOOD, NEW, sector_size=sector_size)
    assert disk_with(table).found() == Found(table, from_primary=True)


def test_sgdisk_finds_nothing_wrong(tmp_path: Path) -> None:
    image = disk_with(two_slots(GOOD, NEW)).save(tmp_path / "disk")
    said = subprocess.run(["sgdisk", "--verify", image], check=True, capture_output=True, text=True).stdout
    assert "No problems found" in said
    info = subprocess.run(["sgdisk", "--info=3", image], check=True, capture_output=True, text=True).stdout
    assert "5DFBF5F4-2848-4BAC-AA5E-0D9A20B745A6" in info
    assert "Attribute flags: 0101000000000000" in info
    assert "'USR-A'" in info


def test_a_table_of_sgdisk_is_read(tmp_path: Path) -> None:
    image = Disk().save(tmp_path / "disk")
    subprocess.run(
        ["sgdisk", "--new=2:2048:4095", "--change-name=2:Größe", "--attributes=2:set:2", "--new=5:0:+1M", image],
        check=True,
        capture_output=True,
    )
    table = Disk(image.read_bytes()).found().table
    shown = [(each.number, each.first, each.last, each.attributes, each.label) for each in table.partitions]
    assert shown[0] == (2, 2048, 4095, 4, "Größe")
    assert [each[0] for each in shown] == [2, 5]


def test_bits_and_partitions_of_others_are_kept(tmp_path: Path) -> None:
    disk = disk_with(two_slots(GOOD, NEW))
    image = disk.save(tmp_path / "disk")
    subprocess.run(["sgdisk", "--attributes=4:set:60", "--attributes=9:set:2", image], check=True, capture_output=True)
    disk = Disk(image.read_bytes())
    disk.carry_out(change(disk.found(), end_install(disk.found().table, 4, tries=3)))
    after = disk.found().table
    assert after.partition(4).attributes >> 60 & 1
    assert marks_of(after.partition(4)) == Marks(2, 3, False)
    assert after.partition(9).attributes == 4


# Power cuts


def states_after_a_cut(disk: Disk, plan: Plan) -> list[Disk]:
    """What may be on the disk if the power goes at any moment: of the group under way each sector may have come to the
    disk or not."""
    found = []
    durable = Disk(bytes(disk.data), sector_size=disk.sector_size)
    chance = random.Random(8)
    for group in plan:
        sectors = [part for write in group for part in _sectors(write, disk.sector_size)]
        changing = [part for part in sectors if durable.read(part.offset, len(part.data)) != part.data]
        subsets = (
            list(product((False, True), repeat=len(changing)))
            if len(changing) <= 6
            else [tuple(chance.random() < 0.5 for _ in changing) for _ in range(64)]
        )
        for chosen in subsets:
            cut = Disk(bytes(durable.data), sector_size=disk.sector_size)
            cut.apply(part for part, came in zip(changing, chosen, strict=True) if came)
            found.append(cut)
        durable.apply(group)
    return [*found, durable]


def _sectors(write: Write, size: int) -> list[Write]:
    return [Write(write.offset + place, write.data[place : place + size]) for place in range(0, len(write.data), size)]


def _whole(disk: Disk) -> None:
    pass


def _first_lost(disk: Disk) -> None:
    disk.data[SECTOR : 2 * SECTOR] = bytes(SECTOR)


def _second_lost(disk: Disk) -> None:
    disk.data[-SECTOR:] = bytes(SECTOR)


def _first_entries_damaged(disk: Disk) -> None:
    disk.data[2 * SECTOR + 100] ^= 1


DAMAGES: list[Callable[[Disk], None]] = [_whole, _first_lost, _second_lost, _first_entries_damaged]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_power_cut_leaves_the_old_table_or_the_new_one(damage: Callable[[Disk], None]) -> None:
    old = two_slots(GOOD, NEW)
    new = end_install(old, 4, tries=3)
    disk = disk_with(old)
    damage(disk)
    found = disk.found()
    assert found.table == old
    plan = change(found, new)
    seen = set()
    for cut in states_after_a_cut(disk, plan):
        table = cut.found().table
        assert table in (old, new)
        seen.add(table == new)
        # Whatever it was, it can be changed again, and is whole then.
        cut.carry_out(change(cut.found(), new))
        assert cut.found() == Found(new, from_primary=True)
    assert seen == {False, True}


@pytest.mark.parametrize("damage", DAMAGES[1:])
def test_a_power_cut_in_a_repair_loses_nothing(damage: Callable[[Disk], None], tmp_path: Path) -> None:
    table = two_slots(GOOD, NEW)
    disk = disk_with(table)
    damage(disk)
    assert disk.found().problems
    for cut in states_after_a_cut(disk, repair(disk.found())):
        assert cut.found().table == table
    disk.carry_out(repair(disk.found()))
    assert disk.found() == Found(table, from_primary=True)
    said = subprocess.run(["sgdisk", "--verify", disk.save(tmp_path / "disk")], check=True, capture_output=True)
    assert b"No problems found" in said.stdout


def test_in_place_of_two_tables_the_order_is_what_saves() -> None:
    """The check can fail: with the first copy written before the second is durable, a cut loses both."""
    old = two_slots(GOOD, NEW)
    disk = disk_with(old)
    plan = change(disk.found(), end_install(old, 4, tries=3))
    careless = (tuple(write for group in plan for write in group),)
    lost = 0
    for cut in states_after_a_cut(disk, careless):
        try:
            cut.found()
        except TableError:
            lost += 1
    assert lost


def test_a_disk_that_grew_is_read_and_its_second_copy_moved(tmp_path: Path) -> None:
    table = two_slots(GOOD, NEW)
    disk = Disk(bytes(disk_with(table).data) + bytes(100 * SECTOR))
    found = disk.found()
    assert found.table.partitions == table.partitions
    assert any("another size" in problem for problem in found.problems)
    disk.carry_out(repair(found))
    assert disk.found().problems == ()
    said = subprocess.run(["sgdisk", "--verify", disk.save(tmp_path / "disk")], check=True, capture_output=True)
    assert b"Problem" not in said.stdout


# Refused


@given(st.integers(0, 34 * SECTOR - 1), st.integers(1, 255))
def test_one_flipped_byte_is_noticed_or_means_nothing(place: int, bits: int) -> None:
    table = two_slots(GOOD, NEW)
    disk = disk_with(table)
    disk.data[place] ^= bits
    try:
        found = disk.found()
    except TableError:
        assert place >= 446  # the protective table of the first sector
        return
    assert found.table == table
    covered = SECTOR <= place < SECTOR + 92 or place >= 2 * SECTOR
    assert bool(found.problems) == covered


@given(st.binary(max_size=6 * SECTOR))
def test_garbage_is_refused(data: bytes) -> None:
    disk = Disk(data.ljust(64 * SECTOR, b"\0"))
    with pytest.raises(TableError):
        disk.found()


@given(st.binary(min_size=76, max_size=76), st.binary(min_size=256, max_size=256))
def test_garbage_with_fitting_checksums_is_refused_or_holds(fields: bytes, entries: bytes) -> None:
    """A header that an enemy made: whatever it says, what comes back passes `check`."""
    from zlib import crc32

    disk = disk_with(two_slots(GOOD, NEW))
    disk.data[2 * SECTOR : 2 * SECTOR + 256] = entries
    header = bytearray(disk.data[SECTOR : SECTOR + 92])
    header[40:56] = fields[:16]
    header[80:84] = (2).to_bytes(4, "little")
    header[88:92] = crc32(bytes(disk.data[2 * SECTOR : 2 * SECTOR + 256])).to_bytes(4, "little")
    header[16:20] = bytes(4)
    header[16:20] = crc32(bytes(header)).to_bytes(4, "little")
    disk.data[SECTOR : SECTOR + 92] = header
    disk.data[-SECTOR:] = bytes(SECTOR)
    with contextlib.suppress(TableError):
        check(disk.found().table)


def test_an_mbr_disk_is_left_alone() -> None:
    disk = Disk()
    disk.data[510:512] = b"\x55\xaa"
    disk.data[446 + 4] = 0x83
    with pytest.raises(TableError, match="MBR"):
        disk.found()


@pytest.mark.parametrize("wrong", ["overlap", "outside", "backwards", "same id", "number"])
def test_tables_that_do_not_hold_are_not_written(wrong: str) -> None:
    table = two_slots(GOOD, NEW)
    a, b = slots_of(table)
    bad = {
        "overlap": msgspec.structs.replace(b, first=a.last),
        "outside": msgspec.structs.replace(b, last=SECTORS - 10, first=SECTORS - 20),
        "backwards": msgspec.structs.replace(b, last=b.first - 1),
        "same id": msgspec.structs.replace(b, id=a.id),
        "number": msgspec.structs.replace(b, number=200),
    }[wrong]
    found = disk_with(table).found()
    with pytest.raises(TableError):
        change(found, table.replaced(bad))


@pytest.mark.parametrize("count", [0, 1, 3, 5])
def test_other_than_two_slots_are_refused(count: int) -> None:
    table = two_slots(GOOD, NEW)
    kinds = [partition.kind for partition in table.partitions if partition.number in (3, 4)]
    others = [msgspec.structs.replace(each, kind=LINUX) for each in table.partitions if each.number in (3, 4)]
    table = table.replaced(*others)
    spare = new_table(table.disk, SECTORS * 4)
    slots = [
        msgspec.structs.replace(
            table.partition(9),
            number=20 + place,
            kind=kinds[0],
            id=UUID(int=place + 1),
            first=spare.first_usable + 9000 + place * 10,
            last=spare.first_usable + 9005 + place * 10,
        )
        for place in range(count)
    ]
    with pytest.raises(TableError, match=f"{count} slots"):
        slots_of(table.replaced(*slots))


def test_the_slot_in_use_is_never_the_other_one() -> None:
    table = two_slots(GOOD, NEW)
    a, b = slots_of(table)
    assert other_slot(table, a.id) == b
    assert other_slot(table, b.id) == a
    with pytest.raises(TableError, match="not on this disk"):
        other_slot(table, UUID(int=5))


def test_marks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(TableError, match="at most 15"):
        marked(two_slots(GOOD, NEW).partition(3), Marks(16, 0, False))


def test_a_label_that_is_too_long_is_refused() -> None:
    table = two_slots(GOOD, NEW)
    long = table.replaced(msgspec.structs.replace(table.partition(9), label="x" * 37))
    with pytest.raises(TableError, match="longer than 36"):
        change(Found(table, from_primary=True), long)


def test_a_disk_that_is_too_small_is_refused() -> None:
    with pytest.raises(TableError, match="no room"):
        new_table(UUID(int=1), 60)


def test_a_read_that_comes_back_short_is_refused() -> None:
    disk = disk_with(two_slots(GOOD, NEW))
    with pytest.raises(TableError):
        read_table(lambda offset, length: disk.read(offset, length)[: length // 2], SECTORS, SECTOR)
